"""Batches as functions of (seed, epoch, place), from pixels that live on the device.

Global batch k of epoch e follows from (seed, e, k) alone, and each image's augmentation from (seed, e, its place in
the epoch). Nothing has a state, so a run resumes in the middle of an epoch with two integers, and any number of
processes sees the same augmented global batches: each takes its own rows of them.

The batch contract: images (B, C, size, size) float32, normalised, and what the network is to say of them, as the task
has it: a tensor (B, ...) or several; all on the device. `raw` gives all that differs from batch to batch, and `seen`
makes the batch of it, by operations on the device alone: a step that is compiled or captured begins there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from deeplense.config import AugmentConfig
from deeplense.data.augment import affine
from deeplense.data.store import Pixels, PixelStore

if TYPE_CHECKING:
    from deeplense.simulation.draw import Draws
    from deeplense.simulation.stream import ImageStream


class Targets(Protocol):
    """What is to be learned of the images of a set, by their places in it."""

    def __call__(self, index: torch.Tensor, maps: torch.Tensor) -> Any:
        """Of images `index`, (B,) int64 on the device, as they are turned and mirrored by `maps` (B, 2, 3)."""


class DrawnTargets(Protocol):
    """What is to be learned of images that were simulated just now."""

    def __call__(self, draws: Draws, maps: torch.Tensor) -> Any:
        """Of these B images, as they are turned and mirrored by `maps` (B, 2, 3)."""


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """The training batches of one process."""

    store: PixelStore
    targets: Targets
    """Of the whole set."""
    indices: np.ndarray
    """(n,) int64: the training part of the set."""
    augment: AugmentConfig
    batch_size: int
    """Images in a global batch."""
    parts: int
    """Parts of this process's share of a batch, for gradient accumulation."""
    seed: int
    rank: int = 0
    world: int = 1
    even: np.ndarray | None = None
    """(n,) the class of each of `indices`, where all are to come equally often; None: each image once an epoch."""

    def __post_init__(self) -> None:
        assert self.batch_size % (self.world * self.parts) == 0

    @property
    def steps(self) -> int:
        """Global batches in an epoch. The images that would not fill another one wait for the next epoch."""
        return len(self.indices) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, Any]]:
        """This process's part of the batches `start`, `start + 1`, ... of an epoch: `parts` items for each."""
        return (self.seen(*item) for item in self.raw(epoch, start))

    def raw(self, epoch: int, start: int = 0) -> Iterator[tuple[Pixels, torch.Tensor, torch.Tensor]]:
        """Of the same items, the stored pixels, places in the set (B,), and draws of the augmentation (B, 3)."""
        order, draws = epoch_plan(self.seed, epoch, len(self.indices))
        if self.even is not None:
            order = even_order(self.seed, epoch, self.even)
        index = self.indices[order]
        places = [
            slice(place, place + self._share)
            for step in range(start, self.steps)
            for place in own_places(step, self.batch_size, self.rank, self.world, self.parts)
        ]
        pixels_of = self.store.batches(index, places)
        device = self.store.device
        index_there = torch.from_numpy(index).to(device)
        draws_there = torch.from_numpy(draws).to(device)
        for place, pixels in zip(places, pixels_of, strict=True):
            yield pixels, index_there[place], draws_there[place]

    def seen(self, pixels: Pixels, index: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """The images and targets of an item of `raw`."""
        maps = affine(draws, self.augment.rotation, self.augment.flips)
        return self.store.resample(pixels, maps), self.targets(index, maps)

    def plain(self, count: int, batch_size: int) -> Iterator[torch.Tensor]:
        """`count` of the training images, or all, a fixed sample of them, without augmentation; see `plain_batches`."""
        some = np.random.default_rng(0).permutation(len(self.indices))[:count]
        return plain_batches(self.store, self.indices[some], batch_size)

    @property
    def _share(self) -> int:
        return self.batch_size // (self.world * self.parts)


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What a run sees before its own images."""

    stream: ImageStream
    until: int
    """The step, of all of the run's, that is the first without it."""


@dataclasses.dataclass(frozen=True)
class StreamBatches:
    """Training batches that are simulated on the device when they are needed.

    Image k of the run follows from (seed, k), and batch n holds images n B to (n + 1) B: the sequence is the same for
    any number of processes and any size of the batch.
    """

    store: PixelStore
    """Whose treatment of pixels is that of the fixed images, too."""
    stream: ImageStream
    targets: DrawnTargets
    augment: AugmentConfig
    batch_size: int
    parts: int
    epoch_images: int
    rank: int = 0
    world: int = 1
    lessons: tuple[Lesson, ...] = ()
    """One after the other, by their ends."""

    @property
    def steps(self) -> int:
        """Global batches in an epoch."""
        return self.epoch_images // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, Any]]:
        """As `TrainBatches.epoch`."""
        return (self.seen(*item) for item in self.raw(epoch, start))

    def raw(self, epoch: int, start: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor, Draws]]:
        """Of the same items, counts (B, 1, H, W), draws of the augmentation (B, 3), and the truth."""
        share = self.batch_size // (self.world * self.parts)
        for step in range(epoch * self.steps + start, (epoch + 1) * self.steps):
            for first in own_places(step, self.batch_size, self.rank, self.world, self.parts):
                numbers = torch.arange(first, first + share, device=self.store.device)
                counts, truth = self._images(step, numbers)
                yield counts, self.stream.uniforms(numbers), truth

    def _images(self, step: int, numbers: torch.Tensor) -> tuple[torch.Tensor, Draws]:
        """Images and truth of a step of the run."""
        stream = next((lesson.stream for lesson in self.lessons if step < lesson.until), self.stream)
        counts, truth = stream.images(numbers)
        if not self.lessons:
            return counts, truth
        # Of one shape in any step, as one that is captured must be.
        return counts, truth.of_subhalos(self._scalars).with_room(max(stream.places for stream in self._streams))

    @property
    def _streams(self) -> list[ImageStream]:
        return [self.stream, *(lesson.stream for lesson in self.lessons)]

    @functools.cached_property
    def _scalars(self) -> list[str]:
        """Names of the parameters that images of all streams have."""
        one = torch.zeros(1, dtype=torch.int64, device=self.store.device)
        return sorted(set.intersection(*(set(stream.simulator.draw(one).scalars) for stream in self._streams)))

    def seen(self, counts: torch.Tensor, draws: torch.Tensor, truth: Draws) -> tuple[torch.Tensor, Any]:
        """The images and targets of an item of `raw`."""
        maps = affine(draws, self.augment.rotation, self.augment.flips)
        return self.store.resample(self.store.to_unit(counts), maps), self.targets(truth, maps)

    def plain(self, count: int, batch_size: int) -> Iterator[torch.Tensor]:
        """The first `count` images of the run's own set, or those of an epoch, without augmentation; see
        `plain_batches`."""
        count = min(count, self.epoch_images)
        for first in range(0, count, batch_size):
            counts, _ = self.stream.span(first, min(first + batch_size, count))
            yield self.store.resample(self.store.to_unit(counts))


