"""One launch a step: what a GPU does in it is noted once, and done again from the note.

A step takes some 300 operators, and a GPU is through with most of them before Python has asked for the next. A CUDA
graph asks for all of them at once. It repeats what was launched, to the letter: the same kernels at the same addresses.
So all that differs from step to step is a tensor that is filled in place: the items of the batch, the learning rate,
fp16's scale, whether the step counts. Nothing may wait for the device, and shapes stay.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from deeplense.data.store import Several
from deeplense.machine.remarks import first_line, remark

Item = tuple[Any, ...]
"""What a part of a step is made of, see `data.batches`: tensors, alone or in tuples, dictionaries and dataclasses."""

WARM_UP = 3
"""Steps before the capture: optimiser and scaler make their tensors, cuDNN chooses, code is compiled."""


class CannotCapture(Exception):
    """A step is not such that it could be captured."""


class Graph(Protocol):
    """What captures and repeats."""

    def warm_up(self, step: Callable[[], None]) -> bool:
        """Run a step as it is to be captured; whether something in it waited for the device."""

    def capture(self, step: Callable[[], None]) -> None:
        """Note what a step does, which does not happen yet."""

    def replay(self) -> None:
        """Do it."""


class CudaGraph:
    """That of a GPU."""

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream()

    def warm_up(self, step: Callable[[], None]) -> bool:
        before, mode = torch.cuda.current_stream(), torch.cuda.get_sync_debug_mode()
        self._stream.wait_stream(before)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as said, torch.cuda.stream(self._stream):
                warnings.simplefilter("always")
                step()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        before.wait_stream(self._stream)
        waits = [one for one in said if "synchronizing CUDA operation" in str(one.message)]
        for other in (one for one in said if one not in waits):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        return bool(waits)

    def capture(self, step: Callable[[], None]) -> None:
        before = torch.cuda.current_stream()
        try:
            # Other threads may go on: one reads the next images into pinned memory.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                step()
        finally:
            torch.cuda.set_stream(before)  # which torch does not, if the capture fails

    def replay(self) -> None:
        self._graph.replay()


class Steps:
    """Runs one step after the other: captured after a while, if that works, else as they are."""

    def __init__(
        self,
        advance: Callable[[list[Item]], None],
        undo: Callable[[], None],
        give_up_compiling: Callable[[str], None] | None,
        graph: Graph | None,
    ) -> None:
        """
        Args:
            advance: a whole step over its parts.
            undo: called where one has broken off before it moved a weight: it is to be run once more.
            give_up_compiling: called, with the reason, where compiled code does not work; None: nothing is compiled.
            graph: None: steps are not captured.
        """
        self._advance, self._undo = advance, undo
        self._give_up_compiling, self._graph = give_up_compiling, graph
        self._held: list[Item] | None = None
        self._done = 0

    def __call__(self, parts: list[Item]) -> None:
        """A step over `parts`."""
        self._done += 1
        if self._held is not None:
            assert self._graph is not None
            for held, part in zip(self._held, parts, strict=True):
                fill(held, part)
            self._graph.replay()
        elif self._done == 1 and self._give_up_compiling is not None:
            self._or_else(self._give_up_compiling, lambda: self._plainly(parts), parts)
        elif self._graph is not None and self._done > WARM_UP:
            self._or_else(self._give_up_capturing, lambda: self._capture(parts), parts)
        else:
            self._plainly(parts)

    def _plainly(self, parts: list[Item]) -> None:
        if self._graph is None:
            self._advance(parts)
        elif self._graph.warm_up(lambda: self._advance(parts)) and self._done == WARM_UP:
            self._give_up_capturing("something in it waits for the device")

    def _capture(self, parts: list[Item]) -> None:
        assert self._graph is not None
        held = [hold(part) for part in parts]
        self._graph.capture(lambda: self._advance(held))
        self._graph.replay()
        self._held = held

    def _or_else(self, give_up: Callable[[str], None], attempt: Callable[[], None], parts: list[Item]) -> None:
        """Attempt a step; if that fails, give the way up, and run it in the one that is left."""
        try:
            attempt()
        except Exception as error:  # compilers and drivers raise anything
            give_up(first_line(error))
            self._undo()
            self._plainly(parts)

    def _give_up_capturing(self, reason: str) -> None:
        self._graph = None
        remark(f"the step is not captured, training is slower: {reason}")


def hold(item: Any) -> Any:
    """Tensors of the same values to be filled in place, in the same structure.

    Raises:
        CannotCapture: there is something else in it, which would stay what it is.
    """
    if isinstance(item, Several):
        raise CannotCapture("its images are of several sizes")
    if isinstance(item, torch.Tensor):
        return item.clone()
    if isinstance(item, tuple):
        return tuple(hold(one) for one in item)
    if isinstance(item, dict):
        return {name: hold(one) for name, one in item.items()}
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return dataclasses.replace(item, **{name: hold(one) for name, one in vars(item).items()})
    raise CannotCapture(f"its items hold a {type(item).__name__}, and not tensors alone")


def fill(held: Any, item: Any) -> None:
    """Put the values of `item` where `hold` has put those of an item before."""
    for mine, own in zip(_tensors(held), _tensors(item), strict=True):
        mine.copy_(own, non_blocking=True)


def _tensors(item: Any) -> Iterator[torch.Tensor]:
    if isinstance(item, torch.Tensor):
        return iter([item])
    parts = item if isinstance(item, tuple) else item.values() if isinstance(item, dict) else vars(item).values()
    return itertools.chain.from_iterable(_tensors(part) for part in parts)
