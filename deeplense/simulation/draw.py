"""From image numbers to parameters: the truth of a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deeplense.simulation.counters import Words, normals, poisson, uniform
from deeplense.simulation.gallery import FRACTIONS, Pictures
from deeplense.simulation.instruments import Telescope
from deeplense.simulation.lenses import Halo, PowerLawHalo
from deeplense.simulation.lights import CLUMP_INDEX, Clumps, Field, Magnitude, Sersic, flux_of_unit
from deeplense.simulation.priors import Cartesian, Fixed, Normal, Polar, Prior, Uniform, mean_mass
from deeplense.simulation.profiles import Surroundings
from deeplense.simulation.sets import KINDS, Kind, LensSet
from deeplense.simulation.substructure import Equal, Rings, Share, Vortex
from deeplense.simulation.textures import amplitude_of_picture, field_words, on_device, random_fields

PLACES = (
    *("z_lens", "z_source", "einstein_radius", "axis_ratio", "angle", "shear", "shear_angle", "exposure"),
    *("source_amplitude", "source_radius", "source_axis_ratio", "source_angle", "source_x", "source_y"),
    *("light_amplitude", "light_radius", "light_axis_ratio", "light_angle", "light_x", "light_y"),
    *("subhalos", "vortex_x", "vortex_y", "vortex_angle", "vortex_half_length"),
    *("slope", "lens_x", "lens_y", "gamma1", "gamma2", "share"),
    *("multipole3", "multipole3_angle", "multipole4", "multipole4_angle"),
    *("source_magnitude", "source_index", "light_magnitude", "light_index", "clump_share"),
    *("outer_amplitude", "outer_magnitude", "outer_radius", "outer_index", "outer_axis_ratio", "outer_angle"),
    *("part", "picture", "field_slope", "field_contrast", "neighbours"),
    *("off_amplitude", "off_radius", "off_axis_ratio", "off_angle", "off_x", "off_y"),
)
"""The scalar parameters of an image. The place is part of the random counter: append only."""

# Second word of the counter: what the random words are for. `camera`, `simulator` and `stream` have 2, 3 and 4.
_SCALARS, _SUBHALOS, _CLUMPS, _FIELD, _NEIGHBOURS = 0, 1, 5, 6, 7

_PER_SUBHALO = ("x", "y", "mass", "radius", "scale", "concentration")

Random = Callable[[Words], Words]
"""`counters.philox` with a set's key."""


