"""How the commands end: one line and an exit code for everything that a user can mend."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable


class InputError(Exception):
    """Bad input or settings (exit code 2). The message is one line: the file or flag, and the remedy."""


class TrainingError(Exception):
    """The run itself went wrong in a way that has a name, a loss that is no number, say (exit code 1)."""


class LostProcess(TrainingError):
    """Another process of the same run has gone, so this one cannot go on."""


class Stopped(Exception):
    """Stopped on request, with a checkpoint written (exit code 75, `EX_TEMPFAIL`: start again)."""


EXIT_CODES: dict[type[Exception], int] = {InputError: 2, TrainingError: 1, LostProcess: 1, Stopped: 75}

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""A disk that is full or must not be written to: nothing is wrong with the program."""


def is_first_process() -> bool:
    """Whether this process may speak. Launchers tell the rank in the environment, before torch is imported."""
    alone = _number("WORLD_SIZE", 1) == 1  # else a RANK that was left behind would silence everything
    return alone or _number("RANK", 0) == 0


def _number(name: str, default: int) -> int:
    """A whole number from the environment; `default` if there is none, or nonsense."""
    value = os.environ.get(name, "").strip()
    return int(value) if value.isdecimal() else default


def report(error: BaseException) -> None:
    """Print `error` as one line on standard error, from the first process only; which may be the one that has gone."""
    if is_first_process() or isinstance(error, LostProcess):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr, flush=True)


def run_command(command: Callable[[], None]) -> None:
    """Run `command` and leave the process with the exit code that its errors stand for."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a sign is no reason to stop
    try:
        try:
            command()
        finally:
            sys.stdout.flush()  # here, where a reader that has gone (`| head -1`) can still be told from a bug
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        sys.exit(128 + signal.SIGPIPE)  # as a shell tells of it
    except tuple(EXIT_CODES) as error:
        report(error)
        sys.exit(EXIT_CODES[type(error)])
    except OSError as error:
        if error.errno not in DISK:
            raise
        report(
            TrainingError(
                f"{error.filename or 'a file'} cannot be written ({error.strerror}): make room, or change "
                "its permissions, and start again; what was there before is whole"
            )
        )
        sys.exit(1)
