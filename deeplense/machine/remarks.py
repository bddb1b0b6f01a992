"""What a run turns out to have to do without, after its first step: said once, in a line, and kept for its record."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable

from deeplense.errors import is_first_process

_made: list[str] = []
_listeners: list[Callable[[list[str]], None]] = []


def remark(line: str) -> None:
    """Warn in one line, unless that was said before, and let the record know."""
    if line in _made:
        return
    _made.append(line)
    if is_first_process():
        print(f"warning: {line}", file=sys.stderr, flush=True)
    for listener in _listeners:
        listener(list(_made))


def listen(listener: Callable[[list[str]], None]) -> Callable[[], None]:
    """Have `listener` called with all remarks of this process, now and whenever there is a new one; what comes out ends
    that."""
    _listeners.append(listener)
    if _made:
        listener(list(_made))
    return lambda: _listeners.remove(listener)


def first_line(error: BaseException) -> str:
    """What an error of many lines says first, with its type where that alone says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


class _OfCompiler(logging.Handler):
    """torch says in its log alone that it goes on uncompiled, having met a function in too many shapes."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if "recompile_limit" in said:
            found = re.search(r"function: '([^']+)'", said)
            what = found[1] if found else "a function"
            remark(f"the compiler has met more shapes of {what} than its limit: it now runs uncompiled, slower")


def hear_compiler() -> None:
    """Make a remark of what torch's compiler warns of."""
    logger = logging.getLogger("torch._dynamo.convert_frame")
    if not any(isinstance(handler, _OfCompiler) for handler in logger.handlers):
        logger.addHandler(_OfCompiler(logging.WARNING))
