"""From parameters to noise-free images: rays from the pixels' centres through the lens to the source."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from caustics.light.func import brightness_sersic, k_lenstronomy
from torch import Tensor

from deeplense.machine.compiling import compiled
from deeplense.simulation.deflection import (
    Columns,
    Isothermal,
    PowerLaw,
    deflect_halo,
    deflect_subhalos,
    main_lens,
    turn,
)
from deeplense.simulation.draw import Draws
from deeplense.simulation.instruments import Camera
from deeplense.simulation.lights import Sersic
from deeplense.simulation.sets import LensSet

Profile = tuple[Columns, float]
"""A Sersic profile: amplitude, radius along the major axis, axis ratio, cosine and sine of the angle, x, y; and its
index."""


class Rays(NamedTuple):
    """Where the pixels look, and where their rays would meet the source plane if there were subhalos only."""

    x: Tensor
    """(H * W,) arcsec."""
    y: Tensor
    bent_x: Tensor
    """(B, H * W) arcsec."""
    bent_y: Tensor


def render(draws: Draws, lens_set: LensSet) -> Tensor:
    """The noise-free flux in each pixel, its brightness at the centre times its area, (B, H, W), before any telescope.

    The x axis runs along the rows of an image, the y axis along its columns, from the middle of the image.
    """
    return trace(subhalo_rays(draws, lens_set), draws, lens_set)


def subhalo_rays(draws: Draws, lens_set: LensSet) -> Rays:
    """The rays of each pixel less their deflection by the subhalos."""
    x, y = pixel_grid(lens_set.camera, draws.number.device)  # (H * W,)
    return Rays(x, y, *deflect_subhalos(x, y, draws, lens_set))


def trace(rays: Rays, draws: Draws, lens_set: LensSet) -> Tensor:
    """Deflect the rays by the main lens, and look up the light where they come from, (B, H, W)."""
    camera = lens_set.camera
    own = {name: value[:, None] for name, value in draws.scalars.items()}  # (B, 1)
    source = _profile(own, "source", lens_set.source)
    light = None if lens_set.lens_light is None else _profile(own, "light", lens_set.lens_light)
    flux = _kernel(draws.number.device.type)(*rays, main_lens(own, lens_set.halo), source, light, camera.pixel_area)
    return flux.view(-1, camera.pixels, camera.pixels)


def pixel_grid(camera: Camera, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixels' centres in arcsec, (H * W,) each, row by row."""
    axis = (torch.arange(camera.pixels, device=device) - 0.5 * (camera.pixels - 1)) * camera.pixel_scale
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten(), y.flatten()


@functools.cache
def _kernel(kind: str) -> Callable[..., Tensor]:
    return compiled(_trace, kind)


def _trace(
    x: Tensor,
    y: Tensor,
    ray_x: Tensor,
    ray_y: Tensor,
    lens: Isothermal | PowerLaw,
    source: Profile,
    light: Profile | None,
    pixel_area: float,
) -> Tensor:
    """Deflect by the smooth lens, (B, H * W), and look up the light of the source there, and of the lens here."""
    halo_x, halo_y, shear_x, shear_y = deflect_halo(x, y, lens)
    brightness = _sersic(ray_x - halo_x - shear_x, ray_y - halo_y - shear_y, source)
    if light is not None:
        brightness = brightness + _sersic(x, y, light)
    return brightness * pixel_area


def _sersic(x: Tensor, y: Tensor, profile: Profile) -> Tensor:
    (amplitude, major, axis_ratio, cos, sin, x0, y0), index = profile
    x, y = turn(x - x0, y - y0, cos, sin)
    return brightness_sersic(0.0, 0.0, axis_ratio, None, index, major, amplitude, x, y, k_lenstronomy(index))


def _profile(own: dict[str, Tensor], name: str, profile: Sersic) -> Profile:
    parts = ("amplitude", "radius", "axis_ratio", "angle", "x", "y")
    amplitude, radius, axis_ratio, angle, x, y = (own[f"{name}_{part}"] for part in parts)
    # caustics measures the radius along the major axis, the sets (with lenstronomy) as the geometric mean.
    major = radius / axis_ratio.sqrt()
    return (amplitude, major, axis_ratio, angle.cos(), angle.sin(), x, y), profile.index
