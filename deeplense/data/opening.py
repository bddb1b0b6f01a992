"""How a folder is to be understood and its files read, where there is a choice: flags of training and evaluation."""

from __future__ import annotations

import dataclasses
import sys
from typing import Literal

from deeplense.config import DataConfig, EvaluateConfig
from deeplense.data.decode import Reading
from deeplense.errors import is_first_process


@dataclasses.dataclass(frozen=True)
class Opening:
    """Fields as in `DataConfig`."""

    layout: Literal["auto", "classes", "parts"] = "auto"
    labels: str | None = None
    positive: str | None = None
    fits_hdu: str | None = None
    bad_pixels: Literal["error", "zero", "median"] = "error"
    bands: tuple[str, ...] = ()
    """Names of bands that have a file each; none: an image is one file."""

    @property
    def reading(self) -> Reading:
        return Reading(self.fits_hdu, self.bad_pixels)


def opening_of(config: DataConfig | EvaluateConfig, bands: tuple[str, ...] = ()) -> Opening:
    """What the flags say.

    Args:
        bands: of the run, where it is an evaluation that is asked for.
    """
    positive = None
    if isinstance(config, DataConfig):
        positive, bands = config.positive, config.bands
    return Opening(config.layout, config.labels, positive, config.fits_hdu, config.bad_pixels, band_names(bands))


def band_names(bands: tuple[str, ...]) -> tuple[str, ...]:
    """`--bands` where they are names of files."""
    return () if all(band.isdecimal() for band in bands) else bands


def band_numbers(bands: tuple[str, ...]) -> tuple[int, ...]:
    """`--bands` where they are planes of a cube."""
    return tuple(int(band) for band in bands) if all(band.isdecimal() for band in bands) else ()


def tell(note: str, kind: str = "note") -> None:
    """Say something that a user should know, once for all processes."""
    if is_first_process():
        print(f"{kind}: {note}", file=sys.stderr, flush=True)


MENDED = {"zero": "zero", "median": "the median of their band"}


def tell_mended(pixels: int, images: int, bad_pixels: str) -> None:
    """Say how many pixels were missing, if any, and what has become of them."""
    if pixels:
        tell(f"{pixels} pixels of {images} images were missing, and are {MENDED[bad_pixels]} now")
