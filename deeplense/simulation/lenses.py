"""Main lenses: what deflects most of the light, as priors. Nothing here imports torch.

Lengths are in arcsec, angles in radians counter-clockwise from the x axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deeplense.errors import InputError
from deeplense.simulation.priors import Cartesian, Fixed, Prior, Uniform, bounds

ANY_ANGLE = Uniform(0.0, 2.0 * math.pi)
ZERO = Fixed(0.0)
CENTRE = Cartesian(ZERO, ZERO)


@dataclass(frozen=True)
class Halo:
    """A singular isothermal ellipsoid or sphere at the origin; and the external shear."""

    einstein_radius: Prior
    ellipse: tuple[Prior, Prior] | None = None
    """Axis ratio and angle; None for a sphere."""
    shear: Prior = ZERO
    """Magnitude g of the shear: gamma1 = g cos 2a, gamma2 = g sin 2a."""
    shear_angle: Prior = ZERO


@dataclass(frozen=True)
class Multipole:
    """A deviation of a lens from an ellipse: convergence strength cos(m (phi - angle)) / (2 r), m = 3 or 4.

    Xu et al. 2014 (arXiv:1307.4220), eq. B11 and B12, as in lenstronomy; round the lens's centre.
    """

    order: int
    strength: Prior
    """In arcsec: not scaled by the Einstein radius."""
    angle: Prior = ANY_ANGLE

    def __post_init__(self) -> None:
        if self.order not in (3, 4):
            raise InputError(f"a multipole of order {self.order}: orders 3 and 4 are known")


@dataclass(frozen=True)
class PowerLawHalo:
    """An elliptical power law, density as r^-slope, with external shear and multipoles.

    Tessore & Metcalf 2015 (arXiv:1507.01819); the Einstein radius is lenstronomy's: of convergence
    (3 - slope)/2 (einstein_radius / sqrt(q x^2 + y^2/q))^(slope - 1).
    """

    einstein_radius: Prior
    slope: Prior
    """Of the density in three dimensions: 2 is isothermal."""
    ellipse: tuple[Prior, Prior]
    """Axis ratio and angle."""
    shear: tuple[Prior, Prior] = (ZERO, ZERO)
    """gamma1 and gamma2."""
    position: Cartesian = CENTRE
    multipoles: tuple[Multipole, ...] = ()

    def __post_init__(self) -> None:
        low, high = bounds(self.slope)
        if not 1.0 < low <= high < 3.0:
            raise InputError(f"a slope from {low:g} to {high:g}: between 1 and 3, without either, a lens has a mass")
        flattest, roundest = bounds(self.ellipse[0])
        if not 0.2 <= flattest <= roundest <= 1.0:
            raise InputError(f"axis ratios from {flattest:g} to {roundest:g}: give 0.2 to 1")

    @property
    def terms(self) -> int:
        """Terms of the deflection's series, which falls as ((1 - q)/(1 + q))^n: right to 1e-7 for the flattest."""
        flattest = bounds(self.ellipse[0])[0]
        flattening = (1.0 - flattest) / (1.0 + flattest)
        return max(math.ceil(math.log(1e-7) / math.log(max(flattening, 1e-7))), 2)


def ellipse(e1: float, e2: float) -> tuple[Fixed, Fixed]:
    """Axis ratio and angle of an ellipticity: |e| = (1 - q)/(1 + q), as in lenstronomy."""
    modulus = math.hypot(e1, e2)
    return Fixed((1.0 - modulus) / (1.0 + modulus)), Fixed(0.5 * math.atan2(e2, e1))
