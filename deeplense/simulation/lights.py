"""What shines: sources behind the lens and the light of the lens itself, as priors. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from deeplense.simulation.lenses import CENTRE
from deeplense.simulation.priors import Cartesian, Polar, Prior


@dataclass(frozen=True)
class Sersic:
    """An elliptical Sersic profile."""

    amplitude: Prior
    """Surface brightness at the half-light radius, per `Camera.pixel_area`."""
    radius: Prior
    """Half-light radius: the geometric mean of the half axes, as in lenstronomy and PyAutoLens."""
    index: float
    """Fixed, so that the power in the profile is compiled for it: for 1 there is none."""
    axis_ratio: Prior
    angle: Prior
    position: Cartesian | Polar = CENTRE
