"""One image file to one array, whatever wrote the file, without ever running code that is in it."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

PILLOW_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
SUFFIXES = (*PILLOW_SUFFIXES, ".npy", ".fits")

MIN_SIDE, MAX_SIDE = 8, 4096
"""Sides outside this range, in pixels, are taken for a mistake."""


class BadImage(Exception):
    """This file gives no usable image; the message says why."""


def decode(path: Path) -> np.ndarray:
    """Read one image.

    Returns:
        (C, H, W) with C 1 or 3, as stored: uint8 and uint16 stay, every other type becomes float32. All finite.

    Raises:
        BadImage: whatever is wrong with it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what does not stop a library from reading a file stops nobody
            image = _canonical(_read(path))
    except BadImage:
        raise
    except Exception as error:  # four libraries read these files, and wild files make them raise anything
        raise BadImage(f"cannot be read: {error or type(error).__name__}") from None
    bad = image.size - int(np.isfinite(image).sum())
    if bad:
        raise BadImage(f"{bad} of its {image.size} pixels are NaN or infinite")
    return image


def _read(path: Path) -> np.ndarray:
    suffix = path.suffix.lower()
    if path.stat().st_size == 0:
        raise BadImage("is empty")
    if suffix == ".npy":
        return _read_npy(path)
    if suffix == ".fits":
        return _read_fits(path)
    return _read_picture(path)


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        _check_sides(picture.height, picture.width)  # before anything is unpacked
        if picture.mode == "1" or picture.mode == "LA":
            return np.asarray(picture.convert("L"))
        if picture.mode in ("L", "F", "I", "RGB") or picture.mode.startswith("I;16"):
            return np.asarray(picture)
        return np.asarray(picture.convert("RGB"))  # palettes, transparency, CMYK


def _read_fits(path: Path) -> np.ndarray:
    from astropy.io import fits

    with fits.open(path, memmap=False) as units:
        for unit in units:
            if unit.is_image and unit.header.get("NAXIS", 0) >= 2:
                _check_sides(unit.header["NAXIS2"], unit.header["NAXIS1"])
                return np.asarray(unit.data)
    raise BadImage("holds no image")


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            return _image_of_pickle(file)
    if len(shape) >= 2:
        _check_sides(*_sides(shape))
    # The map checks the promised shape against the file's length before any memory is taken.
    return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def _image_of_pickle(file: BinaryIO) -> np.ndarray:
    """The image in an object array: DeepLenseSim's axion files hold `[image, axion mass]`."""
    array = _ArrayUnpickler(file).load()
    parts = np.atleast_1d(array).ravel().tolist() if isinstance(array, np.ndarray) else []
    for part in parts:
        if isinstance(part, np.ndarray) and part.ndim >= 2 and not part.dtype.hasobject:
            return part
    raise BadImage("is a pickled object array without an image in it")


class _ArrayUnpickler(pickle.Unpickler):
    """Rebuilds numpy arrays and scalars and nothing else, so that no code of the file's author can run."""

    _ADMITTED = {  # noqa: RUF012 - a constant
        ("multiarray", "_reconstruct"): _reconstruct,
        ("multiarray", "scalar"): scalar,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        place = module.removeprefix("numpy.core.").removeprefix("numpy._core.")  # numpy 1 and numpy 2
        if module.split(".")[0] != "numpy" or (place, name) not in self._ADMITTED:
            raise BadImage(f"is a pickle that asks for {module}.{name}: only numpy arrays are admitted")
        return self._ADMITTED[place, name]


def _canonical(image: np.ndarray) -> np.ndarray:
    """As (C, H, W) of uint8, uint16 or float32, in this machine's byte order."""
    if image.dtype.kind not in "buif":
        raise BadImage(f"has values of type {image.dtype}: give numbers")
    while image.ndim > 3 and image.shape[0] == 1:  # FITS cubes have empty leading axes
        image = image[0]
    if image.ndim == 2:
        image = image[None]
    elif image.ndim == 3 and image.shape[0] not in (1, 3) and image.shape[2] in (1, 3):
        image = np.moveaxis(image, 2, 0)
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise BadImage(f"has shape {image.shape}: give (H, W), or 1 or 3 channels before or after them")
    _check_sides(*image.shape[1:])
    if image.dtype == bool:
        image = image * np.uint8(255)
    kind = image.dtype.name if image.dtype.name in ("uint8", "uint16") else "float32"
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return np.ascontiguousarray(image, dtype=kind)


def _sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of a shape whose channels may come last."""
    if len(shape) == 3 and shape[0] not in (1, 3) and shape[2] in (1, 3):
        return shape[0], shape[1]
    return shape[-2], shape[-1]


def _check_sides(height: int, width: int) -> None:
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise BadImage(f"has {height} x {width} pixels: sides from {MIN_SIDE} to {MAX_SIDE} are admitted")
