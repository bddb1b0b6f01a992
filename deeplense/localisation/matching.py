"""Which detection is which subhalo, and how often that would be so by chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from deeplense.localisation.detections import Detections
from deeplense.localisation.truth import Scale, TrueSubhalos

TOLERANCE = 2.0
"""Pixels of what the network sees, within which a detection is at the place of a subhalo."""
ANGLES = 180
"""By which truth is turned about the centre, evenly over the circle, for chance."""
AT_ONCE = 4096
"""Detections that are compared with the hundreds of subhalos that an image may have, for memory's sake."""


@dataclasses.dataclass(frozen=True)
class Matches:
    """Detections and the subhalos that they are."""

    subhalo: np.ndarray
    """(m,) for each detection the place of its subhalo in its image, -1: of none."""
    detection: np.ndarray
    """(n, K) for each subhalo the number of its detection, -1: of none."""


def distances(detections: Detections, truth: TrueSubhalos, scale: Scale) -> np.ndarray:
    """Of each detection from each subhalo of its image, (m, K) in pixels; infinite where there is none."""
    x, y = scale.to_cells(truth.x), scale.to_cells(truth.y)
    rows = detections.image
    apart = np.hypot(x[rows] - detections.x[:, None], y[rows] - detections.y[:, None]) * 2.0
    return np.where(truth.mass[rows] > 0, apart, np.inf)


def match(detections: Detections, truth: TrueSubhalos, scale: Scale) -> Matches:
    """Each detection, the most probable of an image first, takes the nearest subhalo within `TOLERANCE` that is free.

    A probability decides who comes first and not the distance: else a faint detection beside a strong one could take
    its subhalo away.
    """
    subhalo = np.full(len(detections), -1)
    detection = np.full(truth.mass.shape, -1)
    for first in range(0, len(detections), AT_ONCE):
        apart = distances(detections.take(np.s_[first : first + AT_ONCE]), truth, scale)
        for place in np.flatnonzero((apart < TOLERANCE).any(1)):
            row = detections.image[first + place]
            free = np.where(detection[row] < 0, apart[place], np.inf)
            nearest = int(free.argmin())
            if free[nearest] < TOLERANCE:
                subhalo[first + place], detection[row, nearest] = nearest, first + place
    return Matches(subhalo, detection)


def turned_truths(truth: TrueSubhalos, angles: int = ANGLES) -> Iterator[TrueSubhalos]:
    """The truth turned about the centre by `angles` angles.

    Subhalos lie at any angle with equal probability, so a detection that knows of its subhalo only the distance from
    the centre would be at these as often as at the truth.
    """
    for angle in 2 * np.pi * np.arange(angles) / angles:
        cos, sin = np.cos(angle), np.sin(angle)
        yield TrueSubhalos(truth.x * cos - truth.y * sin, truth.x * sin + truth.y * cos, truth.mass)