@dataclass(frozen=True)
class Draws:
    """The parameters of B images; the subhalos that an image has not, of K places, have mass and radius 0."""

    number: Tensor
    """(B,) int64: the image's number, within its class or its stream."""
    label: Tensor
    """(B,) int64."""
    kind: Tensor
    """(B,) int64: place in `KINDS`."""
    scalars: dict[str, Tensor]
    """(B,) float32 each, by name, in the units of `sets`."""
    x: Tensor
    """(B, K) arcsec, of the subhalos, or of the points of a vortex."""
    y: Tensor
    """(B, K) arcsec."""
    mass: Tensor
    """(B, K) Msun, as the set draws them (M200 of a truncated NFW halo)."""
    radius: Tensor
    """(B, K) Einstein radii of points of their total masses, arcsec."""
    scale: Tensor
    """(B, K) scale radii of their profile, arcsec; 0 for points."""
    concentration: Tensor
    """(B, K); NaN where the profile has none."""
    clumps: Tensor
    """(B, 4, C): x, y, half-light radius in arcsec and amplitude of the source's clumps; none where it has none."""
    neighbours: Tensor
    """(B, 4, C): the same of what stands beside the lens."""
    field: Tensor
    """(B, P, P): the random field that the source's brightness is multiplied by; P 0 where it has none."""

    def smooth(self) -> Draws:
        """The same lenses without their substructure."""
        nothing = torch.zeros_like(self.mass)
        return replace(self, mass=nothing, radius=nothing)

    def bare(self) -> Draws:
        """The same, and no room for any: the faster to render."""
        return self.of_places(0, 0)

    def of_places(self, start: int, stop: int) -> Draws:
        """The same lenses with some of their subhalos."""
        return replace(self, **{name: getattr(self, name)[:, start:stop] for name in _PER_SUBHALO})

    def of_subhalos(self, scalars: Sequence[str] = ()) -> Draws:
        """The same without what the source and its surroundings are made of, and with some of the scalars: draws of
        several sets have the same shapes."""
        nothing = {name: getattr(self, name)[:, :0, :0] for name in ("clumps", "neighbours", "field")}
        return replace(self, scalars={name: self.scalars[name] for name in scalars}, **nothing)

    def with_room(self, places: int) -> Draws:
        """The same, with places for so many subhalos in each image at least."""
        more = places - self.mass.shape[1]
        if more <= 0:
            return self
        room: dict[str, Any] = {name: F.pad(getattr(self, name), (0, more)) for name in _PER_SUBHALO}
        return replace(self, **room)

    def to(self, device: torch.device | str) -> Draws:
        """The same on another device."""
        return Draws.combine([self], lambda parts: parts[0].to(device))

    def first(self, count: int) -> Draws:
        """The first `count` images."""
        return Draws.combine([self], lambda parts: parts[0][:count])

    def take(self, which: Tensor) -> Draws:
        """Those of some of the images, by their places in the batch."""
        return Draws.combine([self], lambda parts: parts[0][which])

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
    priors: dict[str, Prior] = {
        "z_lens": lens_set.z_lens,
        "z_source": lens_set.z_source,
        **_halo_priors(lens_set.halo),
        "exposure": lens_set.camera.exposure,
        "vortex_angle": lens_set.vortex.angle,
        "vortex_half_length": lens_set.vortex.half_length,
    }
    if isinstance(lens_set.source, Clumps):
        priors["clump_share"] = lens_set.source.share
    if isinstance(lens_set.source, Field):
        priors |= {"field_slope": lens_set.source.slope, "field_contrast": lens_set.source.contrast}
    if lens_set.neighbours is not None:
        priors["neighbours"] = lens_set.neighbours.number
    if (off := lens_set.subtraction) is not None:
        deviations = (off.amplitude, off.radius, off.axis_ratio, off.angle, off.centre, off.centre)
        names = (name for name in PLACES if name.startswith("off_"))
        priors |= {name: Normal(0.0, deviation) for name, deviation in zip(names, deviations, strict=True)}
    number = lens_set.subhalos.number
    priors |= {"share": number.fraction} if isinstance(number, Share) else {"subhalos": number}
    for name, light in lens_set.lights.items():
        priors |= _sersic_priors(name, light)
    return priors


def _halo_priors(halo: Halo | PowerLawHalo) -> dict[str, Prior]:
    priors: dict[str, Prior] = {"einstein_radius": halo.einstein_radius}
    if halo.ellipse is not None:
        priors |= {"axis_ratio": halo.ellipse[0], "angle": halo.ellipse[1]}
    if isinstance(halo, Halo):
        return priors | {"shear": halo.shear, "shear_angle": halo.shear_angle}
    priors |= {"slope": halo.slope, "gamma1": halo.shear[0], "gamma2": halo.shear[1]}
    for multipole in halo.multipoles:
        name = f"multipole{multipole.order}"
        priors |= {name: multipole.strength, f"{name}_angle": multipole.angle}
    return priors


def positions_of(lens_set: LensSet) -> dict[str, Cartesian | Polar]:
    """The prior of each position: `NAME_x` and `NAME_y` among the scalars."""
    positions = {name: light.position for name, light in lens_set.lights.items() if name != "outer"}
    positions["vortex"] = lens_set.vortex.position
    if isinstance(lens_set.halo, PowerLawHalo):
        positions["lens"] = lens_set.halo.position
    return positions


