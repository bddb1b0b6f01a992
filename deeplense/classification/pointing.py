"""Do attribution maps point at what is there? Counted against chance, from plain arrays.

Three questions, of images of substructure whose truth is known (`truth.Truth`):

Ring: is the map's peak within 0.25" of the circle of the Einstein radius? Chance: of a position drawn evenly over the
image, and of one drawn in proportion to the image's light. The second is the one to beat: any map that merely follows
the light would find the ring.

Subhalo: is the peak within 0.15" of a subhalo of more than 10^9 Msun? Chance: of a position drawn evenly over the
image, and of the peak itself turned to a random angle round the lens. The second is the one to beat. Subhalos lie at
any angle with equal probability, whatever the image shows, so a map that knows nothing of them, but likes the arcs or a
certain radius, does just as well when it is turned.

Height: how high is the map at the places of those subhalos, in units of its mean over the image? Chance: at the same
places, turned to random angles. It uses the whole map and not one point of it, so it tells little from nothing with
fewer images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from scipy.ndimage import map_coordinates

from deeplense.data.truth import HEAVY, Truth
from deeplense.scores.detection import proportion

RING = 0.25
"""Arcsec either side of the Einstein radius that count as the ring."""
NEAR = 0.15
"""Arcsec from a subhalo that count as found."""
ANGLES = 720
"""Into which a peak is turned for chance: half a degree is a tenth of `NEAR` at the ring."""


def near_ring(peaks: np.ndarray, light: np.ndarray, truth: Truth) -> dict[str, Any]:
    """How often a peak lies within the ring.

    Args:
        peaks: (n, 2) arcsec.
        light: (n, S, S) images, at least 0.
        truth: of the n images.
    """
    x, y = truth.pixel_centres(light.shape[-1])
    from_centre = np.hypot(x, y[:, None])
    inside = np.abs(from_centre - truth.einstein_radius[:, None, None]) < RING  # (n, S, S)
    hits = np.abs(np.hypot(*peaks.T) - truth.einstein_radius) < RING
    total = light.sum((1, 2))
    lit = (light * inside).sum((1, 2)) / np.where(total > 0, total, 1)
    counted = proportion(int(hits.sum()), len(hits)).as_json()
    chances = {"uniform": inside.mean((1, 2)), "by_light": lit}
    return counted | _against(hits, chances, "by_light") | {"half_width_arcsec": RING}


def near_subhalo(peaks: np.ndarray, size: int, truth: Truth) -> dict[str, Any] | None:
    """How often a peak lies near a heavy subhalo, of the images that have one; None if none has.

    Args:
        peaks: (n, 2) arcsec.
        size: pixels a side, over which the even chance is taken.
        truth: of the n images.
    """
    x, y = (axis.ravel() for axis in np.meshgrid(*truth.pixel_centres(size)))
    found, anywhere, turned = [], [], []
    for peak, masses in zip(peaks, truth.subhalos, strict=True):
        heavy = masses[masses[:, 2] > HEAVY, :2]
        if len(heavy):
            found.append(_near(peak[:1], peak[1:], heavy)[0])
            anywhere.append(_near(x, y, heavy).mean())
            turned.append(_near(*_turned(peak[:1], peak[1:]), heavy).mean())
    if not found:
        return None
    chances = {"uniform": np.array(anywhere), "same_radius": np.array(turned)}
    hits = np.array(found)
    counted = proportion(int(hits.sum()), len(hits)).as_json() | _against(hits, chances, "same_radius")
    return counted | {"distance_arcsec": NEAR, "heavier_than_msun": HEAVY}


def height_at_subhalos(maps: np.ndarray, truth: Truth) -> dict[str, Any] | None:
    """How high maps are at the heavy subhalos, of the images that have one; None if none has.

    Args:
        maps: (n, S, S), at least 0.
        truth: of the n images.
    """
    here, turned = [], []
    for image, masses in zip(maps, truth.subhalos, strict=True):
        heavy = masses[masses[:, 2] > HEAVY, :2]
        if len(heavy) and image.any():
            unit = image / image.mean()
            here.append(_heights(unit, heavy[:, 0], heavy[:, 1], truth).mean())
            turned.append(_heights(unit, *_turned(heavy[:, 0], heavy[:, 1]), truth).mean())
    if not here:
        return None
    return {"n": len(here), "height": float(np.mean(here)), "heavier_than_msun": HEAVY} | _against(
        np.array(here), {"same_radius": np.array(turned)}, "same_radius"
    )


def _heights(image: np.ndarray, x: np.ndarray, y: np.ndarray, truth: Truth) -> np.ndarray:
    """An image (S, S) between its pixels, at positions in arcsec."""
    columns, rows = ((at / half + 1) * len(image) / 2 - 0.5 for at, half in zip((x, y), truth.half_width, strict=True))
    return map_coordinates(image, [rows, columns], order=1, mode="nearest")


def _turned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions (k,) at all of `ANGLES` angles round the centre: (k * ANGLES,) each."""
    radius, angle = np.hypot(x, y)[:, None], np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    return (radius * np.cos(angle)).ravel(), (radius * np.sin(angle)).ravel()


def _near(x: np.ndarray, y: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Whether each point (n,) is near one of the places (k, 2)."""
    return (np.hypot(x[:, None] - places[:, 0], y[:, None] - places[:, 1]) < NEAR).any(1)


def _against(values: np.ndarray, chances: dict[str, np.ndarray], fair: str) -> dict[str, Any]:
    """The mean of each chance, and by how much the values exceed the fair one, image by image.

    The interval of that excess is the normal one of a mean.
    """
    excess = values - chances[fair]
    means = {f"chance_{name}": float(each.mean()) for name, each in chances.items()}
    mean = float(excess.mean())
    limits: dict[str, float | None] = {"excess_low": None, "excess_high": None}
    if len(excess) > 1:
        half = float(stats.norm.ppf(0.975) * excess.std(ddof=1) / np.sqrt(len(excess)))
        limits = {"excess_low": mean - half, "excess_high": mean + half}
    return means | {"fair_chance": fair, "excess": mean} | limits
