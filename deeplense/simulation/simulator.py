"""Draw, render and photograph any images of a set, by their numbers: what stored sets and streams are made with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from deeplense.compiling import compiled
from deeplense.simulation.camera import photograph
from deeplense.simulation.counters import Words, key_of, philox
from deeplense.simulation.draw import Draws, draw
from deeplense.simulation.render import render
from deeplense.simulation.sets import KINDS, Classes, LensSet


class Simulator:
    """Makes images of one set and seed on one device. Image i of a class is the same whatever else is made with it."""

    def __init__(
        self,
        lens_set: LensSet,
        classes: Classes,
        seed: int,
        device: torch.device | str,
        purpose: Literal["stored", "stream"] = "stored",
    ) -> None:
        """`purpose` is part of the random key: no image of a stream is one of a stored set."""
        self.lens_set = lens_set
        self.classes = classes
        self.device = torch.device(device)
        words = key_of(lens_set.name, lens_set.version, seed, purpose)
        self.key = torch.tensor(words, dtype=torch.int64, device=self.device)
        self._kinds = torch.tensor([KINDS.index(kind) for kind in classes.kinds], device=self.device)

    def random(self, counter: Words) -> Words:
        """Random words of this set and seed, see `counters.philox`."""
        return _generator(self.device.type)(self.key, torch.broadcast_tensors(*counter))

    def draw(self, number: Tensor, label: Tensor) -> Draws:
        """The truth of images `number` (within their class) of the classes `label`, both (B,) int64."""
        return draw(self.lens_set, self.classes.kinds, number, self._kinds[label], self.random)

    def render(self, draws: Draws) -> Tensor:
        """Noise-free surface brightness, (B, H, W) float32."""
        return render(draws, self.lens_set.camera)

    def photograph(self, brightness: Tensor, draws: Draws) -> Tensor:
        """Counts with noise, (B, H, W) float32."""
        return photograph(brightness, draws, self.lens_set.camera, self.key)

    def make(self, number: Tensor, label: Tensor) -> tuple[Tensor, Draws]:
        """Counts (B, H, W) float32 and truth of any number of images, see `draw`.

        The work is done in pieces of a few fixed sizes, the last one filled up: compiled code has one shape a size, and
        the vector and scalar code of a CPU, which round differently, meet the same pixels in every batch.
        """
        size = _piece(self.device.type, len(number))
        images, truths = [], []
        for first in range(0, len(number), size):
            part = slice(first, first + size)
            wanted = len(number[part])
            draws = self.draw(_fill(number[part], size), _fill(label[part], size))
            images.append(self.photograph(self.render(draws), draws)[:wanted])
            truths.append(draws.first(wanted))
        return (images[0] if len(images) == 1 else torch.cat(images)), Draws.join(truths)


@functools.cache
def _generator(kind: str) -> Callable[[Tensor, Words], Words]:
    return compiled(philox, kind)


def _piece(kind: str, wanted: int) -> int:
    """Images that are made at once: few enough for the caches of a CPU, enough to fill a GPU."""
    if kind == "cpu":
        return 32
    return min(max(64, 1 << (wanted - 1).bit_length()), 1024)


def _fill(values: Tensor, size: int) -> Tensor:
    """`values` (B,), B <= size, lengthened to `size` with zeros."""
    return torch.nn.functional.pad(values, (0, size - len(values)))
