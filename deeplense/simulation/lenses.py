"""Main lenses: what deflects most of the light, as priors. Nothing here imports torch.

Lengths are in arcsec, angles in radians counter-clockwise from the x axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deeplense.simulation.priors import Cartesian, Fixed, Prior, Uniform

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


def ellipse(e1: float, e2: float) -> tuple[Fixed, Fixed]:
    """Axis ratio and angle of an ellipticity: |e| = (1 - q)/(1 + q), as in lenstronomy."""
    modulus = math.hypot(e1, e2)
    return Fixed((1.0 - modulus) / (1.0 + modulus)), Fixed(0.5 * math.atan2(e2, e1))
