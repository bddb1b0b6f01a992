"""Real galaxies as sources: read, checked, freed from their background, and shared out to the parts of a split.

Each galaxy is a source of training, of validation, or of test images, and of no two of them: a network that has met
it behind one lens would know it behind another. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deeplense.content import content_hash
from deeplense.errors import InputError
from deeplense.simulation.lights import Sersic
from deeplense.simulation.reading import read_images

PARTS, FRACTIONS = ("train", "val", "test"), (0.7, 0.1, 0.2)
"""As the split's by itself; a packed set says the part of each image in its catalogue, and the split keeps to it."""
FEWEST = 10
"""Galaxies: with fewer, a part would have none."""
SIDE = 128
"""Pixels a side that a galaxy is kept at, at most: larger ones are averaged down."""
_SHARPEST = 3.0
"""Pixels: what has half of its light within less is a star, or too small to be magnified."""

_FEWEST_PIXELS = 11
"""A side: of fewer there is no frame that the background could be taken from."""


@dataclass(frozen=True)
class Pictures:
    """Galaxies of a `Gallery` in place of a profile, any of them as likely as another, in any direction.

    Of `body` the flux, the half-light radius and the position are kept: a galaxy is given that size.
    """

    body: Sersic
    sha256: str
    """Of all its galaxies: which folder it was, whatever it is called."""
    gallery: Gallery = field(repr=False, compare=False, metadata={"pixels": True})
    pixel_scale: float | None = None
    """Arcsec of a galaxy's pixel; None: that of its drawn half-light radius."""
    only: str | None = None
    """A part: of its galaxies alone. None: each image has a part."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Galaxies of each part, those of `only` or of all."""
        return tuple(
            0 if self.only not in (None, part) else count
            for part, count in zip(PARTS, self.gallery.counts, strict=True)
        )


class Gallery:
    """Galaxies in order of their parts."""

    def __init__(self, pixels: np.ndarray, half_light: np.ndarray, shrunk: np.ndarray, counts: tuple[int, ...]) -> None:
        self.pixels = pixels
        """(M, C, P, P) float16, brightness with dark round it, so that the mean of the bands has 4,096 in all."""
        self.half_light = half_light
        """(M,) float32, pixels of these."""
        self.shrunk = shrunk
        """(M,) float32: pixels of the file along the side of one of these."""
        self.counts = counts
        """Galaxies of each of `PARTS`."""


TOTAL = 4096.0
"""Light of a galaxy in its pixels, so that float16 has digits for the faint ones."""


def open_gallery(folder: Path, bands: int, flag: str = "--sources") -> tuple[Gallery, str]:
    """The galaxies of a folder in one band or three, and the hash of them all.

    Raises:
        InputError: files that cannot be read, pixels that are no numbers, stars, or fewer galaxies than a split needs.
    """
    found: dict[str, tuple[np.ndarray, float, float]] = {}
    bad: dict[str, list[str]] = {
        "have pixels that are no numbers": [],
        "are stars, or too small": [],
        "have no light": [],
    }
    for name, image in read_images(folder, flag):
        if not np.isfinite(image).all():
            bad["have pixels that are no numbers"].append(name)
            continue
        sha256 = content_hash(image)
        square = _squared(image)
        if square.shape[1] < _FEWEST_PIXELS:
            bad["are stars, or too small"].append(name)
            continue
        planes = _without_background(square)
        if not planes.any():
            bad["have no light"].append(name)
            continue
        radius = half_light_radius(planes.mean(0))
        if not radius >= _SHARPEST:  # nor where it is no number
            bad["are stars, or too small"].append(name)
            continue
        found[sha256] = _made_ready(planes if bands == 3 else planes.mean(0, keepdims=True), bands, radius)
    for reason, names in bad.items():
        if names:
            raise InputError(
                f"{flag} {folder}: {len(names)} of its images {reason} ({names[0]}, for one): take them out"
            )
    if len(found) < FEWEST:
        raise InputError(
            f"{flag} {folder}: {len(found)} galaxies that differ are too few to have training, validation and test "
            f"images of different ones: give {FEWEST} or more"
        )
    ranked = sorted(found)
    held_out = [max(round(fraction * len(ranked)), 1) for fraction in FRACTIONS[1:]]
    counts = (len(ranked) - sum(held_out), *held_out)
    pixels, radii, shrunk = zip(*(found[sha256] for sha256 in ranked), strict=True)
    gallery = Gallery(_stacked(pixels), np.array(radii, np.float32), np.array(shrunk, np.float32), counts)
    return gallery, hashlib.sha256("".join([str(bands), *ranked]).encode()).hexdigest()


def half_light_radius(image: np.ndarray) -> float:
    """Pixels from the centre of the light within which half of it lies."""
    y, x = np.indices(image.shape)
    total = image.sum()
    distance = np.hypot(x - (x * image).sum() / total, y - (y * image).sum() / total).ravel()
    order = np.argsort(distance)
    inside = np.cumsum(image.ravel()[order])
    return float(distance[order][np.searchsorted(inside, 0.5 * total)])


def _squared(image: np.ndarray) -> np.ndarray:
    """The square in the middle."""
    side = min(image.shape[1:])
    top, left = ((length - side) // 2 for length in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def _without_background(image: np.ndarray) -> np.ndarray:
    """Less the median of the frame and twice its scatter, and falling to nothing towards the edges."""
    side = image.shape[1]
    axis = np.abs(np.arange(side) - 0.5 * (side - 1)) / (0.5 * side)
    distance = np.hypot(axis, axis[:, None])
    frame = image[:, np.maximum(axis, axis[:, None]) > 0.9]  # (C, n)
    middle = np.median(frame, axis=1)
    scatter = 1.4826 * np.median(np.abs(frame - middle[:, None]), axis=1)
    window = np.clip((1.0 - distance) / 0.2, 0.0, 1.0)
    return np.maximum(image - (middle + 2.0 * scatter)[:, None, None], 0.0) * (window**2 * (3.0 - 2.0 * window))


def _made_ready(planes: np.ndarray, bands: int, radius: float) -> tuple[np.ndarray, float, float]:
    """(C, p, p), p at most `SIDE`; the half-light radius in these pixels; and pixels of the file in one of them."""
    factor = -(-planes.shape[1] // SIDE)
    side = planes.shape[1] // factor
    cut = planes[:, : side * factor, : side * factor]
    small = cut.reshape(len(cut), side, factor, side, factor).mean((2, 4))
    small = np.broadcast_to(small, (bands, side, side)) * (TOTAL / small.mean(0).sum())
    return small.astype(np.float16), radius / factor, float(factor)


def _stacked(pixels: Iterable[np.ndarray]) -> np.ndarray:
    """All in the middle of arrays of one size, with a dark rim: beyond it there is nothing."""
    pixels = list(pixels)
    side = max(image.shape[1] for image in pixels) + 2
    whole = np.zeros((len(pixels), pixels[0].shape[0], side, side), np.float16)
    for place, image in enumerate(pixels):
        start = (side - image.shape[1]) // 2
        whole[place, :, start : start + image.shape[1], start : start + image.shape[1]] = image
    return whole
