"""From parameters to noise-free images: rays from the pixels' centres through the lens to the source."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from caustics.lenses.func import (
    reduced_deflection_angle_external_shear,
    reduced_deflection_angle_sie,
    reduced_deflection_angle_sis,
)
from caustics.light.func import brightness_sersic, k_lenstronomy
from torch import Tensor

from deeplense.compiling import compiled
from deeplense.simulation.draw import Draws
from deeplense.simulation.instruments import Camera
from deeplense.simulation.lights import Sersic
from deeplense.simulation.sets import LensSet

MASSES_AT_ONCE = 25
"""Point masses that one compiled loop sums at most: unrolled, a hundred would take minutes to compile."""

_SOFTENING = 1e-14
"""Square arcsec: keeps a pixel that a point mass falls on finite. 1e-7 arcsec is the last digit of a coordinate."""

Columns = tuple[Tensor, ...]
"""(B, 1) each: one value an image, to go with (B, H * W)."""

Profile = tuple[Columns, float]
"""A Sersic profile: amplitude, radius along the major axis, axis ratio, cosine and sine of the angle, x, y; and its
index."""


def render(draws: Draws, lens_set: LensSet) -> Tensor:
    """The noise-free flux in each pixel, its brightness at the centre times its area, (B, H, W), before any telescope.

    The x axis runs along the rows of an image, the y axis along its columns, from the lens at the centre. Sources:
    isothermal ellipsoid, Keeton (2002) eq. 34; sphere, point mass and shear, Meneghetti's lecture notes eq. 3.46, 3.1
    and 3.80.
    """
    camera = lens_set.camera
    x, y = pixel_grid(camera, draws.number.device)  # (H * W,)
    sum_points, trace = _kernels(draws.number.device.type)
    rays = (
        x.expand(len(draws.number), -1),
        y.expand(len(draws.number), -1),
    )  # (B, H * W) less their deflection
    for block in _blocks(draws):
        rays = sum_points(x, y, *rays, *block)
    own = {name: value[:, None] for name, value in draws.scalars.items()}  # (B, 1)
    twice = 2.0 * own["shear_angle"]
    shear = own["shear"] * twice.cos(), own["shear"] * twice.sin()
    ellipse = (own["axis_ratio"], own["angle"].cos(), own["angle"].sin()) if "angle" in own else None
    source = _profile(own, "source", lens_set.source)
    light = None if lens_set.lens_light is None else _profile(own, "light", lens_set.lens_light)
    flux = trace(x, y, *rays, own["einstein_radius"], ellipse, shear, source, light, camera.pixel_area)
    return flux.view(-1, camera.pixels, camera.pixels)


def pixel_grid(camera: Camera, device: torch.device) -> tuple[Tensor, Tensor]:
    """Coordinates of the pixels' centres in arcsec, (H * W,) each, row by row."""
    axis = (torch.arange(camera.pixels, device=device) - 0.5 * (camera.pixels - 1)) * camera.pixel_scale
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x.flatten(), y.flatten()


@functools.cache
def _kernels(kind: str) -> tuple[Callable[..., tuple[Tensor, Tensor]], Callable[..., Tensor]]:
    return compiled(_sum_points, kind), compiled(_trace, kind)


def _blocks(draws: Draws) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Place and squared Einstein radius of the point masses, `MASSES_AT_ONCE` at a time or all of fewer, (B, width);
    the last block is filled up with none."""
    count = draws.x.shape[1]
    width = min(MASSES_AT_ONCE, count)
    for first in range(0, count, MASSES_AT_ONCE):
        last = first + width
        block = draws.x[:, first:last], draws.y[:, first:last], draws.radius[:, first:last] ** 2
        missing = width - block[0].shape[1]
        x, y, square = (torch.nn.functional.pad(part, (0, missing)).contiguous() for part in block)
        yield x, y, square


def _sum_points(
    x: Tensor, y: Tensor, ray_x: Tensor, ray_y: Tensor, mass_x: Tensor, mass_y: Tensor, square: Tensor
) -> tuple[Tensor, Tensor]:
    """Take the deflection by point masses off the rays.

    This sum is what a simulation costs. Compiled, the loop is one pass over the pixels; caustics' function for a point
    mass has a root in it that cancels.
    """
    for k in range(mass_x.shape[1]):
        dx, dy = x - mass_x[:, k : k + 1], y - mass_y[:, k : k + 1]
        strength = square[:, k : k + 1] / (dx * dx + dy * dy + _SOFTENING)
        ray_x, ray_y = ray_x - strength * dx, ray_y - strength * dy
    return ray_x, ray_y


def _trace(
    x: Tensor,
    y: Tensor,
    ray_x: Tensor,
    ray_y: Tensor,
    einstein_radius: Tensor,
    ellipse: Columns | None,
    shear: Columns,
    source: Profile,
    light: Profile | None,
    pixel_area: float,
) -> Tensor:
    """Deflect by the smooth lens, (B, H * W), and look up the light of the source there, and of the lens here.

    Angles come as cosine and sine, and caustics gets turned coordinates in place of angles: in a fused loop it would
    take the cosine of the same angle at each pixel anew.
    """
    if ellipse is None:
        # Not an ellipse of axis ratio 1: that one's atanh loses four digits in float32.
        halo_x, halo_y = reduced_deflection_angle_sis(0.0, 0.0, einstein_radius, x, y)
    else:
        axis_ratio, cos, sin = ellipse
        turned = _turn(x, y, cos, sin)
        halo_x, halo_y = reduced_deflection_angle_sie(0.0, 0.0, axis_ratio, None, einstein_radius, *turned)
        halo_x, halo_y = _turn(halo_x, halo_y, cos, -sin)
    shear_x, shear_y = reduced_deflection_angle_external_shear(0.0, 0.0, *shear, x, y)
    brightness = _sersic(ray_x - halo_x - shear_x, ray_y - halo_y - shear_y, source)
    if light is not None:
        brightness = brightness + _sersic(x, y, light)
    return brightness * pixel_area


def _turn(x: Tensor, y: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates along axes that are turned by the angle of this cosine and sine."""
    return x * cos + y * sin, y * cos - x * sin


def _sersic(x: Tensor, y: Tensor, profile: Profile) -> Tensor:
    (amplitude, major, axis_ratio, cos, sin, x0, y0), index = profile
    x, y = _turn(x - x0, y - y0, cos, sin)
    return brightness_sersic(0.0, 0.0, axis_ratio, None, index, major, amplitude, x, y, k_lenstronomy(index))


def _profile(own: dict[str, Tensor], name: str, profile: Sersic) -> Profile:
    parts = ("amplitude", "radius", "axis_ratio", "angle", "x", "y")
    amplitude, radius, axis_ratio, angle, x, y = (own[f"{name}_{part}"] for part in parts)
    # caustics measures the radius along the major axis, the sets (with lenstronomy) as the geometric mean.
    major = radius / axis_ratio.sqrt()
    return (amplitude, major, axis_ratio, angle.cos(), angle.sin(), x, y), profile.index
