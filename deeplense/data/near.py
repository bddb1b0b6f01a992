"""What near-copies have in common: one image as grey JPEG and RGB PNG, as bytes and as floats, turned or mirrored.

Of the image as a network may see it (one channel, 64 x 64 px, mean 0 and spread 1) the cosine transform at the lowest
frequencies is kept. Turning by quarters and mirroring change signs and exchange the two axes there, and nothing else;
so sizes alone, in pairs, are the same for all eight orientations. Images are near where the Euclidean distance of these
is small. A hash cannot do that: any grid of cells tears some copies apart.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from deeplense.data.imageset import ImageSet

SIDE = 64
"""Pixels a side of the image that is looked at."""

FREQUENCIES = 20
"""Along each axis, from the lowest, whose cosine transform is kept."""

NEAR = 0.016
"""The distance, as a part of the whole image's length, below which two images are one."""

_FLAT = 1e-6
_ROWS = 512


def look_of(image: np.ndarray, rgb: bool = False) -> np.ndarray:
    """(D,) float32 of an image (C, H, W), of length 1 at most; zeros for one without any light."""
    pixels = image.astype(np.float32)
    if rgb and len(pixels) == 3:
        pixels = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), pixels, 1)[None]
    upper = np.triu_indices(FREQUENCIES)
    if not np.isfinite(pixels).all():
        return np.zeros(2 * len(upper[0]), np.float32)
    peak = float(np.abs(pixels).max()) or 1.0
    # Products this small wait for threads a hundred times as long as they take, where the cores are busy decoding.
    with _threads().limit(limits=1, user_api="blas"):
        small = _small((pixels / np.float32(peak)).mean(0))  # squares of 1e-25 and of 1e25 are beyond these floats
        small = small - small.mean()
        length = float(np.linalg.norm(small))
        if length <= _FLAT:
            return np.zeros(2 * len(upper[0]), np.float32)
        size = np.abs(_COSINES @ (small / length) @ _COSINES.T)
    pairs = np.stack([size[upper], size.T[upper]])
    return np.sort(pairs, 0).reshape(-1).astype(np.float32)


def looks_of(images: ImageSet, rows: np.ndarray) -> np.ndarray:
    """(n, D) float32 of the images `rows` (n,) of a set; looked at now, if nobody has before."""
    if images.looks is not None:
        return images.looks[rows]
    rgb = images.light.rgb if images.light is not None else np.zeros(len(images), bool)
    looks = [look_of(np.asarray(images.pixels[int(row)]), bool(rgb[row])) for row in rows]
    return np.array(looks, dtype=np.float32).reshape(len(rows), -1)


def near_pairs(looks: np.ndarray, others: np.ndarray | None = None, near: float = NEAR) -> Iterator[tuple[int, int]]:
    """Pairs (i, j) of rows that are near: of `looks` with i < j, or of `looks` and `others`.

    Rows are sorted by their projection on the direction in which they differ most, and compared with those that it
    does not tell apart: the distance of two is never less than that of their projections.
    """
    alone = others is None
    second = looks if others is None else others
    if not len(looks) or not len(second):
        return
    both = np.concatenate([looks, second]) if not alone else looks
    direction = _widest(both)
    places, second_places = looks @ direction, second @ direction
    order, second_order = np.argsort(places), np.argsort(second_places)
    sorted_places = second_places[second_order]
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        low = np.searchsorted(sorted_places, places[rows[0]] - near)
        high = np.searchsorted(sorted_places, places[rows[-1]] + near, "right")
        for at in range(low, high, _ROWS):
            columns = second_order[at : min(at + _ROWS, high)]
            close = _squares(looks[rows], second[columns]) < near**2
            for i, j in np.argwhere(close):
                row, column = int(rows[i]), int(columns[j])
                if (not alone or row < column) and looks[row].any():
                    yield row, column


def _squares(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    lengths = (one**2).sum(1)[:, None] + (other**2).sum(1)
    return lengths - 2 * (one @ other.T)


def _widest(rows: np.ndarray) -> np.ndarray:
    some = rows[:: max(1, len(rows) // 2000)]
    centred = some - some.mean(0)
    direction = np.linalg.eigh(centred.T @ centred)[1][:, -1] if len(some) > 1 else np.ones(rows.shape[1])
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def _small(image: np.ndarray) -> np.ndarray:
    """(H, W) as (SIDE, SIDE), each pixel the mean of what it covers."""
    rows, columns = (_cover(side) for side in image.shape)
    return rows @ image @ columns.T


@functools.cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


_COVERS: dict[int, np.ndarray] = {}


def _cover(side: int) -> np.ndarray:
    """(SIDE, side): how much each pixel of the small image covers of those of the large one."""
    if side not in _COVERS:
        edges = np.arange(SIDE + 1) * (side / SIDE)
        left, right = edges[:-1, None], edges[1:, None]
        cells = np.arange(side)
        overlap = np.minimum(right, cells + 1) - np.maximum(left, cells)
        _COVERS[side] = (overlap.clip(0) * (SIDE / side)).astype(np.float32)
    return _COVERS[side]


def _cosines() -> np.ndarray:
    """(FREQUENCIES, SIDE): the orthonormal cosine transform, type II."""
    angle = np.pi * np.outer(np.arange(FREQUENCIES), 2 * np.arange(SIDE) + 1) / (2 * SIDE)
    scale = np.full((FREQUENCIES, 1), np.sqrt(2 / SIDE))
    scale[0] = np.sqrt(1 / SIDE)
    return (np.cos(angle) * scale).astype(np.float32)


_COSINES = _cosines()
