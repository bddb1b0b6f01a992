"""From image numbers to parameters: the truth of a batch of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from deeplense.simulation.counters import Words, uniform
from deeplense.simulation.lights import Sersic
from deeplense.simulation.priors import Cartesian, Fixed, Polar, Prior
from deeplense.simulation.sets import KINDS, Kind, LensSet
from deeplense.simulation.substructure import Equal, Subhalos, Vortex

PLACES = (
    *("z_lens", "z_source", "einstein_radius", "axis_ratio", "angle", "shear", "shear_angle", "exposure"),
    *("source_amplitude", "source_radius", "source_axis_ratio", "source_angle", "source_x", "source_y"),
    *("light_amplitude", "light_radius", "light_axis_ratio", "light_angle", "light_x", "light_y"),
    *("subhalos", "vortex_x", "vortex_y", "vortex_angle", "vortex_half_length"),
)
"""The scalar parameters of an image. The place is part of the random counter: append only."""

# Second word of the counter: what the random words are for. `camera` has another.
_SCALARS, _SUBHALOS = 0, 1

Random = Callable[[Words], Words]
"""`counters.philox` with a set's key."""


@dataclass(frozen=True)
class Draws:
    """The parameters of B images; the point masses that an image has not, of K places, have mass and radius 0."""

    number: Tensor
    """(B,) int64: the image's number, within its class or its stream."""
    label: Tensor
    """(B,) int64."""
    kind: Tensor
    """(B,) int64: place in `KINDS`."""
    scalars: dict[str, Tensor]
    """(B,) float32 each, by name, in the units of `sets`."""
    x: Tensor
    """(B, K) arcsec, of the point masses."""
    y: Tensor
    """(B, K) arcsec."""
    mass: Tensor
    """(B, K) Msun."""
    radius: Tensor
    """(B, K) Einstein radii, arcsec."""

    def smooth(self) -> Draws:
        """The same lenses without their substructure."""
        nothing = torch.zeros_like(self.mass)
        return replace(self, mass=nothing, radius=nothing)

    def to(self, device: torch.device | str) -> Draws:
        """The same on another device."""
        return Draws.combine([self], lambda parts: parts[0].to(device))

    def first(self, count: int) -> Draws:
        """The first `count` images."""
        return Draws.combine([self], lambda parts: parts[0][:count])

    @staticmethod
    def join(batches: list[Draws]) -> Draws:
        """Batches of one set, one after the other."""
        return Draws.combine(batches, torch.cat)

    @staticmethod
    def combine(batches: list[Draws], function: Callable[[list[Tensor]], Tensor]) -> Draws:
        """Apply `function` to the list of each tensor of the batches."""
        scalars = {name: function([batch.scalars[name] for batch in batches]) for name in batches[0].scalars}
        names = (field.name for field in fields(Draws) if field.name != "scalars")
        tensors = {name: function([getattr(batch, name) for batch in batches]) for name in names}
        return Draws(scalars=scalars, **tensors)


def priors_of(lens_set: LensSet) -> dict[str, Prior]:
    """The prior of each scalar parameter that the set has and that is drawn by itself: no positions."""
    halo, camera = lens_set.halo, lens_set.camera
    priors: dict[str, Prior] = {
        "z_lens": lens_set.z_lens,
        "z_source": lens_set.z_source,
        "einstein_radius": halo.einstein_radius,
        "shear": halo.shear,
        "shear_angle": halo.shear_angle,
        "exposure": camera.exposure,
        **_sersic_priors("source", lens_set.source),
        "subhalos": lens_set.subhalos.number,
        "vortex_angle": lens_set.vortex.angle,
        "vortex_half_length": lens_set.vortex.half_length,
    }
    if halo.ellipse is not None:
        priors |= {"axis_ratio": halo.ellipse[0], "angle": halo.ellipse[1]}
    if lens_set.lens_light is not None:
        priors |= _sersic_priors("light", lens_set.lens_light)
    return priors


def positions_of(lens_set: LensSet) -> dict[str, Cartesian | Polar]:
    """The prior of each position: `NAME_x` and `NAME_y` among the scalars."""
    positions = {"source": lens_set.source.position, "vortex": lens_set.vortex.position}
    if lens_set.lens_light is not None:
        positions["light"] = lens_set.lens_light.position
    return positions


def drawn_columns(lens_set: LensSet, kinds: tuple[Kind, ...]) -> list[str]:
    """The names of the scalars that differ between images of these kinds: the columns of the catalogue."""
    drawn = {name for name, prior in priors_of(lens_set).items() if not isinstance(prior, Fixed)}
    for name, position in positions_of(lens_set).items():
        if isinstance(position, Polar) or not isinstance(position.x, Fixed):
            drawn |= {f"{name}_x", f"{name}_y"}
    if "axion" not in kinds:
        drawn = {name for name in drawn if not name.startswith("vortex")}
    columns = [name for name in PLACES if name in drawn or (name == "subhalos" and "cdm" in kinds)]
    if "axion" in kinds and lens_set.vortex.axion_mass_times_half_length is not None:
        columns.append("axion_mass")
    return columns


