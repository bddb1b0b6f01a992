"""A family of smooth lenses as vectors: the coordinates that are fitted, and back to what is rendered.

Ellipses and shears are fitted by two components each, which have no edge at 0 and no angle that jumps; radii and
amplitudes by their logarithms. Subhalos follow, three coordinates each: x, y in arcsec and log10 of the mass in Msun.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deeplense.errors import InputError
from deeplense.simulation.draw import Draws, positions_of, priors_of
from deeplense.simulation.instruments import Telescope
from deeplense.simulation.lenses import Halo
from deeplense.simulation.lights import Sersic
from deeplense.simulation.placing import with_subhalos
from deeplense.simulation.priors import Fixed, Polar, Prior, bounds
from deeplense.simulation.sets import LensSet, find_classes
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.substructure import Equal

SUBHALO = 3
"""Coordinates of each."""
FLATTEST, ROUNDEST = 0.2, 0.9995
"""Axis ratios: what the series of a power law is right for, and no circle, whose isothermal ellipse is 0/0."""
ROOM = 0.3
"""dex beyond the masses of a set that a fit may go: a mass at their edge has errors both ways."""


@dataclass(frozen=True)
class Coordinate:
    """One number that is fitted."""

    name: str
    step: float
    """Over which derivatives are taken."""
    low: float = -math.inf
    high: float = math.inf


class Family:
    """The smooth lenses of a set, with or without single subhalos of its profile."""

    def __init__(self, lens_set: LensSet, device: torch.device | str = "cpu") -> None:
        """
        Raises:
            InputError: lenses of this set cannot be fitted.
        """
        if not isinstance(lens_set.source, Sersic):
            raise InputError(
                f"--refit: sources of {lens_set.name} are more than a Sersic profile, which is all that is fitted yet: "
                "leave it out"
            )
        if isinstance(lens_set.subhalos.mass, Equal):
            raise InputError(
                f"--refit: the subhalos of {lens_set.name} are equal parts of a mass, and are not fitted one by one: "
                "leave --refit out"
            )
        if not lens_set.camera.noise or not isinstance(lens_set.camera.exposure, Fixed):
            raise InputError(f"--refit: the noise in images of {lens_set.name} is not known by itself: leave it out")
        self.lens_set = lens_set
        self.rough = _rough(lens_set)
        """The same with one point a pixel, for what needs no more."""
        self.exposure = lens_set.camera.exposure.value
        self.device = torch.device(device)
        # What is not fitted: fixed, or of no effect on a smooth image, or in the middle of its prior, as redshifts.
        drawn = Simulator(lens_set, find_classes(["no_sub"]), 0, self.device).draw(
            torch.zeros(1, dtype=torch.int64, device=self.device)
        )
        middle = torch.tensor([0.5], device=self.device)
        known = {name: prior.at(middle) for name, prior in priors_of(lens_set).items()}
        self._known = replace(drawn.bare(), scalars=drawn.scalars | known)
        self.coordinates = tuple(_coordinates(lens_set))
        self.names = tuple(own.name for own in self.coordinates)
        lightest, heaviest = bounds(lens_set.subhalos.mass)
        self.masses = math.log10(lightest), math.log10(heaviest)
        edge = 0.5 * lens_set.camera.pixels * lens_set.camera.pixel_scale
        places = (Coordinate("x", 2e-3, -edge, edge), Coordinate("y", 2e-3, -edge, edge))
        mass = Coordinate("log10_mass", 0.01, self.masses[0] - ROOM, self.masses[1] + ROOM)
        self.of_subhalo = (*places, mass)

    def __len__(self) -> int:
        """Coordinates of the smooth lens."""
        return len(self.coordinates)

    def limits(self, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Step, least and greatest value of vectors of `width` coordinates, (width,) each."""
        every = self.coordinates + self.of_subhalo * ((width - len(self)) // SUBHALO)
        columns = ([getattr(own, field) for own in every] for field in ("step", "low", "high"))
        step, low, high = (torch.tensor(column, device=self.device) for column in columns)
        return step, low, high

    def draws(self, vectors: Tensor) -> Draws:
        """What is rendered for `vectors` (B, len(self) + 3 K), K subhalos each."""
        count = len(vectors)
        bare = self._known.take(torch.zeros(count, dtype=torch.int64, device=vectors.device))
        own = _scalars(dict(zip(self.names, vectors.unbind(1), strict=False)), self.lens_set)
        bare = replace(bare, scalars=bare.scalars | own)
        x, y, log_mass = vectors[:, len(self) :].reshape(count, -1, SUBHALO).unbind(2)  # (B, K)
        return with_subhalos(bare, self.lens_set, x, y, 10.0**log_mass)

    def mass_to_square(self, scalars: dict[str, Tensor] | None = None) -> Tensor:
        """Squared Einstein radius of one solar mass, arcsec^2; of redshifts that the image does not tell, a middle."""
        own = self._known.scalars if scalars is None else scalars
        return self.lens_set.cosmology.mass_to_square(own["z_lens"], own["z_source"])

    def vectors(self, draws: Draws) -> Tensor:
        """The smooth lenses of drawn images, (B, len(self))."""
        own = _vectors(draws.scalars, self.lens_set)
        return torch.stack([own[name] for name in self.names], 1)


def _rough(lens_set: LensSet) -> LensSet:
    camera = lens_set.camera
    if not isinstance(camera, Telescope) or camera.oversample == 1:
        return lens_set
    return replace(lens_set, camera=replace(camera, oversample=1))


def _coordinates(lens_set: LensSet) -> Iterator[Coordinate]:
    """Those of the smooth lenses of a set that are not the same for all."""
    halo, priors = lens_set.halo, priors_of(lens_set)
    yield Coordinate("einstein_radius", 1e-3, 0.05, 20.0)
    if halo.ellipse is not None:
        yield from _pair("lens_e")
    if isinstance(halo, Halo):
        if _varies(halo.shear):
            yield from _pair("shear")
    else:
        if _varies(halo.slope):
            yield Coordinate("slope", 2e-3, 1.05, 2.95)
        yield from (Coordinate(name, 1e-3, -0.6, 0.6) for name in ("gamma1", "gamma2") if _varies(priors[name]))
        yield from (Coordinate(name, 1e-3) for name in ("lens_x", "lens_y") if _moves(lens_set, "lens"))
        for multipole in halo.multipoles:
            yield from _pair(f"multipole{multipole.order}")
    for name, light in lens_set.lights.items():
        if name != "outer" and _moves(lens_set, name):
            yield from (Coordinate(f"{name}_{axis}", 1e-3) for axis in "xy")
        if not isinstance(light.amplitude, Fixed):
            yield Coordinate(f"{name}_log_amplitude", 5e-3)
        if _varies(light.radius):
            yield Coordinate(f"{name}_log_radius", 5e-3, math.log(0.01), math.log(20.0))
        if not isinstance(light.index, (int, float)):
            yield Coordinate(f"{name}_index", 1e-2, 0.3, 8.0)
        if light.axis_ratio != Fixed(1.0):
            yield from _pair(f"{name}_e")


def _pair(name: str) -> tuple[Coordinate, Coordinate]:
    return Coordinate(f"{name}1", 1e-3, -0.66, 0.66), Coordinate(f"{name}2", 1e-3, -0.66, 0.66)


def _varies(prior: Prior) -> bool:
    return not isinstance(prior, Fixed)


def _moves(lens_set: LensSet, name: str) -> bool:
    position = positions_of(lens_set)[name]
    return isinstance(position, Polar) or _varies(position.x)


def _scalars(own: dict[str, Tensor], lens_set: LensSet) -> dict[str, Tensor]:
    """From coordinates to what the simulator calls them; the inverse of `_vectors`."""
    plain = ("einstein_radius", "slope", "gamma1", "gamma2", "lens_x", "lens_y")
    found = {name: own[name] for name in plain if name in own}
    for prefix in ("", *(f"{name}_" for name in lens_set.lights)):
        ellipse = f"{prefix or 'lens_'}e"
        if f"{ellipse}1" in own:
            modulus = torch.hypot(own[f"{ellipse}1"], own[f"{ellipse}2"])
            found[f"{prefix}axis_ratio"] = ((1 - modulus) / (1 + modulus)).clamp(FLATTEST, ROUNDEST)
            found[f"{prefix}angle"] = 0.5 * torch.atan2(own[f"{ellipse}2"], own[f"{ellipse}1"])
        for name in ("x", "y", "index"):
            if f"{prefix}{name}" in own and prefix:
                found[f"{prefix}{name}"] = own[f"{prefix}{name}"]
        for name in ("amplitude", "radius"):
            if f"{prefix}log_{name}" in own:
                found[f"{prefix}{name}"] = own[f"{prefix}log_{name}"].exp()
    for name, order in (("shear", 2), ("multipole3", 3), ("multipole4", 4)):
        if f"{name}1" in own:
            found[name] = torch.hypot(own[f"{name}1"], own[f"{name}2"])
            found[f"{name}_angle"] = torch.atan2(own[f"{name}2"], own[f"{name}1"]) / order
    return found


def _vectors(scalars: dict[str, Tensor], lens_set: LensSet) -> dict[str, Tensor]:
    """Coordinates by name, and a few more than are fitted."""
    own = dict(scalars)
    for prefix in ("", *(f"{name}_" for name in lens_set.lights)):
        if f"{prefix}angle" in scalars:
            ratio, twice = scalars[f"{prefix}axis_ratio"], 2 * scalars[f"{prefix}angle"]
            modulus, ellipse = (1 - ratio) / (1 + ratio), f"{prefix or 'lens_'}e"
            own |= {f"{ellipse}1": modulus * twice.cos(), f"{ellipse}2": modulus * twice.sin()}
        for name in ("amplitude", "radius"):
            if f"{prefix}{name}" in scalars:
                own[f"{prefix}log_{name}"] = scalars[f"{prefix}{name}"].log()
    for name, order in (("shear", 2), ("multipole3", 3), ("multipole4", 4)):
        if name in scalars and f"{name}_angle" in scalars:
            angle = order * scalars[f"{name}_angle"]
            own |= {f"{name}1": scalars[name] * angle.cos(), f"{name}2": scalars[name] * angle.sin()}
    return own
