"""What all formats have in common: shapes, sides, and pixels that are no numbers."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

MIN_SIDE, MAX_SIDE = 8, 4096
"""Sides outside this range, in pixels, are taken for a mistake."""

MAX_BANDS = 16
"""Planes of a cube beyond this are taken for images, or for a mistake."""

MAX_BYTES = 2**28
"""Of one image, unpacked: 16 bands of the largest sides are no cut-out any more."""

SENTINELS = (-99.0, -999.0, -9999.0, -99999.0, -32768.0, -2147483648.0, -1e30, -1e32, -1e20, -3.4028235e38)
"""Numbers that stand for a missing pixel in tables and surveys."""

SIDE_PLANES = ("err", "error", "errors", "dq", "wht", "weight", "weights", "con", "ctx", "mask", "var", "variance",
               "ivar", "invvar", "noise", "noisemap", "rms", "sigma", "std", "stdev", "exp", "exposure", "psf", "model",
               "bkg", "background", "sky", "samp", "time", "area", "flag", "flags", "uncert", "uncertainty",
               "varpoisson", "varrnoise", "segmentation", "segm", "nimages", "maskedbits")  # fmt: skip
"""Names of planes that stand beside a picture."""

MISSING = "pixels missing (NaN, infinite, or a mark such as -9999)"

LOST = 1000
"""An extreme that is further from all else than this many times the width of all else squeezes the light into nothing,
and is taken for a mark, whatever its number."""

MAIN_PLANES = ("sci", "primary")
"""Names of the picture, the first that is there."""


class BadImage(Exception):
    """This file gives no usable image; the message says why."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How files are read, where there is a choice."""

    fits_hdu: str | None = None
    """Name or number of the extension that is the picture; None: by name."""
    bad_pixels: Literal["error", "zero", "median"] = "error"
    """What becomes of pixels that are no numbers."""


@dataclasses.dataclass(frozen=True)
class Planes:
    """What a format gives: the array as it was stored."""

    array: np.ndarray
    picture: bool = False
    """Made for the eye: integers are grey levels of their type's range."""
    rgb: bool = False
    attached: float | None = None


def check_shape(shape: tuple[int, ...], itemsize: int = 1) -> None:
    """Refuse what cannot be an image before memory is taken for it."""
    if len(shape) >= 2:
        check_sides(*sides(shape))
    count = 1
    for side in shape:
        count *= int(side)
    if count * itemsize > MAX_BYTES:
        raise BadImage(f"has shape {shape}, more than {MAX_BYTES >> 20} MiB: give one image")


def check_sides(height: int, width: int) -> None:
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise BadImage(f"has {height} x {width} pixels: sides from {MIN_SIDE} to {MAX_SIDE} are admitted")


def sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a shape whose channels may come last."""
    one = shape[-3:]
    return (one[0], one[1]) if len(one) == 3 and channels_last(one) else (shape[-2], shape[-1])


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether (a, b, c) is (H, W, C)."""
    first, _, last = shape
    if first in (1, 3) or last in (1, 3):
        return first not in (1, 3)
    return last <= MAX_BANDS < first


def is_stack(shape: tuple[int, ...]) -> bool:
    """Whether an array of this shape is many images: (N, H, W), (N, C, H, W) or (N, H, W, C)."""
    if len(shape) == 4:
        return shape[0] > 1
    return len(shape) == 3 and not channels_last(shape) and shape[0] > MAX_BANDS


def canonical(image: np.ndarray) -> np.ndarray:
    """As (C, H, W) of uint8, uint16 or float32, in this machine's byte order."""
    if image.dtype.kind not in "buif":
        raise BadImage(f"has values of type {image.dtype}: give numbers")
    while image.ndim > 3 and image.shape[0] == 1:  # FITS cubes have empty leading axes
        image = image[0]
    if image.ndim == 2:
        image = image[None]
    elif image.ndim == 3 and channels_last(image.shape):
        image = np.moveaxis(image, 2, 0)
    if image.ndim != 3 or not 1 <= image.shape[0] <= MAX_BANDS:
        raise BadImage(f"has shape {image.shape}: give (H, W), or up to {MAX_BANDS} bands before or after them")
    check_shape(image.shape, image.dtype.itemsize)
    if image.dtype == bool:
        image = image * np.uint8(255)
    kind = image.dtype.name if image.dtype.name in ("uint8", "uint16") else "float32"
    return np.ascontiguousarray(_without_sentinels(image), dtype=kind)  # too large for float32 becomes infinite


def mended(image: np.ndarray, how: str) -> tuple[np.ndarray, int]:
    """The image without pixels that are no numbers, and how many there were.

    Raises:
        BadImage: there are, and `how` is `error`, or nothing else is there.
    """
    if image.dtype.kind != "f":
        return image, 0
    good = np.isfinite(image)
    bad = image.size - int(good.sum())
    if not bad:
        return image, 0
    if how == "error" or bad == image.size:
        raise BadImage(f"has {bad} of its {image.size} {MISSING}")
    image = image.copy()
    for band, fine in zip(image, good, strict=True):
        band[~fine] = 0 if how == "zero" or not fine.any() else np.median(band[fine])
    return image, bad


def _without_sentinels(image: np.ndarray) -> np.ndarray:
    """Missing pixels that are marked by a number become NaN.

    Only where it is the smallest or the largest value and further from all others than these are from each other: such
    a number squeezes the light into nothing, and true values of -99 are among their like.
    """
    if image.dtype.kind not in "fi":
        return image
    finite = np.isfinite(image)
    light = image.reshape(-1) if finite.all() else image[finite]
    marks: list[float] = []
    while light.size and len(marks) < 3:
        mark = next((float(end) for end in (light.max(), light.min()) if _is_mark(light, float(end))), None)
        if mark is None:
            break
        marks.append(mark)
        light = light[light != mark]
    return np.where(np.isin(image, marks), np.float32(np.nan), image.astype(np.float32)) if marks else image


def _is_mark(light: np.ndarray, end: float) -> bool:
    """Whether the smallest or the largest of some numbers stands for no light."""
    rest = light[light != end]
    if not rest.size:
        return False
    low, high = float(rest.min()), float(rest.max())
    gap = max(low - end, end - high)
    known = any(np.isclose(end, mark, rtol=1e-6) for mark in SENTINELS)
    return gap > high - low if known else 0 < LOST * (high - low) < gap


def choose(names: list[str], what: str, remedy: str) -> int:
    """Which of several named planes is the picture.

    Raises:
        BadImage: the names do not tell; it lists them.
    """
    folded = ["".join(sign for sign in name.casefold() if sign.isalnum()) for name in names]
    for main in MAIN_PLANES:
        if folded.count(main) == 1:
            return folded.index(main)
    others = [place for place, name in enumerate(folded) if name not in SIDE_PLANES]
    if len(others) == 1:
        return others[0]
    listed = ", ".join(names)
    if not others:
        raise BadImage(f"holds no picture by the names of its {what} ({listed}): {remedy}")
    raise BadImage(f"holds several {what} ({listed}): {remedy}")
