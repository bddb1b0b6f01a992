"""Substructure of the main lens, as priors. Nothing here imports torch. Masses are in solar masses."""

from __future__ import annotations

from dataclasses import dataclass

from deeplense.simulation.lenses import ANY_ANGLE, CENTRE
from deeplense.simulation.priors import Cartesian, Fixed, LogUniform, Poisson, Polar, PowerLaw, Prior


@dataclass(frozen=True)
class Equal:
    """Point masses of equal mass."""

    total: float
    """Of all together: solar masses, or a fraction of the main halo's mass."""
    of_halo: bool
    """Whether `total` is that fraction. The halo's mass is the projected one inside its Einstein radius."""


@dataclass(frozen=True)
class Subhalos:
    """Class `cdm`: point masses around the centre."""

    number: Fixed | Poisson
    mass: PowerLaw | LogUniform | Fixed | Equal
    position: Polar


@dataclass(frozen=True)
class Vortex:
    """Class `axion`: a straight line of equal point masses."""

    mass: Equal
    half_length: Prior
    position: Cartesian = CENTRE
    angle: Prior = ANY_ANGLE
    elements: int = 100
    axion_mass_times_half_length: float | None = None
    """In eV arcsec, where the set ties the length to the de Broglie wavelength of an axion."""
