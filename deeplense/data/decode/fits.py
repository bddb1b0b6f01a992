"""FITS: which of its extensions is the picture, and which of its pixels are none."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.data.decode.pixels import MAX_BYTES, BadImage, Planes, Reading, check_shape, choose

REMEDY = "say which with --fits-hdu NAME_OR_NUMBER"


def read(path: Path, reading: Reading) -> list[Planes]:
    """The picture of a FITS file: `--fits-hdu`, else SCI, PRIMARY, or the only one not named as noise or mask."""
    from astropy.io import fits

    with fits.open(_unpacked(path), memmap=False) as units:
        images = [(number, unit) for number, unit in enumerate(units) if _is_image(unit)]
        if not images:
            raise BadImage("holds no image")
        unit = _asked(images, reading.fits_hdu) if reading.fits_hdu else _by_name(images)
        return [Planes(_pixels(unit))]


def _unpacked(path: Path) -> Any:
    """The file, or what a gzip in it unpacks to, which may be a million times as much."""
    if path.suffix.lower() != ".gz":
        return path
    with gzip.open(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadImage(f"unpacks to more than {MAX_BYTES >> 20} MiB: give one image")
    return io.BytesIO(content)


def _is_image(unit: Any) -> bool:
    return bool(unit.is_image and unit.header.get("NAXIS", 0) >= 2 and all(side > 0 for side in unit.shape))


def _by_name(images: list[tuple[int, Any]]) -> Any:
    if len(images) == 1 and images[0][1].name in ("", "PRIMARY"):
        return images[0][1]
    names = [unit.name or str(number) for number, unit in images]
    listed = [f"{number}: {unit.name or 'no name'}" for number, unit in images]
    try:
        return images[choose(names, "extensions", REMEDY)][1]
    except BadImage as error:
        raise BadImage(str(error).replace(", ".join(names), ", ".join(listed))) from None


def _asked(images: list[tuple[int, Any]], wanted: str) -> Any:
    found = [unit for number, unit in images if wanted == str(number)]
    found = found or [unit for _, unit in images if wanted.casefold() == unit.name.casefold()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number}: {unit.name or 'no name'}" for number, unit in images)
    if found:  # HST has an SCI for each of its chips
        raise BadImage(f"has {len(found)} images {wanted} ({listed}): give the number of one as --fits-hdu")
    raise BadImage(f"has no image {wanted}, as --fits-hdu says; it has {listed}")


def _pixels(unit: Any) -> np.ndarray:
    check_shape(tuple(unit.shape), abs(int(unit.header.get("BITPIX", 8))) // 8)
    blank, zero = unit.header.get("BLANK"), unit.header.get("BZERO", 0)
    pixels = np.asarray(unit.data)
    if blank is None or pixels.dtype.kind not in "iu":
        return pixels
    # astropy heeds it only where numbers are scaled.
    missing = pixels == blank + (zero if pixels.dtype.kind == "u" else 0)
    return np.where(missing, np.float32(np.nan), pixels.astype(np.float32)) if missing.any() else pixels
