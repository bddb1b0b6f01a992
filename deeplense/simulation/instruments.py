"""Cameras and their point-spread functions. Nothing here imports torch. Lengths are in arcsec.

A point-spread function gives its weights for pixels of a size, `kernel`; a Gaussian is separable and gives those along
one axis, `taps`. They are its values at the pixels' centres, or, `integrated`, its means over them: points within a
pixel stand for cells of it. Whoever adds one writes that method, and whoever adds a camera an instance of `Telescope`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from deeplense.errors import InputError
from deeplense.simulation.priors import Fixed, Prior
from deeplense.simulation.substructure import LATER


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian point-spread function, cut off."""

    fwhm: float
    truncation: float
    """In standard deviations."""

    def taps(self, pixel_scale: float, integrated: bool = False) -> tuple[float, ...]:
        """Weights along one axis, their sum 1; an odd number of them."""
        deviation = self.fwhm / (2.0 * math.sqrt(2.0 * math.log(2.0))) / pixel_scale
        reach = max(round(self.truncation * deviation), 1)
        if integrated:
            below = [NormalDist(0.0, deviation).cdf(place - 0.5) for place in range(-reach, reach + 2)]
            taps = np.diff(below)
        else:
            taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
        return tuple((taps / taps.sum()).tolist())


@dataclass(frozen=True)
class Airy:
    """An Airy disk, cut off."""

    first_zero: float
    truncation: float
    """In arcsec."""

    def kernel(self, pixel_scale: float, integrated: bool = False) -> np.ndarray:
        """Weights (2m + 1, 2m + 1), their sum 1: (2 J1(u) / u)^2, whose first zero is u = 3.8317."""
        import scipy.special  # here, since it takes a while and most commands do not need it

        def disk(distance: np.ndarray) -> np.ndarray:
            u = scipy.special.jn_zeros(1, 1)[0] * distance / self.first_zero
            with np.errstate(invalid="ignore"):
                return np.where(u == 0.0, 1.0, (2.0 * scipy.special.j1(u) / u) ** 2)

        return _weights(disk, self.truncation, pixel_scale, integrated)


@dataclass(frozen=True)
class Moffat:
    """A Moffat profile, (1 + (r/a)^2)^-beta, cut off: seeing, or broad wings."""

    fwhm: float
    beta: float
    truncation: float
    """In arcsec."""

    def kernel(self, pixel_scale: float, integrated: bool = False) -> np.ndarray:
        """Weights (2m + 1, 2m + 1), their sum 1."""
        core = self.fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / self.beta) - 1.0))
        return _weights(
            lambda distance: (1.0 + (distance / core) ** 2) ** -self.beta, self.truncation, pixel_scale, integrated
        )


@dataclass(frozen=True)
class PixelKernel:
    """A measured one, for pixels of one size; of a pixel's points it is applied to the sum. `psf_file` reads it."""

    weights: tuple[tuple[float, ...], ...]
    """(2m + 1, 2m + 1), their sum 1."""
    pixel_scale: float

    def kernel(self, pixel_scale: float, integrated: bool = False) -> np.ndarray:
        """The weights, which serve pixels of their own size only."""
        assert pixel_scale == self.pixel_scale
        return np.array(self.weights)


def _weights(
    profile: Callable[[np.ndarray], np.ndarray], reach: float, pixel_scale: float, integrated: bool
) -> np.ndarray:
    """A profile of the distance from the middle pixel's centre, out to `reach`, as weights of the pixels."""
    pixels, points = max(int(reach / pixel_scale), 1), 7 if integrated else 1
    side = 2 * pixels + 1
    axis = (np.arange(points * side) - 0.5 * (points * side - 1)) * (pixel_scale / points)
    distance = np.hypot(axis, axis[:, None])
    weights = np.where(distance > reach, 0.0, profile(distance))
    weights = weights.reshape(side, points, side, points).mean((1, 3))
    return weights / weights.sum()


PSF = Gaussian | Airy | Moffat | PixelKernel


@dataclass(frozen=True)
class Camera:
    """What turns surface brightness into counts, in the terms of simulations."""

    pixels: int
    """A side."""
    pixel_scale: float
    psf: PSF
    background_rms: float
    """Gaussian, in flux a pixel and unit of exposure."""
    exposure: Prior
    """Counts for a unit of flux."""
    pixel_area: float
    """Flux in a pixel of unit brightness: `pixel_scale`^2 where amplitudes are per square arcsec, 1 if per pixel."""

    oversample = 1
    """Points along each side of a pixel that its light is taken at."""
    unit = "counts, not scaled"
    stored = "float16"
    """How images are kept: counts here stay far below 65,504."""
    bands = 1
    unit_counts = None
    """Counts of an image's unit; None: an image is in counts."""
    noise = True


