"""Images for training without end, made on the training device: image k of a stream follows from (seed, k) alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deeplense.simulation.sets import find_classes, find_set
from deeplense.simulation.simulator import Simulator

_LABELS = 3
"""Second word of the random counter (`draw` and `camera` have the others)."""


class ImageStream:
    """An endless sequence of simulated images; none of them is in a stored set.

    Any part of the sequence can be asked for, in any order and in batches of any size: a run that resumes, or one on
    other GPUs, sees the same images.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str] = ("no_sub", "cdm"),
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Raises `InputError` for an unknown set or class."""
        found = find_classes(classes)
        self.simulator = Simulator(find_set(name), found, seed, device, purpose="stream")
        self.classes = found.names
        self.device = self.simulator.device

    def labels(self, numbers: Tensor) -> Tensor:
        """Labels of images `numbers` (B,) int64 on the stream's device: (B,) int64, each class as likely as another."""
        zero = torch.zeros_like(numbers)
        words = self.simulator.random((zero, zero + _LABELS, numbers & 0xFFFFFFFF, numbers >> 32 << 8))
        return (words[0] * len(self.classes)) >> 32

    def images(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Counts (B, 1, H, W) float32 and labels (B,) int64 of images `numbers`, (B,) int64 on the stream's device.

        Nothing waits for the device. Whole powers of two up to 1024 waste no work on a GPU, multiples of 32 on a CPU.
        """
        labels = self.labels(numbers)
        counts, _ = self.simulator.make(numbers, labels)
        return counts[:, None], labels

    def span(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Images `start` to `stop`, without `stop`; see `images`."""
        return self.images(torch.arange(start, stop, device=self.device))