def drawn_columns(lens_set: LensSet, kinds: tuple[Kind, ...]) -> list[str]:
    """The names of the scalars that differ between images of these kinds: the columns of the catalogue."""
    drawn = {name for name, prior in priors_of(lens_set).items() if not isinstance(prior, Fixed)}
    for name, position in positions_of(lens_set).items():
        if isinstance(position, Polar) or not isinstance(position.x, Fixed):
            drawn |= {f"{name}_x", f"{name}_y"}
    if isinstance(lens_set.source, Pictures):
        drawn |= {"picture", "source_radius"}  # this follows from the picture, where pixels have a size
    if "axion" not in kinds:
        drawn = {name for name in drawn if not name.startswith("vortex")}
    columns = [name for name in PLACES if name in drawn or (name == "subhalos" and "cdm" in kinds)]
    if "axion" in kinds and lens_set.vortex.axion_mass_times_half_length is not None:
        columns.append("axion_mass")
    return columns


def draw(
    lens_set: LensSet,
    kinds: tuple[Kind, ...],
    number: Tensor,
    label: Tensor,
    kind: Tensor,
    random: Random,
    lensed_source: Callable[[Draws], Tensor],
) -> Draws:
    """Draw images `number` of the kinds `kind` (places in `KINDS`), both (B,) int64; the labels are passed on.

    Every value follows from the set, the key in `random`, the image's kind and its number alone. `kinds` are those
    that may occur: it settles how many subhalos the batch has room for. `lensed_source` gives the image of the source
    behind a lens without substructure, (B, H, W): where the set puts subhalos where that is bright.
    """
    low, high = number & 0xFFFFFFFF, (number >> 32) << 8 | kind
    scalars = _draw_scalars(lens_set, low, high, random)
    square = lens_set.cosmology.mass_to_square(scalars["z_lens"], scalars["z_source"])  # (B,) arcsec^2 / Msun
    halo_mass = scalars["einstein_radius"] ** 2 / square  # (B,) Msun, inside the Einstein radius
    none = number.new_zeros(len(number), 0, dtype=torch.float32)
    clumps = _draw_clumps(lens_set.source, scalars, low, high, random)
    around = _draw_neighbours(lens_set, scalars, low, high, random)
    field = _draw_field(lens_set.source, scalars, low, high, random)
    bare = Draws(number, label, kind, scalars, none, none, none, none, none, none, clumps, around, field)
    groups = []  # for each kind that may occur
    if "cdm" in kinds:
        words = _subhalo_words(lens_set.subhalos.most, low, high, random)
        groups.append(_draw_subhalos(lens_set, bare, halo_mass, square, words, lensed_source))
    if "axion" in kinds:
        here = (kind == KINDS.index("axion"))[:, None]
        groups.append(_lay_vortex(lens_set.vortex, scalars, halo_mass, here))
    places = _overlay(groups, number)
    radius = (places.total * square[:, None]).sqrt()
    own = places._asdict()
    del own["total"]
    return replace(bare, radius=radius, **own)


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
    if isinstance(lens_set.source, Pictures):
        scalars |= _choose_picture(lens_set.source, by_name["part"], by_name["picture"])
    scalars |= _amplitudes(lens_set, scalars)
    if lens_set.vortex.axion_mass_times_half_length is not None:
        scalars["axion_mass"] = lens_set.vortex.axion_mass_times_half_length / scalars["vortex_half_length"]
    # What an image's kind has not is no number: the catalogue leaves it empty.
    kind = high & 0xFF
    for name in [name for name in scalars if name.startswith(("vortex", "axion"))]:
        scalars[name] = scalars[name].where(kind == KINDS.index("axion"), torch.nan)
    if isinstance(lens_set.subhalos.number, Share):
        scalars["subhalos"] = _number_of_share(lens_set, scalars, by_name["subhalos"])
        scalars["share"] = scalars["share"].where(kind == KINDS.index("cdm"), torch.nan)
    scalars["subhalos"] = scalars["subhalos"].where(kind == KINDS.index("cdm"), 0.0)
    return scalars