@dataclass(frozen=True)
class Telescope:
    """The same in the terms of observers; images are in electrons/s, or in counts of `gain` electrons/s, less the sky.

    The noise is that of the light, the sky and the read-outs of all exposures together, whose mean is the image.
    """

    pixels: int
    """A side."""
    pixel_scale: float
    psf: PSF
    exposures: int
    exposure_time: float
    """Seconds, of each."""
    zero_point: float
    """The magnitude of one electron/s."""
    sky: float
    """Magnitudes a square arcsec."""
    read_noise: float
    """Electrons a pixel and exposure, standard deviation."""
    gain: float = 1.0
    """Electrons in a unit of the image, which is electrons/s for 1."""
    oversample: int = 1
    """Points along each side of a pixel that its light is taken at; the point-spread function is integrated over the
    cells that they stand for, and a pixel adds its cells up. 1: both are taken at the pixels' centres alone."""
    noise: bool = True
    """False: an image is its own mean, which no telescope sees."""

    bands: int = field(default=1, metadata=LATER)
    """Images of a lens, in as many bands of a source of several: (B, bands, H, W) if more than one."""

    stored = "float32"

    def __post_init__(self) -> None:
        for name in ("pixels", "pixel_scale", "exposures", "exposure_time", "gain", "oversample"):
            if getattr(self, name) <= 0:
                raise InputError(f"a telescope with {name} {getattr(self, name):g}: give a number above 0")

    @property
    def exposure(self) -> Fixed:
        """Electrons for a unit of flux, which is an electron/s."""
        return Fixed(self.exposures * self.exposure_time)

    @property
    def background_rms(self) -> float:
        """Noise of sky and read-outs, in electrons/s a pixel."""
        seconds = self.exposures * self.exposure_time
        sky = self.flux(self.sky) * self.pixel_scale**2 * seconds
        return math.sqrt(sky + self.exposures * self.read_noise**2) / seconds

    @property
    def pixel_area(self) -> float:
        """Square arcsec, of the part of a pixel that one point stands for."""
        return (self.pixel_scale / self.oversample) ** 2

    @property
    def unit(self) -> str:
        """Of the images."""
        return "electrons/s" if self.gain == 1 else f"counts of {self.gain:g} electrons/s"

    @property
    def unit_counts(self) -> float:
        """Electrons of an image's unit."""
        return self.exposures * self.exposure_time * self.gain

    def flux(self, magnitude: float) -> float:
        """Electrons/s."""
        return 10.0 ** (-0.4 * (magnitude - self.zero_point))


# The numbers of lenstronomy's `ObservationConfig`, which the tests compare them with.

WFC3_F160W = Telescope(
    pixels=80,
    pixel_scale=0.08,
    psf=Gaussian(fwhm=0.08, truncation=5.0),
    exposures=1,
    exposure_time=5400.0,
    zero_point=25.96,
    sky=22.3,
    read_noise=4.0,
)
"""Hubble's infrared camera, drizzled; the Gaussian is lenstronomy's and narrower than the telescope's."""

EUCLID_VIS = Telescope(
    pixels=64,
    pixel_scale=0.101,
    psf=Gaussian(fwhm=0.16, truncation=5.0),
    exposures=4,
    exposure_time=566.0,
    zero_point=25.72,
    sky=22.3,
    read_noise=4.2,
)
"""Euclid's visible camera, four dithers of the wide survey."""

RUBIN_I = Telescope(
    pixels=48,
    pixel_scale=0.2,
    psf=Gaussian(fwhm=0.71, truncation=5.0),
    exposures=460,
    exposure_time=15.0,
    zero_point=27.79,
    sky=20.48,
    read_noise=10.0,
)
"""Rubin's i band after ten years."""

NIRCAM_F277W = Telescope(
    pixels=100,
    pixel_scale=0.063,
    psf=Airy(first_zero=0.107, truncation=1.2),
    exposures=8,
    exposure_time=257.0,
    zero_point=26.49,
    sky=28.96,
    read_noise=13.25,
)
"""JWST's F277W in COSMOS-Web; the point-spread function is Airy disk of 6.5 m at 2.77 micrometres."""

ACS_F814W = Telescope(
    pixels=100,
    pixel_scale=0.05,
    psf=Airy(first_zero=0.085, truncation=1.0),
    exposures=4,
    exposure_time=525.0,
    zero_point=25.95,
    sky=21.9,
    read_noise=5.0,
)
"""Hubble's ACS in F814W for one orbit, as the SLACS survey took its lenses; not in lenstronomy."""
