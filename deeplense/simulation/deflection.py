"""Deflections by the main lens and by its substructure, as compiled loops over the pixels.

Angles come as cosine and sine, and functions get turned coordinates in place of angles: in a fused loop they would take
the cosine of the same angle at each pixel anew.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from caustics.lenses.func import (
    reduced_deflection_angle_external_shear,
    reduced_deflection_angle_sie,
    reduced_deflection_angle_sis,
)
from torch import Tensor

from deeplense.machine.compiling import compiled
from deeplense.simulation.draw import Draws
from deeplense.simulation.lenses import Halo, PowerLawHalo
from deeplense.simulation.profiles import PseudoJaffe, TruncatedNFW
from deeplense.simulation.sets import LensSet

MASSES_AT_ONCE = 25
"""Point masses that one compiled loop sums at most: unrolled, a hundred would take minutes to compile."""
PROFILES_AT_ONCE = 4
"""The same for extended subhalos, whose loop has four times the work."""

_SOFTENING = 1e-14
"""Square arcsec: keeps a pixel that a point mass falls on finite. 1e-7 arcsec is the last digit of a coordinate."""

_LOWEST, _HIGHEST, _BITS = -24, 22, 7
"""A table of a profile goes over x^2 from 2^-24 to 2^22, x the radius in scale radii, in 2^7 steps an octave."""

Columns = tuple[Tensor, ...]
"""(B, 1) each: one value an image, to go with (B, H * W)."""


class Isothermal(NamedTuple):
    """A singular isothermal lens at the origin, (B, 1) each."""

    einstein_radius: Tensor
    ellipse: Columns | None
    """Axis ratio, cosine and sine of the angle."""
    shear: Columns


class PowerLaw(NamedTuple):
    """An elliptical power law, (B, 1) each but for `factors`."""

    einstein_radius: Tensor
    exponent: Tensor
    """Of the deflection: slope - 1."""
    ellipse: Columns
    shear: Columns
    centre: Columns
    factors: Tensor
    """(B, terms) of the series, eq. 29 of Tessore & Metcalf."""
    multipoles: tuple[tuple[int, Tensor, Tensor], ...]
    """Order, strength times cosine and sine of order times angle."""


def main_lens(own: dict[str, Tensor], halo: Halo | PowerLawHalo) -> Isothermal | PowerLaw:
    """The main lens of a batch, from its scalars (B, 1)."""
    ellipse = (own["axis_ratio"], own["angle"].cos(), own["angle"].sin()) if "angle" in own else None
    if isinstance(halo, Halo):
        twice = 2.0 * own["shear_angle"]
        shear = own["shear"] * twice.cos(), own["shear"] * twice.sin()
        return Isothermal(own["einstein_radius"], ellipse, shear)
    assert ellipse is not None
    twice = 2.0 * torch.arange(1, halo.terms + 1, device=ellipse[0].device)
    less = 3.0 - own["slope"]
    multipoles = []
    for multipole in halo.multipoles:
        name = f"multipole{multipole.order}"
        angle = multipole.order * own[f"{name}_angle"]
        multipoles.append((multipole.order, own[name] * angle.cos(), own[name] * angle.sin()))
    return PowerLaw(
        own["einstein_radius"],
        own["slope"] - 1.0,
        ellipse,
        (own["gamma1"], own["gamma2"]),
        (own["lens_x"], own["lens_y"]),
        (twice - less) / (twice + less),
        tuple(multipoles),
    )


def deflect_halo(x: Tensor, y: Tensor, lens: Isothermal | PowerLaw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Deflection at (H * W,) by the smooth lens and by the shear, x and y of each, (B, H * W).

    Isothermal ellipsoid: Keeton (2002) eq. 34; sphere and shear: Meneghetti's lecture notes eq. 3.46 and 3.80.
    """
    shear_x, shear_y = reduced_deflection_angle_external_shear(0.0, 0.0, *lens.shear, x, y)
    if isinstance(lens, PowerLaw):
        return *_power_law(x - lens.centre[0], y - lens.centre[1], lens), shear_x, shear_y
    if lens.ellipse is None:
        # Not an ellipse of axis ratio 1: that one's atanh loses four digits in float32.
        halo_x, halo_y = reduced_deflection_angle_sis(0.0, 0.0, lens.einstein_radius, x, y)
    else:
        axis_ratio, cos, sin = lens.ellipse
        turned = turn(x, y, cos, sin)
        halo_x, halo_y = reduced_deflection_angle_sie(0.0, 0.0, axis_ratio, None, lens.einstein_radius, *turned)
        halo_x, halo_y = turn(halo_x, halo_y, cos, -sin)
    return halo_x, halo_y, shear_x, shear_y