Batches = TrainBatches | StreamBatches


def own_places(step: int, batch_size: int, rank: int, world: int, parts: int) -> range:
    """Where the parts of one process's share of global batch `step` begin in the sequence of images."""
    share = batch_size // world
    first = step * batch_size + rank * share
    return range(first, first + share, share // parts)


def epoch_plan(seed: int, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of the images (count,) int64, and three uniform draws (count, 3) float32 for each place in it."""
    random = np.random.default_rng([seed, epoch])
    return random.permutation(count), random.random((count, 3), dtype=np.float32)


def even_order(seed: int, epoch: int, labels: np.ndarray) -> np.ndarray:
    """Images (n,) int64 of an epoch in which all classes of `labels` (n,) come equally often, in any order.

    Each class goes through its images in one random order after another: none comes again before all have come.
    """
    random = np.random.default_rng([seed, epoch, 1])
    count, classes = len(labels), np.unique(labels)
    turns = random.permutation(np.resize(classes, count))
    order = np.empty(count, dtype=np.int64)
    for label in classes:
        places, own = np.flatnonzero(turns == label), np.flatnonzero(labels == label)
        rounds = -(-len(places) // len(own))
        order[places] = np.concatenate([random.permutation(own) for _ in range(rounds)])[: len(places)]
    return order


def plain_batches(store: PixelStore, indices: np.ndarray, batch_size: int) -> Iterator[torch.Tensor]:
    """The images of `indices` in order, without augmentation: (b, C, size, size) normalised, b <= `batch_size`."""
    places = [slice(start, start + batch_size) for start in range(0, len(indices), batch_size)]
    for pixels in store.batches(indices, places):
        yield store.resample(pixels)
