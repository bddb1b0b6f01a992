"""FITS: which of its extensions is the picture, and which of its pixels are none."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.data.decode.pixels import MAX_BYTES, BadImage, Planes, Reading, check_shape, choose

GZIP = b"\x1f\x8b"

BLOCK = 2880
"""Bytes. Headers are whole blocks, and astropy reads them one by one; an image it reads at once."""

MAX_HEADERS = 2**22
"""Bytes of all headers of a file: 50,000 lines. astropy reads one without an end to the end of the file."""

REMEDY = "say which with --fits-hdu NAME_OR_NUMBER"


def read(path: Path, reading: Reading) -> list[Planes]:
    """The picture of a FITS file: `--fits-hdu`, else SCI, PRIMARY, or the only one not named as noise or mask."""
    from astropy.io import fits

    with _opened(path) as file, fits.open(file, memmap=False) as units:
        images = [(number, unit) for number, unit in enumerate(units) if _is_image(unit)]
        if not images:
            raise BadImage("holds no image")
        unit = _asked(images, reading.fits_hdu) if reading.fits_hdu else _by_name(images)
        return [Planes(_pixels(unit))]


class _File(io.BufferedReader):
    """A file with headers of limited length."""

    blocks = 0

    def read(self, size: int | None = -1) -> bytes:
        self.blocks += size == BLOCK
        if self.blocks * BLOCK > MAX_HEADERS:
            raise BadImage(f"has more than {MAX_HEADERS >> 20} MiB of headers, or one without END: write it again")
        return super().read(size)


def _opened(path: Path) -> _File:
    """The file, unpacked if it is a gzip by its first bytes: astropy would unpack that, zip, bzip2 and more without
    limit, whatever the suffix."""
    file = _File(io.FileIO(path))
    if file.peek(2).startswith(GZIP):
        with file:
            file = _File(io.BytesIO(_unpacked(file)))
    if not file.peek(6).startswith(b"SIMPLE"):
        file.close()
        raise BadImage("is no FITS file, or one in an archive that is not gzip: unpack it, or save it as FITS")
    return file


def _unpacked(packed: _File) -> bytes:
    """What a gzip unpacks to, which may be a million times as much."""
    with gzip.open(packed) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadImage(f"unpacks to more than {MAX_BYTES >> 20} MiB: give one image")
    return content


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
