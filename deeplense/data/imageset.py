"""What a set of images is, wherever it came from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

NEGATIVE_CLASSES = ("no_sub", "no", "no_substructure")
"""A class of one of these names is label 0: the smooth lenses."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Decoded images with what is known of each. Nothing is normalised or resized yet."""

    pixels: np.ndarray
    """(N, C, H, W) uint8, uint16, float16 or float32; usually a memory map."""
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
        )

    def fingerprint(self) -> str:
        """One hash over content and labels of the whole set, whatever the order."""
        names = [""] * len(self) if self.labels is None else [self.classes[label] for label in self.labels]
        lines = sorted(f"{sha256} {name}" for sha256, name in zip(self.hashes, names, strict=True))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def ordered_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Classes in the order of their labels: by name, the smooth class first."""
    return tuple(sorted(set(names), key=lambda name: (name not in NEGATIVE_CLASSES, name)))
