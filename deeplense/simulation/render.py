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
from deeplense.simulation.gallery import Pictures
from deeplense.simulation.instruments import Camera, Telescope
from deeplense.simulation.lights import CLUMP_INDEX, Field, Sersic, exponent
from deeplense.simulation.sets import LensSet
from deeplense.simulation.textures import Texture, look_up, picture

Profile = tuple[Columns, float | Tensor]
"""A Sersic profile: amplitude, radius along the major axis, axis ratio, cosine and sine of the angle, x, y; and its
index, a number or (B, 1)."""


class Rays(NamedTuple):
    """Where the pixels look, and where their rays would meet the source plane if there were subhalos only."""

    x: Tensor
    """(H * W,) arcsec."""
    y: Tensor
    bent_x: Tensor
    """(B, H * W) arcsec."""
    bent_y: Tensor


def render(draws: Draws, lens_set: LensSet, band: int = 0) -> Tensor:
    """The noise-free flux in each pixel, its brightness at the centre times its area, (B, H, W), before any telescope.

    Where the camera asks for k x k points a pixel, of each point, (B, k H, k W): `camera.blur` adds them up. The x
    axis runs along the rows of an image, the y axis along its columns, from the middle of the image. `band` is one of a
    source that has several.
    """
    return trace(subhalo_rays(draws, lens_set), draws, lens_set, band)


def subhalo_rays(draws: Draws, lens_set: LensSet) -> Rays:
    """The rays of each pixel less their deflection by the subhalos."""
    x, y = pixel_grid(lens_set.camera, draws.number.device)  # (H * W,)
    return Rays(x, y, *deflect_subhalos(x, y, draws, lens_set))


def trace(rays: Rays, draws: Draws, lens_set: LensSet, band: int = 0) -> Tensor:
    """Deflect the rays by the main lens, and look up the light where they come from, (B, H, W)."""
    camera = lens_set.camera
    own = {name: value[:, None] for name, value in draws.scalars.items()}  # (B, 1)
    source, *lights = (_profile(own, name, light) for name, light in lens_set.lights.items())
    lens, clumps = main_lens(own, lens_set.halo), draws.clumps if draws.clumps.shape[2] else None
    neighbours = draws.neighbours if draws.neighbours.shape[2] else None
    flux = _kernel(draws.number.device.type)(
        *rays,
        lens,
        source,
        clumps,
        _texture(draws, lens_set, own, band),
        tuple(lights),
        neighbours,
        camera.pixel_area,
    )
    side = camera.pixels * camera.oversample
    return flux.view(-1, side, side)


def _texture(draws: Draws, lens_set: LensSet, own: dict[str, Tensor], band: int) -> tuple[Texture, int, bool] | None:
    """What the source is looked up in, its side, and whether it multiplies a profile and repeats itself."""
    source = lens_set.source
    if isinstance(source, Pictures):
        side = source.gallery.pixels.shape[2]
        return picture(source, own["picture"], own["source_radius"], band), side, False
    if isinstance(source, Field):
        count, side = draws.field.shape[:2]
        start = torch.arange(count, device=draws.field.device)[:, None] * side * side
        return Texture(draws.field.flatten(), start, own["source_radius"] * (source.extent / side)), side, True
    return None


def pixel_grid(camera: Camera | Telescope, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixels' centres, or of the points in them, in arcsec, (H * W,) each, row by row."""
    side, scale = camera.pixels * camera.oversample, camera.pixel_scale / camera.oversample
    axis = (torch.arange(side, device=device) - 0.5 * (side - 1)) * scale
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
    clumps: Tensor | None,
    texture: tuple[Texture, int, bool] | None,
    lights: tuple[Profile, ...],
    neighbours: Tensor | None,
    pixel_area: float,
) -> Tensor:
    """Deflect by the smooth lens, (B, H * W), and look up the light of the source there, and of all else here."""
    halo_x, halo_y, shear_x, shear_y = deflect_halo(x, y, lens)
    ray_x, ray_y = ray_x - halo_x - shear_x, ray_y - halo_y - shear_y
    if texture is None:
        brightness = _sersic(ray_x, ray_y, source)
    else:
        (amplitude, _, _, cos, sin, x0, y0), _ = source
        numbers, side, on_profile = texture
        found = look_up(numbers, side, on_profile, *turn(ray_x - x0, ray_y - y0, cos, sin))
        brightness = found * (_sersic(ray_x, ray_y, source) if on_profile else amplitude)
    if clumps is not None:
        for k in range(clumps.shape[2]):
            brightness = brightness + _clump(ray_x, ray_y, clumps[:, :, k : k + 1].unbind(1))
    for light in lights:
        brightness = brightness + _sersic(x, y, light)
    if neighbours is not None:
        for k in range(neighbours.shape[2]):
            brightness = brightness + _clump(x, y, neighbours[:, :, k : k + 1].unbind(1))
    return brightness * pixel_area


def render_lens_light(draws: Draws, lens_set: LensSet) -> Tensor:
    """The flux of the lens's light alone, as `render` has it."""
    camera = lens_set.camera
    x, y = pixel_grid(camera, draws.number.device)
    own = {name: value[:, None] for name, value in draws.scalars.items()}
    _, *lights = (_profile(own, name, light) for name, light in lens_set.lights.items())
    flux = _light_kernel(draws.number.device.type)(x, y, tuple(lights), camera.pixel_area)
    side = camera.pixels * camera.oversample
    return flux.view(-1, side, side)


@functools.cache
def _light_kernel(kind: str) -> Callable[..., Tensor]:
    return compiled(_sum_lights, kind)


def _sum_lights(x: Tensor, y: Tensor, lights: tuple[Profile, ...], pixel_area: float) -> Tensor:
    brightness = _sersic(x, y, lights[0])
    for light in lights[1:]:
        brightness = brightness + _sersic(x, y, light)
    return brightness * pixel_area


def _sersic(x: Tensor, y: Tensor, profile: Profile) -> Tensor:
    (amplitude, major, axis_ratio, cos, sin, x0, y0), index = profile
    x, y = turn(x - x0, y - y0, cos, sin)
    return brightness_sersic(0.0, 0.0, axis_ratio, None, index, major, amplitude, x, y, k_lenstronomy(index))


def _clump(x: Tensor, y: Tensor, columns: Columns) -> Tensor:
    """A round Gaussian: x, y, half-light radius, amplitude there."""
    x0, y0, radius, amplitude = columns
    square = ((x - x0) * (x - x0) + (y - y0) * (y - y0)) / (radius * radius)
    return amplitude * (-exponent(CLUMP_INDEX) * (square - 1.0)).exp()


def _profile(own: dict[str, Tensor], name: str, profile: Sersic) -> Profile:
    amplitude, radius, axis_ratio, angle = (
        own[f"{name}_{part}"] for part in ("amplitude", "radius", "axis_ratio", "angle")
    )
    centre = "light" if name == "outer" else name
    x, y = own[f"{centre}_x"], own[f"{centre}_y"]
    # caustics measures the radius along the major axis, the sets (with lenstronomy) as the geometric mean.
    major = radius / axis_ratio.sqrt()
    index = profile.index if isinstance(profile.index, (int, float)) else own[f"{name}_index"]
    return (amplitude, major, axis_ratio, angle.cos(), angle.sin(), x, y), index
