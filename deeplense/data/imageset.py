"""What a set of images is, wherever it came from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplense.data.mixed import Mixed


@dataclasses.dataclass(frozen=True)
class Light:
    """What is known of the numbers in each image, by its file alone."""

    unit: np.ndarray
    """(N,) str: see `decode.unit_of`."""
    high: np.ndarray
    """(N,) float64: the largest number."""
    rgb: np.ndarray
    """(N,) bool: whether three channels are colours for the eye, and not bands of a telescope."""

    def take(self, rows: np.ndarray) -> Light:
        return Light(self.unit[rows], self.high[rows], self.rgb[rows])


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Decoded images with what is known of each. Nothing is normalised or resized yet."""

    pixels: np.ndarray | Mixed
    """(N, C, H, W) uint8, uint16, float16 or float32, usually a memory map; or images that differ in these."""
    labels: np.ndarray | None
    """(N,) int64, or None where nobody said."""
    classes: tuple[str, ...]
    """Name of each label; empty without labels."""
    paths: list[str]
    """Where each image came from, relative to the set's folder."""
    hashes: list[str]
    """SHA-256 of each image's pixels (`content.content_hash`)."""
    parts: list[str] | None = None
    """`train`, `val` or `test` for each image, where the folders said so."""
    folder: Path | None = None
    """The packed set that the pixels are mapped from; a simulated one has its truth beside them."""
    light: Light | None = None
    """None: nobody has looked at the numbers, and their type has to do."""
    looks: np.ndarray | None = None
    """(N, D) float32: what near-copies have in common (`near.look_of`); None: nobody has looked."""

    def __len__(self) -> int:
        return len(self.paths)

    def first(self, count: int) -> ImageSet:
        """The first `count` images, still mapped."""
        return self if count >= len(self) else self.take(slice(count))

    def take(self, which: slice | list[int]) -> ImageSet:
        """Some of the images. A list copies their pixels into memory."""
        rows = np.arange(len(self))[which]
        return dataclasses.replace(
            self,
            pixels=self.pixels[which],
            labels=None if self.labels is None else self.labels[which],
            paths=[self.paths[row] for row in rows],
            hashes=[self.hashes[row] for row in rows],
            parts=None if self.parts is None else [self.parts[row] for row in rows],
            light=None if self.light is None else self.light.take(rows),
            looks=None if self.looks is None else self.looks[rows],
        )

    def some_of_each(self, indices: np.ndarray, count: int) -> tuple[np.ndarray, list[str]]:
        """The first `count` of `indices` of each class, class after class, and the names of their classes."""
        assert self.labels is not None
        labels = self.labels[indices]
        some = np.concatenate([indices[labels == label][:count] for label in range(len(self.classes))])
        return some, [self.classes[label] for label in self.labels[some]]

    def fingerprint(self) -> str:
        """One hash over content and labels of the whole set, whatever the order."""
        names: Sequence[str] = (
            [""] * len(self) if self.labels is None else [self.classes[label] for label in self.labels]
        )
        lines = sorted(f"{sha256} {name}" for sha256, name in zip(self.hashes, names, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()