def _number_of_share(lens_set: LensSet, scalars: dict[str, Tensor], unit: Tensor) -> Tensor:
    """The number of subhalos that have a share of the mass between them in the mean, (B,)."""
    subhalos = lens_set.subhalos
    assert isinstance(subhalos.number, Share)
    assert isinstance(subhalos.position, Rings)
    assert not isinstance(subhalos.mass, Equal)
    square = lens_set.cosmology.mass_to_square(scalars["z_lens"], scalars["z_source"])
    # As much lies in each ring as in another of the same width: `reach` times what lies inside the Einstein radius.
    mass = scalars["share"] * subhalos.position.reach * scalars["einstein_radius"] ** 2 / square
    expected = mass / mean_mass(subhalos.mass)
    return poisson(expected, Normal(0.0, 1.0).at(unit)).clamp(max=subhalos.number.most)


class _Places(NamedTuple):
    """(B, K) each, see `Draws`."""

    x: Tensor
    y: Tensor
    mass: Tensor
    total: Tensor
    """Msun, of the whole profile."""
    scale: Tensor
    concentration: Tensor


def _subhalo_words(most: int, low: Tensor, high: Tensor, random: Random) -> Words:
    place = torch.arange(most, device=low.device)
    return random((place, torch.full_like(place, _SUBHALOS), low[:, None], high[:, None]))


def _draw_subhalos(
    lens_set: LensSet,
    bare: Draws,
    halo_mass: Tensor,
    square: Tensor,
    words: Words,
    lensed_source: Callable[[Draws], Tensor],
) -> _Places:
    subhalos, scalars = lens_set.subhalos, bare.scalars
    u, v, w, last = (uniform(word) for word in words)  # (B, K)
    if isinstance(subhalos.position, Polar):
        x, y = subhalos.position.at(u, v)
    elif isinstance(subhalos.position, Rings):
        ring = subhalos.position.reach * scalars["einstein_radius"][:, None]
        x, y = Polar(Uniform(0.0, 1.0)).at(u, v)
        x, y = (centre + ring * part for centre, part in zip(_centre(scalars), (x, y), strict=True))
    else:
        bright = lensed_source(bare)
        bright = bright > subhalos.position.threshold * bright.amax((1, 2), keepdim=True)
        x, y = _anywhere(bright, lens_set.camera.pixel_scale, words[0], v)
    if isinstance(subhalos.mass, Equal):
        share = _total(subhalos.mass, halo_mass) / scalars["subhalos"].clamp(min=1.0)
        mass = share[:, None].expand_as(x)
    else:
        mass = subhalos.mass.at(w)
    place = torch.arange(mass.shape[1], device=mass.device)
    cdm = (bare.kind == KINDS.index("cdm"))[:, None]
    mass = mass * (cdm & (place < scalars["subhalos"][:, None]))
    if subhalos.profile is None:
        return _points(x, y, mass)
    around = Surroundings(
        lens_set.cosmology, scalars["z_lens"][:, None], square[:, None], scalars["einstein_radius"][:, None]
    )
    spread = subhalos.profile.spread(mass, around, last)
    none = torch.full_like(mass, torch.nan)
    return _Places(
        x, y, mass, spread.total, spread.scale, none if spread.concentration is None else spread.concentration
    )


