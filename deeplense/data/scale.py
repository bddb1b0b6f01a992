"""What 0 and 1 stand for: settled once for a set, kept with the run, and applied to whatever is evaluated.

By meaning and not by type. Pictures hold grey levels: black is 0, and white the largest number of the type, or the
largest of the set where it uses less than half of the range. Arrays and FITS files hold photons in a unit that nobody
knows: each image is scaled by its own smallest and largest number. Which of the two a set is the majority of its
images decides; a minority that holds the same levels in another container (numbers from 0 to 1, or whole ones up to
255) is brought to them. So is, image by image and whatever lies beside it, all that a run is asked about later.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Literal

import numpy as np

from deeplense.data.imageset import ImageSet
from deeplense.data.opening import tell

GREY = ("8-bit", "16-bit")
FULL = {"8-bit": 255.0, "16-bit": 65535.0}


@dataclasses.dataclass(frozen=True)
class Scale:
    """How stored numbers become pixels in [0, 1]."""

    by: Literal["levels", "image", "type"]
    """levels: 0 is black and white is 1; image: each by its own range; type: by the type's range, whatever it holds."""
    white8: float = 255.0
    """The number that is white in images of 8 bits."""
    white16: float = 65535.0
    """The same in images of 16 bits."""
    fraction: float = 1.0
    """The same where white, as far as the type goes, is 1."""
    deep: bool = False
    """Whether there were pictures of 16 bits: to no other run are `counts` grey levels."""

    def white(self, unit: str, dtype: str) -> float:
        """The number that becomes 1 in an image of that `decode.unit_of`; NaN: its own largest, and its smallest 0."""
        if self.by == "image":
            return float("nan")
        if self.by == "type":
            return {"uint8": 255.0, "uint16": 65535.0}.get(dtype, 1.0)
        return {
            "8-bit": self.white8,
            "bytes": self.white8,
            "16-bit": self.white16,
            "words": self.white16,
            "counts": self.white16 if self.deep else float("nan"),
            "fraction": self.fraction,
        }.get(unit, float("nan"))


def settle(images: ImageSet, normalize: str) -> Scale:
    """The scale of a set that a run is to be trained on.

    Args:
        normalize: `auto`, `range` or `minmax`, as in `DataConfig`.
    """
    if normalize != "auto":
        return Scale("type" if normalize == "range" else "image")
    if images.light is None:
        kinds = {kind for kind, _ in forms_of(images)}
        return Scale("levels" if kinds == {"uint8"} else "image")
    unit, high = images.light.unit, images.light.high
    grey = np.isin(unit, GREY)
    if 2 * grey.sum() <= len(unit):
        return Scale("image")
    whites = {name: _white(high[unit == name], full) for name, full in FULL.items()}
    usual = Counter(unit[grey].tolist()).most_common(1)[0][0]
    return Scale("levels", whites["8-bit"], whites["16-bit"], whites[usual] / FULL[usual], "16-bit" in unit)


def whites(images: ImageSet, scale: Scale) -> np.ndarray:
    """(N,) float32: the number of each image that becomes 1; NaN where its own range is taken."""
    units = units_of(images)
    kinds = np.array([kind for kind, _ in forms_of(images)])
    kinds = np.resize(kinds, len(images))
    table = {pair: scale.white(*pair) for pair in set(zip(units.tolist(), kinds.tolist(), strict=True))}
    return np.array([table[pair] for pair in zip(units.tolist(), kinds.tolist(), strict=True)], dtype=np.float32)


def units_of(images: ImageSet) -> np.ndarray:
    """(N,) str: by the files, or by the type where nobody has looked."""
    if images.light is not None:
        return images.light.unit
    kinds = np.array([{"uint8": "8-bit", "uint16": "words"}.get(kind, "numbers") for kind, _ in forms_of(images)])
    return np.resize(kinds, len(images))


def forms_of(images: ImageSet) -> list[tuple[str, tuple[int, ...]]]:
    """Type and shape of each image; one for all where they are alike."""
    pixels = images.pixels
    if isinstance(pixels, np.ndarray):
        return [(pixels.dtype.name, pixels.shape[1:])]
    return [pixels.forms[form] for form in pixels.form_of]


def strangers(images: ImageSet, scale: Scale) -> list[str]:
    """Paths of the images that cannot be brought to the grey levels of the scale, and get one of their own."""
    if scale.by != "levels":
        return []
    return [images.paths[row] for row in np.flatnonzero(np.isnan(whites(images, scale)))]


def mention_strangers(images: ImageSet, scale: Scale) -> None:
    """Say which images cannot be brought to the grey levels of the others."""
    found = strangers(images, scale)
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        tell(
            f"{len(found)} images are no grey levels, as the others are ({', '.join(found[:3])}{more}): each is scaled "
            "by its own smallest and largest number",
            "warning",
        )


def say_scale(images: ImageSet, scale: Scale) -> str:
    """How pixels got to [0, 1], in one line."""
    if scale.by == "image":
        return "from 0 to 1 by each image's own smallest and largest number"
    units = Counter(units_of(images).tolist())
    if scale.by == "type":
        return "from 0 to 1 by the range of their type"
    said = []
    for unit in units:
        kind = {"8-bit": "uint8", "16-bit": "uint16"}.get(unit, "float32")
        white = scale.white(unit, kind)
        if not np.isnan(white):
            part = "" if len(units) == 1 else f" in {units[unit]}"
            own = " (the set's own largest)" if unit in FULL and white != FULL[unit] else ""
            said.append(f"{white:g} white{own}{part}")
    others = len(strangers(images, scale))
    more = f"; {others} by their own range" if others else ""
    return f"grey levels: 0 black, {', '.join(said)}{more}" if said else f"each by its own range ({others})"


def _white(high: np.ndarray, full: float) -> float:
    largest = float(high.max()) if len(high) else full
    return largest if 0 < largest < full / 2 else full
