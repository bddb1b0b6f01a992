"""Images for training without end, made on the training device: image k of a stream follows from (seed, k) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from deeplense.simulation.counters import uniform
from deeplense.simulation.draw import Draws
from deeplense.simulation.gallery import Pictures
from deeplense.simulation.sets import LensSet, find_classes, find_set
from deeplense.simulation.simulator import Simulator

_AUGMENTATION = 4
"""Second word of the random counter (`simulator`, `draw` and `camera` have the others)."""


class ImageStream:
    """An endless sequence of simulated images; none of them is in a stored set, nor is a galaxy of its validation.

    Any part of the sequence can be asked for, in any order and in batches of any size: a run that resumes, or one on
    other GPUs, sees the same images.
    """

    def __init__(
        self,
        name: str | LensSet,
        classes: Sequence[str] = ("no_sub", "cdm"),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises `InputError` for an unknown set or class."""
        found = find_classes(classes)
        lens_set = find_set(name) if isinstance(name, str) else name
        if isinstance(lens_set.source, Pictures):
            lens_set = replace(lens_set, source=replace(lens_set.source, only="train"))
        self.simulator = Simulator(lens_set, found, seed, device, purpose="stream")
        self.classes = found.names
        self.device = self.simulator.device
        self.places = lens_set.subhalos.most
        """For subhalos, in each image."""

    def images(self, numbers: Tensor) -> tuple[Tensor, Draws]:
        """Counts (B, C, H, W) float32 and the truth of images `numbers`, (B,) int64 on the stream's device.

        Nothing waits for the device. The work is done in pieces of 32 on a CPU, and on a GPU of 128, or of 1024 where
        more than 512 are asked for: multiples of these waste nothing.
        """
        counts, draws = self.simulator.make(numbers)
        return (counts[:, None] if counts.ndim == 3 else counts), draws

    def uniforms(self, numbers: Tensor) -> Tensor:
        """Three draws from (0, 1) for each of `numbers`, (B, 3) float32: for whoever augments the images."""
        zero = torch.zeros_like(numbers)
        words = self.simulator.random((zero, zero + _AUGMENTATION, numbers & 0xFFFFFFFF, numbers >> 32 << 8))
        return torch.stack([uniform(word) for word in words[:3]], 1)

    def span(self, start: int, stop: int) -> tuple[Tensor, Draws]:
        """Images `start` to `stop`, without `stop`; see `images`."""
        return self.images(torch.arange(start, stop, device=self.device))
