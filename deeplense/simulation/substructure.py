"""Substructure of the main lens, as priors: how many subhalos, how heavy, where, and of which profile.

Nothing here imports torch. Masses are in solar masses, lengths in arcsec.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deeplense.errors import InputError
from deeplense.simulation.lenses import ANY_ANGLE, CENTRE
from deeplense.simulation.priors import (
    Cartesian,
    Fixed,
    LogUniform,
    Poisson,
    Polar,
    PowerLaw,
    Prior,
    WarmPowerLaw,
    bounds,
)
from deeplense.simulation.profiles import PseudoJaffe, TruncatedNFW

LATER = {"later": True}
"""Marks fields that older sets have not: `dataset.json` leaves them out at their defaults, and says what it said."""


@dataclass(frozen=True)
class Equal:
    """Point masses of equal mass."""

    total: float
    """Of all together: solar masses, or a fraction of the main halo's mass."""
    of_halo: bool
    """Whether `total` is that fraction. The halo's mass is the projected one inside its Einstein radius."""


@dataclass(frozen=True)
class Rings:
    """About the main lens, in any direction, uniform in the distance out to `reach` Einstein radii.

    So the surface density falls as 1/r, as that of an isothermal halo: the share of mass is the same everywhere.
    """

    reach: float = 2.0


@dataclass(frozen=True)
class Bright:
    """Anywhere in the pixels that the lensed source makes brighter than `threshold` times its brightest one."""

    threshold: float = 0.2


@dataclass(frozen=True)
class Share:
    """As many, by a Poisson law, as have this share of the main lens's mass between them, in the mean.

    It is the share of the mass that is projected inside the Einstein radius, of subhalos that are placed by `Rings`.
    The mass of a subhalo is the one that is drawn, M200 of a truncated NFW halo; all of it, which deflects, is 1.17
    times that in `hst`, 1.24 in `euclid` and 1.29 in `jwst`, and so is the share of what deflects.
    """

    fraction: Prior
    most: int
    """The number is cut here, so that a batch has a fixed number of places."""


@dataclass(frozen=True)
class Subhalos:
    """Class `cdm`: subhalos around the centre."""

    number: Fixed | Poisson | Share
    mass: PowerLaw | LogUniform | Fixed | WarmPowerLaw | Equal
    """Of a point its mass, of a profile what the profile says."""
    position: Polar | Rings | Bright
    profile: TruncatedNFW | PseudoJaffe | None = field(default=None, metadata=LATER)
    """None: points."""
    compensated: bool = field(default=False, metadata=LATER)
    """Whether the subhalos' mass is taken off the field again by an even sheet, so that the ring does not grow."""

    def __post_init__(self) -> None:
        if isinstance(self.number, Share) and (not isinstance(self.position, Rings) or isinstance(self.mass, Equal)):
            raise InputError("a share of the mass in subhalos needs a mass function, and places in Rings")
        if not isinstance(self.mass, Equal) and bounds(self.mass)[0] <= 0:
            raise InputError(f"subhalos from {bounds(self.mass)[0]:g} Msun: give masses above 0")

    @property
    def most(self) -> int:
        """Places that a batch needs for each image."""
        return int(self.number.value) if isinstance(self.number, Fixed) else self.number.most


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
