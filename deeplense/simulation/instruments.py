"""Cameras and their point-spread functions. Nothing here imports torch. Lengths are in arcsec."""

from __future__ import annotations

from dataclasses import dataclass

from deeplense.simulation.priors import Prior


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian point-spread function, sampled at the pixels' centres and cut off."""

    fwhm: float
    truncation: float
    """In standard deviations."""


@dataclass(frozen=True)
class Airy:
    """An Airy disk, sampled at the pixels' centres and cut off."""

    first_zero: float
    truncation: float
    """In arcsec."""


@dataclass(frozen=True)
class Camera:
    """What turns surface brightness into counts."""

    pixels: int
    """A side."""
    pixel_scale: float
    psf: Gaussian | Airy
    background_rms: float
    """Gaussian, in flux a pixel and unit of exposure."""
    exposure: Prior
    """Counts for a unit of flux."""
    pixel_area: float
    """Flux in a pixel of unit brightness: `pixel_scale`^2 where amplitudes are per square arcsec, 1 if per pixel."""