def turn(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates along axes that are turned by the angle of this cosine and sine."""
    return x * cos + y * sin, y * cos - x * sin


def _power_law(x: Tensor, y: Tensor, lens: PowerLaw) -> tuple[Tensor, Tensor]:
    """Tessore & Metcalf 2015, eq. 13 and 23, in real numbers, which are all that a compiler fuses."""
    axis_ratio, cos, sin = lens.ellipse
    turned_x, turned_y = turn(x, y, cos, sin)
    real, imaginary = axis_ratio * turned_x, turned_y
    square = real * real + imaginary * imaginary + _SOFTENING
    flattening = (1.0 - axis_ratio) / (1.0 + axis_ratio)
    # Each term of the series is the one before it, times a factor, times -f z / conj(z): summed from the last one.
    by_real = -flattening * (real * real - imaginary * imaginary) / square
    by_imaginary = -flattening * 2.0 * real * imaginary / square
    sum_real, sum_imaginary = torch.ones_like(by_real), torch.zeros_like(by_real)
    for term in range(lens.factors.shape[1] - 1, -1, -1):
        factor = lens.factors[:, term : term + 1]
        sum_real, sum_imaginary = (
            1.0 + factor * (by_real * sum_real - by_imaginary * sum_imaginary),
            factor * (by_real * sum_imaginary + by_imaginary * sum_real),
        )
    size = lens.einstein_radius * lens.einstein_radius * axis_ratio
    strength = 2.0 / (1.0 + axis_ratio) * (0.5 * lens.exponent * (size / square).log()).exp()
    along = strength * (real * sum_real - imaginary * sum_imaginary)
    across = strength * (real * sum_imaginary + imaginary * sum_real)
    halo_x, halo_y = turn(along, across, cos, -sin)
    if lens.multipoles:
        distance = (x * x + y * y + _SOFTENING).sqrt()
        c, s = x / distance, y / distance
        for order, even, odd in lens.multipoles:
            bent_x, bent_y = _multipole(order, c, s, even, odd)
            halo_x, halo_y = halo_x + bent_x, halo_y + bent_y
    return halo_x, halo_y


def _multipole(order: int, c: Tensor, s: Tensor, even: Tensor, odd: Tensor) -> tuple[Tensor, Tensor]:
    """Xu et al. 2014, eq. B12, at the angle of cosine `c` and sine `s`."""
    cos_m, sin_m = 4.0 * c * c * c - 3.0 * c, 3.0 * s - 4.0 * s * s * s
    if order == 4:
        cos_m, sin_m = c * cos_m - s * sin_m, s * cos_m + c * sin_m
    radial = (even * cos_m + odd * sin_m) / (1 - order * order)
    tangential = (even * sin_m - odd * cos_m) * order / (1 - order * order)
    return c * radial + s * tangential, s * radial - c * tangential


def deflect_subhalos(x: Tensor, y: Tensor, draws: Draws, lens_set: LensSet) -> tuple[Tensor, Tensor]:
    """The coordinates (H * W,) of each image less their deflection by its subhalos, (B, H * W)."""
    subhalos = lens_set.subhalos
    rays = x.expand(len(draws.number), -1), y.expand(len(draws.number), -1)
    if subhalos.compensated:
        # As much mass as the subhalos have, of the opposite sign, spread over the field: its convergence.
        field = (lens_set.camera.pixels * lens_set.camera.pixel_scale) ** 2
        sheet = -math.pi * (draws.radius**2).sum(1, keepdim=True) / field
        rays = rays[0] - sheet * x, rays[1] - sheet * y
    sum_points, sum_profiles = _kernels(draws.number.device.type)
    if subhalos.profile is None:
        for block in _blocks(draws, MASSES_AT_ONCE):
            rays = sum_points(x, y, *rays, *block[:3])
    else:
        table = _table(subhalos.profile, draws.number.device)
        for block in _blocks(draws, PROFILES_AT_ONCE):
            rays = sum_profiles(x, y, *rays, *block, table)
    return rays


@functools.cache
def _kernels(kind: str) -> tuple[Callable[..., tuple[Tensor, Tensor]], Callable[..., tuple[Tensor, Tensor]]]:
    return compiled(_sum_points, kind), compiled(_sum_profiles, kind)


def _blocks(draws: Draws, most: int) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Place, squared Einstein radius and inverse squared scale radius of the subhalos, `most` at a time or all of
    fewer, (B, width); the last block is filled up with none."""
    count = draws.x.shape[1]
    width = min(most, count)
    for first in range(0, count, most):
        last = first + width
        # A point is a profile of no size: far out in its table is all of its mass.
        inverse = draws.scale[:, first:last].clamp(min=1e-12) ** -2
        block = draws.x[:, first:last], draws.y[:, first:last], draws.radius[:, first:last] ** 2, inverse
        if first and block[2].device.type == "cpu" and not block[2].any():
            return  # nor has any image more; asking a GPU would wait for it
        missing = width - block[0].shape[1]
        x, y, square, inverse = (torch.nn.functional.pad(part, (0, missing)).contiguous() for part in block)
        yield x, y, square, inverse


def _sum_points(
    x: Tensor, y: Tensor, ray_x: Tensor, ray_y: Tensor, mass_x: Tensor, mass_y: Tensor, square: Tensor
) -> tuple[Tensor, Tensor]:
    """Take the deflection by point masses off the rays: Meneghetti's lecture notes, eq. 3.1.

    This sum is what a simulation costs. Compiled, the loop is one pass over the pixels; caustics' function for a point
    mass has a root in it that cancels.
    """
    for k in range(mass_x.shape[1]):
        dx, dy = x - mass_x[:, k : k + 1], y - mass_y[:, k : k + 1]
        strength = square[:, k : k + 1] / (dx * dx + dy * dy + _SOFTENING)
        ray_x, ray_y = ray_x - strength * dx, ray_y - strength * dy
    return ray_x, ray_y


def _sum_profiles(
    x: Tensor,
    y: Tensor,
    ray_x: Tensor,
    ray_y: Tensor,
    mass_x: Tensor,
    mass_y: Tensor,
    square: Tensor,
    inverse: Tensor,
    table: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same for subhalos whose mass spreads: of each, what is projected inside the pixel's distance counts.

    That share is looked up in a table over x^2, x the distance in scale radii. The nodes are spaced as float32 is: the
    upper bits of x^2 are the place in the table, the lower ones the way to the next node. It costs 4 times as much as a
    point mass, where the formulas (which cancel in float32) cost 14 times as much.
    """
    below = 23 - _BITS
    for k in range(mass_x.shape[1]):
        dx, dy = x - mass_x[:, k : k + 1], y - mass_y[:, k : k + 1]
        distance = dx * dx + dy * dy + _SOFTENING
        bits = (distance * inverse[:, k : k + 1]).clamp(2.0**_LOWEST, 2.0**_HIGHEST).view(torch.int32)
        node = (bits >> below) - ((127 + _LOWEST) << _BITS)
        way = (bits & ((1 << below) - 1)).to(torch.float32) * 2.0**-below
        here, there = table[node], table[node + 1]
        strength = square[:, k : k + 1] * (here + way * (there - here)) / distance
        ray_x, ray_y = ray_x - strength * dx, ray_y - strength * dy
    return ray_x, ray_y


@functools.cache
def _table(profile: TruncatedNFW | PseudoJaffe, device: torch.device) -> Tensor:
    """Share of a profile's mass inside x, at the nodes of x^2; right to 4e-6 of itself between them."""
    share = profile.enclosed(table_nodes())
    share[-2:] = 1.0  # where points have their mass, 2,048 scale radii out; a truncated NFW halo lacks 1e-5 of it there
    return torch.tensor(share, dtype=torch.float32, device=device)


def einstein_radii(draws: Draws, lens_set: LensSet) -> Tensor:
    """The Einstein radius of each subhalo by itself, (B, K) arcsec; 0 where it is too small for the table.

    It encloses as much mass as a point that has it: share(x) / x^2 = (scale / radius of all the mass)^2.
    """
    profile = lens_set.subhalos.profile
    if profile is None:
        return draws.radius
    nodes = torch.from_numpy(table_nodes()).to(draws.radius.device)
    density = _table(profile, draws.radius.device).double() / nodes**2  # falls all the way
    wanted = (draws.scale / draws.radius.clamp(min=1e-12)).double() ** 2
    place = torch.searchsorted(-density, -wanted).clamp(1, len(nodes) - 1)
    # Between two nodes the density falls as a power of the radius.
    above, below = density[place - 1].log(), density[place].log()
    way = ((above - wanted.clamp(min=1e-300).log()) / (above - below)).clamp(0.0, 1.0)
    found = (nodes[place - 1].log() + way * (nodes[place] / nodes[place - 1]).log()).exp() * draws.scale
    found = found.where(wanted < density[0], 0.0).float()
    return draws.radius.where(draws.scale == 0, found).where(draws.radius > 0, 0.0)


def table_nodes() -> np.ndarray:
    """Radii in scale radii of the nodes of a table, float64, one more than the last, which `there` is read from."""
    count = ((_HIGHEST - _LOWEST) << _BITS) + 2
    bits = (np.arange(count) << (23 - _BITS)) + ((127 + _LOWEST) << 23)
    return np.sqrt(bits.astype(np.int32).view(np.float32).astype(np.float64))
