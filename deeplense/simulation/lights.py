"""What shines: sources behind the lens and the light of the lens itself, as priors. Nothing here imports torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from deeplense.errors import InputError
from deeplense.simulation.lenses import CENTRE
from deeplense.simulation.priors import Cartesian, Poisson, Polar, Prior, bounds


@dataclass(frozen=True)
class Magnitude:
    """The apparent magnitude of all the light of a profile, without lensing; needs a camera with a zero point."""

    prior: Prior


@dataclass(frozen=True)
class Sersic:
    """An elliptical Sersic profile."""

    amplitude: Prior | Magnitude
    """Surface brightness at the half-light radius, per `Camera.pixel_area`; or what it follows from."""
    radius: Prior
    """Half-light radius: the geometric mean of the half axes, as in lenstronomy and PyAutoLens."""
    index: float | Prior
    """A number is compiled for: for 1 there is no power in the profile."""
    axis_ratio: Prior
    angle: Prior
    position: Cartesian | Polar = CENTRE

    def __post_init__(self) -> None:
        low, high = (self.index, self.index) if isinstance(self.index, (int, float)) else bounds(self.index)
        if not 0.3 <= low <= high <= 10:
            raise InputError(f"Sersic indices from {low:g} to {high:g}: give 0.3 to 10")


@dataclass(frozen=True)
class Clumps:
    """A Sersic profile, part of whose light is in round Gaussian clumps: a galaxy that forms stars in knots.

    A Gaussian is Sersic's profile of index 0.5. An exponential clump has a cusp that no telescope resolves, and that
    only many points in a pixel would find.
    """

    body: Sersic
    number: int
    share: Prior
    """Of all the light, in the clumps together; how it is divided between them is drawn as well."""
    radius: Prior
    """Half-light radius of each clump, in those of the body."""
    spread: float = 0.9
    """Standard deviation of their places along each axis of the body, in its half-light radii."""


@dataclass(frozen=True)
class Field:
    """A Sersic profile times a log-normal random field: texture of all sizes, and no two galaxies alike.

    The field's power falls as k^-slope; it goes along with the body's axes, and its mean is 1, so that the flux is the
    body's in the mean.
    """

    body: Sersic
    slope: Prior
    contrast: Prior
    """Standard deviation of the logarithm of the brightness."""
    extent: float = 8.0
    """Half-light radii along the side of the field, which has `FIELD_PIXELS` pixels there; beyond, it repeats."""


@dataclass(frozen=True)
class Neighbours:
    """Small galaxies and stars of the field beside the lens, not lensed: round Gaussians, anywhere in the image."""

    number: Poisson
    magnitude: Prior
    radius: Prior
    """Half-light radius."""


@dataclass(frozen=True)
class Subtraction:
    """The lens's light is taken out of the image by a model that is off by a little, as fits of profiles are.

    The noise of its photons stays. What the model is off by are normal numbers of these deviations, the same for both
    parts of a double profile.
    """

    amplitude: float = 0.01
    """Of itself."""
    radius: float = 0.02
    """Of itself."""
    axis_ratio: float = 0.01
    angle: float = 0.02
    centre: float = 0.002
    """Arcsec, along each axis."""


@dataclass(frozen=True)
class DoubleSersic:
    """The light of a lens galaxy: two Sersic profiles with one centre, that of the inner one."""

    inner: Sersic
    outer: Sersic


def body(light: Any) -> Sersic:
    """The Sersic profile that a light is, or that its texture is laid on."""
    return light if isinstance(light, Sersic) else light.body


CLUMP_INDEX = 0.5

FIELD_PIXELS = 64
"""A side of a random field."""


def exponent(index: Any) -> Any:
    """b of exp(-b ((r/R)^(1/n) - 1)), as in lenstronomy; for floats and tensors."""
    return 1.9992 * index - 0.3271


def flux_of_unit(radius: Any, index: Any) -> Any:
    """The light of a Sersic profile of amplitude 1, per unit of area that the amplitude is per; (B,) tensors.

    2 pi n R^2 e^b b^(-2n) Gamma(2n): Graham & Driver 2005 (astro-ph/0503176), eq. 4.
    """
    b = exponent(index)
    if isinstance(index, (int, float)):
        return 2.0 * math.pi * index * math.exp(b) * b ** (-2.0 * index) * math.gamma(2.0 * index) * radius**2
    return 2.0 * math.pi * index * radius**2 * (b - 2.0 * index * b.log() + (2.0 * index).lgamma()).exp()