def _centre(scalars: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """x and y of the main lens, (B, 1)."""
    zero = torch.zeros_like(scalars["einstein_radius"])
    return scalars.get("lens_x", zero)[:, None], scalars.get("lens_y", zero)[:, None]


def _anywhere(chosen: Tensor, pixel_scale: float, word: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Places in the chosen pixels, a mask (B, H, W), each as likely as another; from words and uniforms (B, K)."""
    side = chosen.shape[2]
    counted = chosen.flatten(1).cumsum(1)  # (B, H * W), the number of chosen pixels up to each
    product = word * counted[:, -1:]  # of 32 and at most 22 bits
    pixel = torch.searchsorted(counted, (product >> 32) + 1)  # (B, K): the first to have so many
    u = uniform(product & 0xFFFFFFFF)  # what the choice of the pixel has left over
    row, column = pixel // side, pixel % side
    return tuple(pixel_scale * (at + part - 0.5 * side) for at, part in ((column, u), (row, v)))  # type: ignore[return-value]


def _points(x: Tensor, y: Tensor, mass: Tensor) -> _Places:
    return _Places(x, y, mass, mass, torch.zeros_like(mass), torch.full_like(mass, torch.nan))


def _lay_vortex(vortex: Vortex, scalars: dict[str, Tensor], halo_mass: Tensor, here: Tensor) -> _Places:
    line = torch.linspace(-1.0, 1.0, vortex.elements, device=here.device)
    along = scalars["vortex_half_length"][:, None] * line  # (B, K)
    angle = scalars["vortex_angle"][:, None]
    x = scalars["vortex_x"][:, None] + along * angle.cos()
    y = scalars["vortex_y"][:, None] + along * angle.sin()
    mass = (_total(vortex.mass, halo_mass) / vortex.elements)[:, None] * here
    return _points(x.where(here, 0.0), y.where(here, 0.0), mass.expand_as(x))


def _overlay(groups: list[_Places], number: Tensor) -> _Places:
    """One array of places for the groups: an image belongs to one of them at most, so the others' masses are 0."""
    most = max((group.x.shape[1] for group in groups), default=0)
    whole = _points(*(torch.zeros(len(number), most, device=number.device) for _ in range(3)))
    whole = whole._replace(total=torch.zeros_like(whole.mass))  # of its own
    for group in groups:
        here, width = group.mass > 0, group.x.shape[1]
        for all_of_it, part in zip(whole, group, strict=True):
            all_of_it[:, :width] = torch.where(here, part, all_of_it[:, :width])
    return whole


def _total(mass: Equal, halo_mass: Tensor) -> Tensor:
    return mass.total * halo_mass if mass.of_halo else torch.full_like(halo_mass, mass.total)


def _sersic_priors(name: str, profile: Sersic) -> dict[str, Prior]:
    priors: dict[str, Prior] = {
        f"{name}_radius": profile.radius,
        f"{name}_axis_ratio": profile.axis_ratio,
        f"{name}_angle": profile.angle,
    }
    if isinstance(profile.amplitude, Magnitude):
        priors[f"{name}_magnitude"] = profile.amplitude.prior
    else:
        priors[f"{name}_amplitude"] = profile.amplitude
    if not isinstance(profile.index, (int, float)):
        priors[f"{name}_index"] = profile.index
    return priors


def _amplitudes(lens_set: LensSet, scalars: dict[str, Tensor]) -> dict[str, Tensor]:
    """The amplitudes that follow from magnitudes."""
    found = {}
    for name, light in lens_set.lights.items():
        if f"{name}_magnitude" not in scalars:
            continue
        assert isinstance(lens_set.camera, Telescope)
        flux = 10.0 ** (-0.4 * (scalars[f"{name}_magnitude"] - lens_set.camera.zero_point))
        if name == "source" and "clump_share" in scalars:
            flux = flux * (1.0 - scalars["clump_share"])
        index = scalars.get(f"{name}_index", light.index)
        found[f"{name}_amplitude"] = flux / flux_of_unit(scalars[f"{name}_radius"], index)
    if isinstance(lens_set.source, Pictures):
        # The flux of the body, as a factor of the picture's pixels.
        index, radius = scalars.get("source_index", lens_set.source.body.index), scalars["source_radius"]
        flux = (scalars | found)["source_amplitude"] * flux_of_unit(radius, index)
        found["source_amplitude"] = amplitude_of_picture(flux, radius, lens_set.source, scalars["picture"])
    return found


def _choose_picture(source: Pictures, part: Tensor, unit: Tensor) -> dict[str, Tensor]:
    """Each image's part (a place in `PARTS`) and galaxy, whose radius may follow; `part` and `unit` are uniform."""
    counts = torch.tensor(source.counts, device=part.device)
    ends = torch.tensor(source.gallery.counts, device=part.device).cumsum(0)
    if source.only is None:
        edges = torch.tensor(FRACTIONS, device=part.device).cumsum(0)[:-1]
        chosen = torch.searchsorted(edges.float(), part.contiguous())
    else:
        chosen = counts.argmax().expand(len(part))
    number = (unit * counts[chosen]).long().clamp(max=counts[chosen] - 1)
    picture = ends[chosen] - torch.tensor(source.gallery.counts, device=part.device)[chosen] + number
    found = {"part": chosen.float(), "picture": picture.float()}
    if source.pixel_scale is not None:
        _, half_light, shrunk = on_device(source, part.device)
        found["source_radius"] = half_light[picture] * shrunk[picture] * source.pixel_scale
    return found


def _draw_neighbours(
    lens_set: LensSet, scalars: dict[str, Tensor], low: Tensor, high: Tensor, random: Random
) -> Tensor:
    """What stands beside the lenses, (B, 4, C), see `Draws`; what an image has not is of no brightness."""
    neighbours, camera = lens_set.neighbours, lens_set.camera
    if neighbours is None:
        return low.new_zeros(len(low), 4, 0, dtype=torch.float32)
    assert isinstance(camera, Telescope)
    most = neighbours.number.most
    place = torch.arange(2 * most, device=low.device)
    words = random((place, torch.full_like(place, _NEIGHBOURS), low[:, None], high[:, None]))
    (u, v), (w, last) = (uniform(words[k]).unflatten(1, (2, most)).unbind(1) for k in (0, 1))
    field = camera.pixels * camera.pixel_scale
    radius = neighbours.radius.at(w)
    flux = 10.0 ** (-0.4 * (neighbours.magnitude.at(last) - camera.zero_point))
    there = place[:most] < scalars["neighbours"][:, None]
    amplitude = flux / flux_of_unit(radius, CLUMP_INDEX) * there
    return torch.stack([field * (u - 0.5), field * (v - 0.5), radius, amplitude], 1)


def _draw_field(source: object, scalars: dict[str, Tensor], low: Tensor, high: Tensor, random: Random) -> Tensor:
    """The random fields of the sources, (B, P, P), see `Draws`."""
    if not isinstance(source, Field):
        return low.new_zeros(len(low), 0, 0, dtype=torch.float32)
    words = random(field_words(low, high, _FIELD))
    return random_fields(words, scalars["field_slope"], scalars["field_contrast"])


def _draw_clumps(source: object, scalars: dict[str, Tensor], low: Tensor, high: Tensor, random: Random) -> Tensor:
    """The clumps of the sources, (B, 4, C), see `Draws`."""
    if not isinstance(source, Clumps):
        return low.new_zeros(len(low), 4, 0, dtype=torch.float32)
    place = torch.arange(2 * source.number, device=low.device)
    words = random((place, torch.full_like(place, _CLUMPS), low[:, None], high[:, None]))
    first, second = (words[k].unflatten(1, (2, source.number)).unbind(1) for k in (0, 1))
    along, across = normals(first[0], second[0])  # (B, C)
    own = {name: value[:, None] for name, value in scalars.items()}
    root, spread = own["source_axis_ratio"].sqrt(), source.spread * own["source_radius"]
    cos, sin = own["source_angle"].cos(), own["source_angle"].sin()
    along, across = along * spread / root, across * spread * root
    x, y = own["source_x"] + along * cos - across * sin, own["source_y"] + along * sin + across * cos
    radius = source.radius.at(uniform(first[1])) * own["source_radius"]
    weight = -uniform(second[1]).log()
    # Of the light of all, in units of the body's, whose share is the rest.
    unit = flux_of_unit(own["source_radius"], own.get("source_index", source.body.index))
    light = own["source_amplitude"] * unit * own["clump_share"] / (1.0 - own["clump_share"])
    amplitude = light * weight / weight.sum(1, keepdim=True) / flux_of_unit(radius, CLUMP_INDEX)
    return torch.stack([x, y, radius, amplitude], 1)
