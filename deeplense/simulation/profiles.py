"""Density profiles of subhalos: how a mass spreads. Nothing here imports torch.

A profile is `enclosed`, the share of its total mass that is projected inside a radius in units of its scale radius,
and `spread`, which finds the total mass and the scale radius of each subhalo. Everything else (rendering, Einstein
radii) works from these two; whoever adds a profile writes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from deeplense.errors import InputError
from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.priors import Fixed, LogUniform, Uniform, bounds


class Surroundings(NamedTuple):
    """What the spread of a subhalo may depend on, beside its mass; tensors (B, 1)."""

    cosmology: Cosmology
    z_lens: Any
    mass_to_square: Any
    """Squared Einstein radius of a point of one solar mass, arcsec^2."""
    einstein_radius: Any
    """Of the main lens, arcsec."""


class Spread(NamedTuple):
    """Tensors (B, K)."""

    total: Any
    """Mass of all, Msun."""
    scale: Any
    """Scale radius, arcsec."""
    concentration: Any
    """Where a profile has one, else None."""


@dataclass(frozen=True)
class MassConcentration:
    """Mean concentration of a mass in cold dark matter, with scatter: Dutton & Maccio 2014 (arXiv:1402.7073, eq. 8)."""

    scatter: float = 0.11
    """In dex."""

    def at(self, mass: Any, around: Surroundings, u: Any) -> Any:
        z = around.z_lens
        level = 0.520 + (0.905 - 0.520) * (-0.617 * z**1.21).exp()
        slope = -0.101 + 0.026 * z
        mean = level + slope * (mass * (around.cosmology.hubble / 100.0 / 1e12)).log10()
        return 10.0 ** (mean + self.scatter * math.sqrt(2.0) * (2.0 * u - 1.0).erfinv())


@dataclass(frozen=True)
class TruncatedNFW:
    """A truncated NFW halo: density as 1/(x (1 + x)^2) t^2/(t^2 + x^2), x = r/r_s (Baltz, Marshall & Oguri 2009).

    The mass that a set draws is M200: that of the truncated halo inside c r_s.
    """

    concentration: Fixed | Uniform | LogUniform | MassConcentration
    truncation: float
    """t, the truncation radius in scale radii."""
    scale_radius: float | None = None
    """In parsec, for 10^6 Msun; it grows with the cube root of the mass. None: r200 / c, by the critical density."""

    def __post_init__(self) -> None:
        if self.truncation <= 0:
            raise InputError(f"a truncation of {self.truncation:g} scale radii: give one above 0")
        if not isinstance(self.concentration, MassConcentration) and bounds(self.concentration)[0] <= 0:
            raise InputError(f"a concentration of {bounds(self.concentration)[0]:g}: give one above 0")

    def enclosed(self, x: np.ndarray) -> np.ndarray:
        """Share of the total mass inside `x` > 0 scale radii, projected (eq. A.11); float64, or it cancels."""
        t, square = self.truncation, self.truncation**2
        beyond = np.abs(x * x - 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.arccosh(np.maximum(1.0 / x, 1.0)) / np.sqrt(beyond)
            outside = np.arccos(np.minimum(1.0 / x, 1.0)) / np.sqrt(beyond)
        near = 1.0 - 2.0 / 3.0 * (x - 1.0) + 7.0 / 15.0 * (x - 1.0) ** 2
        f = np.where(beyond < 1e-4, near, np.where(x < 1.0, inside, outside))
        root = np.sqrt(square + x * x)
        logarithm = np.log(x / (t + root))
        mass = (square + 1.0 + 2.0 * (x * x - 1.0)) * f + t * math.pi + (square - 1.0) * math.log(t)
        mass += root * (-math.pi + (square - 1.0) / t * logarithm)
        return mass / ((square - 1.0) * math.log(t) + math.pi * t - (square + 1.0))

    def spread(self, mass: Any, around: Surroundings, u: Any) -> Spread:
        """Total mass and scale radius of halos of M200 = `mass`; `u` is uniform, for the concentration."""
        if isinstance(self.concentration, MassConcentration):
            concentration = self.concentration.at(mass, around, u)
        else:
            concentration = self.concentration.at(u)
        if self.scale_radius is None:
            density = 200.0 * around.cosmology.critical_density(around.z_lens)
            scale = (mass * (0.75 / math.pi) / density) ** (1.0 / 3.0) / concentration  # Mpc
        else:
            scale = self.scale_radius * 1e-6 * (mass * 1e-6) ** (1.0 / 3.0)
        return Spread(
            total=mass / self._within(concentration),
            scale=scale * around.cosmology.arcsec_per_mpc(around.z_lens),
            concentration=concentration,
        )

    def _within(self, x: Any) -> Any:
        """Share of the total mass inside the sphere of `x` scale radii: the integral of the density."""
        t, square = self.truncation, self.truncation**2
        first, second = (square - 1.0) / (square + 1.0) ** 2, -1.0 / (square + 1.0)
        third = 2.0 * square / (square + 1.0) ** 2
        far = 0.5 * (1.0 + (x / t) ** 2).log()
        inside = first * ((1.0 + x).log() - far) + second * x / (1.0 + x) + third / t * (x / t).atan()
        return inside / (first * math.log(t) + second + third * math.pi / (2.0 * t))


@dataclass(frozen=True)
class PseudoJaffe:
    """An isothermal sphere that ends at its tidal radius: surface density as 1/r - 1/sqrt(r^2 + r_t^2).

    The tidal radius is r_t = sqrt(theta theta_E), theta the Einstein radius that the sphere would have without end,
    theta_E that of the main lens (Vegetti et al. 2014, arXiv:1405.3666); r_t is the scale radius here. The mass that a
    set draws is the total one.
    """

    truncation = 1.0
    """The truncation radius in scale radii."""

    def enclosed(self, x: np.ndarray) -> np.ndarray:
        """Share of the total mass inside `x` scale radii, projected."""
        return x + 1.0 - np.sqrt(1.0 + x * x)

    def spread(self, mass: Any, around: Surroundings, u: Any) -> Spread:
        """Total mass and scale radius: pi Sigma_cr theta r_t is the total mass."""
        square = mass * around.mass_to_square
        theta = (square / around.einstein_radius.sqrt()) ** (2.0 / 3.0)
        return Spread(total=mass, scale=(theta * around.einstein_radius).sqrt(), concentration=None)
