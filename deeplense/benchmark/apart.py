"""A contender in a process of its own: what one does to memory or threads of its process is no gift to another."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch

from deeplense.benchmark.contenders import Contender
from deeplense.errors import InputError


class Apart:
    """A contender that is asked over a pipe, and waits while others have their turn."""

    def __init__(self, name: str, pipe: Connection) -> None:
        self._name = name
        self._pipe = pipe
        self.what: str = self._answer()

    def run(self, steps: int) -> tuple[float, float, int | None]:
        """As `Contender.run`, and the GPU memory that it took above what was held before; None on a CPU."""
        self._pipe.send(("run", steps))
        return self._answer()

    def score(self, images: int) -> float:
        """As `Contender.score`."""
        self._pipe.send(("score", images))
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self._name} has died, or was killed") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


@contextmanager
def apart(name: str, make: Callable[[], Contender]) -> Iterator[Apart]:
    """What `make` makes, in another process that ends with the context. `make` is sent there by its name.

    Raises:
        InputError: of `make` there.
        RuntimeError: of anything else there, with its traceback; or its process has died.
    """
    context = torch.multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(make, there))
    process.start()
    there.close()
    try:
        yield Apart(name, here)
    finally:
        here.close()  # which it takes for the end
        process.join(10)
        process.terminate()  # it was in the middle of something


def _serve(make: Callable[[], Contender], pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent says what there is to say
    try:
        contender = make()
        pipe.send(contender.what)
        while True:
            name, argument = pipe.recv()
            pipe.send(_run(contender, argument) if name == "run" else contender.score(argument))
    except (EOFError, BrokenPipeError):  # nobody asks any more
        return
    except InputError as error:
        pipe.send(error)
    except Exception:  # not itself: not every one can be sent
        pipe.send(RuntimeError(traceback.format_exc()))


def _run(contender: Contender, steps: int) -> tuple[float, float, int | None]:
    if not torch.cuda.is_available():
        return *contender.run(steps), None
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    took, waited = contender.run(steps)
    return took, waited, torch.cuda.max_memory_allocated() - held
