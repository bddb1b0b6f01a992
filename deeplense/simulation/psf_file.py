"""A measured point-spread function from a FITS file, checked before anything is made with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeplense.errors import InputError
from deeplense.simulation.instruments import PixelKernel

_SCALE_KEYS = ("PIXSCALE", "PIXELSCL")
"""Arcsec a pixel; CD1_1 and CDELT1 are in degrees."""


def read_psf(file: Path, pixel_scale: float) -> PixelKernel:
    """The point-spread function in the first image of a FITS file, for pixels of `pixel_scale` arcsec.

    Raises:
        InputError: no such file or no image in it, or one that is even, a single pixel, empty, off its centre or of
            other pixels.
    """
    weights, scale = _read(file)
    shape = " x ".join(map(str, weights.shape))
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1] or weights.shape[0] % 2 == 0:
        raise InputError(f"--psf {file}: has {shape} pixels: give a square of an odd number, so that one is its centre")
    if weights.size == 1:
        raise InputError(f"--psf {file}: has {shape} pixels, and spreads nothing: give 3 x 3 or more")
    if not np.isfinite(weights).all() or weights.sum() <= 0:
        raise InputError(f"--psf {file}: is empty or has pixels that are no numbers: give one with light in it")
    if scale is not None and abs(scale / pixel_scale - 1) > 0.01:
        raise InputError(
            f'--psf {file}: is of {scale:g}" a pixel, and the set of {pixel_scale:g}": resample it, or give another'
        )
    middle = weights.shape[0] // 2
    offset = np.arange(-middle, middle + 1)
    weights = weights / weights.sum()
    centre = float(offset @ weights.sum(0)), float(offset @ weights.sum(1))
    brightest = np.unravel_index(weights.argmax(), weights.shape)
    if max(map(abs, centre)) > 0.5 or max(abs(int(place) - middle) for place in brightest) > 1:
        raise InputError(
            f"--psf {file}: its light is off its middle pixel by {centre[0]:.1f}, {centre[1]:.1f} px: shift it there"
        )
    return PixelKernel(tuple(map(tuple, weights.tolist())), pixel_scale)


def _read(file: Path) -> tuple[np.ndarray, float | None]:
    """The first image, float64, and its pixel scale in arcsec where the header has one."""
    from astropy.io import fits  # here, since it takes a while

    try:
        with fits.open(file, memmap=False) as parts:
            for part in parts:
                if getattr(part, "data", None) is not None and part.is_image:
                    header = part.header
                    scale = next((float(header[key]) for key in _SCALE_KEYS if key in header), None)
                    degrees = next((float(header[key]) for key in ("CD1_1", "CDELT1") if key in header), None)
                    if scale is None and degrees not in (None, 1.0):  # 1 is what is written where nobody knows
                        scale = abs(degrees or 0.0) * 3600.0
                    return np.asarray(part.data, dtype=np.float64), scale
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"--psf {file}: cannot be read as FITS ({' '.join(str(error).split())})") from None
    raise InputError(f"--psf {file}: has no image: give a FITS file with the point-spread function as pixels")
