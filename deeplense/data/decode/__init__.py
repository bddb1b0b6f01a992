"""One image file to its pixels, whatever wrote the file, without ever running code that is in it.

A new format is one module beside this one and one line in `FORMATS`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deeplense.data.decode import arrays, fits, hdf5, pictures
from deeplense.data.decode.pixels import MAX_SIDE, MIN_SIDE, BadImage, Planes, Reading, canonical, mended

__all__ = ["FORMATS", "MAX_SIDE", "MIN_SIDE", "SUFFIXES", "BadImage", "Decoded", "Reading", "decode", "of_bands",
           "open_each", "open_images", "stem_of", "suffix_of", "unit_of"]  # fmt: skip

Reader = Callable[[Path, Reading], list[Planes]]

FORMATS: dict[tuple[str, ...], Reader] = {
    (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"): pictures.read,
    (".npy",): arrays.read_npy,
    (".npz",): arrays.read_npz,
    (".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fts.gz", ".fits.fz", ".fz"): fits.read,
    (".h5", ".hdf5"): hdf5.read,
}

SUFFIXES = tuple(suffix for suffixes in FORMATS for suffix in suffixes)


AS_IT_IS = Reading()


@dataclasses.dataclass(frozen=True)
class Decoded:
    """One image as it is stored."""

    pixels: np.ndarray
    """(C, H, W): uint8 and uint16 stay, every other type is float32. All finite."""
    unit: str
    """What its numbers count: `unit_of`."""
    rgb: bool = False
    """Three channels for the eye, and not three bands of a telescope."""
    attached: float | None = None
    """A number that the file keeps beside the image: DeepLenseSim's axion mass, or a label."""
    mended: int = 0
    """Pixels that were no numbers and are zero or the median now."""
    high: float = 0.0
    """The largest number."""


def open_each(path: Path, reading: Reading = AS_IT_IS) -> list[Decoded | BadImage]:
    """Read the images of one file: one, unless it is a stack. What is wrong with one of them stands in its place.

    Raises:
        BadImage: whatever is wrong with the file.
    """
    try:
        if path.stat().st_size == 0:
            raise BadImage("is empty")
        suffix = suffix_of(path.name)
        reader = next(read for suffixes, read in FORMATS.items() if suffix in suffixes)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # what does not stop a library from reading a file stops nobody
            return [_decoded(planes, reading) for planes in reader(path, reading)]
    except BadImage:
        raise
    except Exception as error:  # many libraries read these files, and wild files make them raise anything
        told = " ".join(str(error).split())[:300]
        raise BadImage(f"cannot be read: {told or type(error).__name__}") from None


def open_images(path: Path, reading: Reading = AS_IT_IS) -> list[Decoded]:
    """The images of one file, all of which can be used; see `open_each`.

    Raises:
        BadImage: whatever is wrong with it, or with the first such image of a stack.
    """
    images: list[Decoded] = []
    each = open_each(path, reading)
    for number, image in enumerate(each):
        if isinstance(image, BadImage):
            raise image if len(each) == 1 else BadImage(f"holds {len(each)} images, of which image {number} {image}")
        images.append(image)
    return images


def decode(path: Path, reading: Reading = AS_IT_IS) -> np.ndarray:
    """The pixels (C, H, W) of a file that holds one image; see `open_images`."""
    images = open_images(path, reading)
    if len(images) != 1:
        raise BadImage(f"holds {len(images)} images: give one")
    return images[0].pixels


def of_bands(files: list[Path], reading: Reading = AS_IT_IS) -> Decoded:
    """One image of several files, each with one of its bands.

    Raises:
        BadImage: one of them is no image of one band, or they do not fit each other.
    """
    bands = []
    for file in files:
        try:
            images = open_images(file, reading)
        except BadImage as error:
            raise BadImage(f"has a band, {file.name}, that {error}") from None
        if len(images) != 1 or len(images[0].pixels) != 1:
            raise BadImage(f"has a band, {file.name}, that is not one plane")
        bands.append(images[0])
    shapes = {band.pixels.shape for band in bands}
    if len(shapes) > 1:
        raise BadImage(f"has bands of {' and '.join(f'{shape[1]} x {shape[2]}' for shape in sorted(shapes))} pixels")
    pixels = np.concatenate([band.pixels for band in bands])  # of types that differ: what holds both
    pixels = pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)
    units = {band.unit for band in bands}
    unit = units.pop() if len(units) == 1 else "numbers"
    return Decoded(pixels, unit, mended=sum(band.mended for band in bands), high=float(pixels.max()))


def suffix_of(name: str) -> str:
    """The suffix, of `SUFFIXES`, that a file's name ends in; empty if it has none of them."""
    name = name.lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="")


def stem_of(path: str) -> str:
    """The name of a file, without folders and without any suffix of `SUFFIXES`."""
    name = path.rsplit("/", 1)[-1]
    return name[: len(name) - len(suffix_of(name))]


def unit_of(pixels: np.ndarray, picture: bool) -> str:
    """What the numbers of one image count, by its own values alone.

    `8-bit` and `16-bit`: grey levels of a picture, 0 black and the type's largest white. `bytes` and `words`: the same
    levels, kept as other numbers or for other purposes. `counts`: whole numbers of 16 bits below half of their range,
    photons or the levels of a dark picture. `fraction`: from 0 to 1. `numbers`: photons, or whatever.
    """
    if pixels.dtype == np.uint8:
        return "8-bit"
    if pixels.dtype == np.uint16 and picture:
        return "16-bit"
    low, high = float(pixels.min()), float(pixels.max())
    if pixels.dtype == np.uint16:
        if high <= 255:
            return "bytes"
        spread = any(not (pixels % step).any() for step in (256, 257))  # 8 bits, over all 16
        return "words" if spread or 2 * high > 65535 else "counts"
    if low >= 0 and high <= 1:
        return "fraction"
    if low >= 0 and high <= 255 and not (pixels % 1).any():
        return "bytes"
    return "numbers"


def _decoded(planes: Planes, reading: Reading) -> Decoded | BadImage:
    try:
        pixels, count = mended(canonical(planes.array), reading.bad_pixels)
    except BadImage as error:
        return error
    rgb = planes.rgb or (pixels.dtype == np.uint8 and len(pixels) == 3)
    return Decoded(pixels, unit_of(pixels, planes.picture), rgb, planes.attached, count, float(pixels.max()))