def draw(
    lens_set: LensSet, kinds: tuple[Kind, ...], number: Tensor, label: Tensor, kind: Tensor, random: Random
) -> Draws:
    """Draw images `number` of the kinds `kind` (places in `KINDS`), both (B,) int64; the labels are passed on.

    Every value follows from the set, the key in `random`, the image's kind and its number alone. `kinds` are those
    that may occur: it settles how many point masses the batch has room for.
    """
    low, high = number & 0xFFFFFFFF, (number >> 32) << 8 | kind
    scalars = _draw_scalars(lens_set, low, high, random)
    square = lens_set.cosmology.mass_to_square(scalars["z_lens"], scalars["z_source"])  # (B,) arcsec^2 / Msun
    halo_mass = scalars["einstein_radius"] ** 2 / square  # (B,) Msun, inside the Einstein radius
    groups = []  # (x, y, mass), each (B, K_group), for each kind that may occur
    if "cdm" in kinds:
        here = (kind == KINDS.index("cdm"))[:, None]
        groups.append(_draw_subhalos(lens_set.subhalos, scalars["subhalos"], halo_mass, low, high, here, random))
    if "axion" in kinds:
        here = (kind == KINDS.index("axion"))[:, None]
        groups.append(_lay_vortex(lens_set.vortex, scalars, halo_mass, here))
    x, y, mass = _overlay(groups, number)
    return Draws(number, label, kind, scalars, x, y, mass, (mass * square[:, None]).sqrt())


def _draw_scalars(lens_set: LensSet, low: Tensor, high: Tensor, random: Random) -> dict[str, Tensor]:
    # One call of the generator for all of them, of four words each: it costs a hundred small operations.
    block = torch.arange((len(PLACES) + 3) // 4, device=low.device)
    purpose = torch.full_like(block, _SCALARS)
    words = random((block, purpose, low[:, None], high[:, None]))
    unit = uniform(torch.stack([word.expand(len(low), len(block)) for word in words], dim=2)).flatten(1)
    by_name = dict(zip(PLACES, unit.unbind(1), strict=False))
    scalars = {name: prior.at(by_name[name]) for name, prior in priors_of(lens_set).items()}
    for name, position in positions_of(lens_set).items():
        x, y = position.at(by_name[f"{name}_x"], by_name[f"{name}_y"])
        scalars |= {f"{name}_x": x, f"{name}_y": y}
    if lens_set.vortex.axion_mass_times_half_length is not None:
        scalars["axion_mass"] = lens_set.vortex.axion_mass_times_half_length / scalars["vortex_half_length"]
    # What an image's kind has not is no number: the catalogue leaves it empty.
    kind = high & 0xFF
    for name in [name for name in scalars if name.startswith(("vortex", "axion"))]:
        scalars[name] = scalars[name].where(kind == KINDS.index("axion"), torch.nan)
    scalars["subhalos"] = scalars["subhalos"].where(kind == KINDS.index("cdm"), 0.0)
    return scalars


def _draw_subhalos(
    subhalos: Subhalos,
    number: Tensor,
    halo_mass: Tensor,
    low: Tensor,
    high: Tensor,
    here: Tensor,
    random: Random,
) -> tuple[Tensor, Tensor, Tensor]:
    most = int(subhalos.number.value) if isinstance(subhalos.number, Fixed) else subhalos.number.most
    place = torch.arange(most, device=low.device)
    purpose = torch.full_like(place, _SUBHALOS)
    words = random((place, purpose, low[:, None], high[:, None]))
    u, v, w = (uniform(word) for word in words[:3])  # (B, K)
    x, y = subhalos.position.at(u, v)
    if isinstance(subhalos.mass, Equal):
        share = _total(subhalos.mass, halo_mass) / number.clamp(min=1.0)
        mass = share[:, None].expand_as(x)
    else:
        mass = subhalos.mass.at(w)
    return x, y, mass * (here & (place < number[:, None]))


def _lay_vortex(
    vortex: Vortex, scalars: dict[str, Tensor], halo_mass: Tensor, here: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    line = torch.linspace(-1.0, 1.0, vortex.elements, device=here.device)
    along = scalars["vortex_half_length"][:, None] * line  # (B, K)
    angle = scalars["vortex_angle"][:, None]
    x = scalars["vortex_x"][:, None] + along * angle.cos()
    y = scalars["vortex_y"][:, None] + along * angle.sin()
    mass = (_total(vortex.mass, halo_mass) / vortex.elements)[:, None] * here
    return x.where(here, 0.0), y.where(here, 0.0), mass.expand_as(x)


def _overlay(groups: list[tuple[Tensor, Tensor, Tensor]], number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One array of places for the groups: an image belongs to one of them at most, so the others' masses are 0."""
    most = max((group[0].shape[1] for group in groups), default=0)
    x, y, mass = (torch.zeros(len(number), most, device=number.device) for _ in range(3))
    for group_x, group_y, group_mass in groups:
        here, width = group_mass > 0, group_mass.shape[1]
        for whole, part in ((x, group_x), (y, group_y), (mass, group_mass)):
            whole[:, :width] = torch.where(here, part, whole[:, :width])
    return x, y, mass


def _total(mass: Equal, halo_mass: Tensor) -> Tensor:
    return mass.total * halo_mass if mass.of_halo else torch.full_like(halo_mass, mass.total)


def _sersic_priors(name: str, profile: Sersic) -> dict[str, Prior]:
    return {
        f"{name}_amplitude": profile.amplitude,
        f"{name}_radius": profile.radius,
        f"{name}_axis_ratio": profile.axis_ratio,
        f"{name}_angle": profile.angle,
    }
