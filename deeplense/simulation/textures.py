"""Textures of sources on the device: pictures, and random fields, looked up between their pixels."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from deeplense.simulation.counters import Words, normals
from deeplense.simulation.gallery import TOTAL, Pictures
from deeplense.simulation.lights import FIELD_PIXELS


class Texture(NamedTuple):
    """Squares of numbers, one for each image of a batch."""

    numbers: Tensor
    """All of them, row by row."""
    start: Tensor
    """(B, 1) int64: where each image's begins."""
    pixel: Tensor
    """(B, 1) arcsec along the side of a pixel."""


def look_up(texture: Texture, side: int, repeats: bool, x: Tensor, y: Tensor) -> Tensor:
    """The numbers at places (B, H * W) in arcsec from the square's middle, linear between its pixels.

    Beyond the square it is repeated, or there is what the edge has: zeros, of pictures.
    """
    column, row = x / texture.pixel + 0.5 * (side - 1), y / texture.pixel + 0.5 * (side - 1)
    if not repeats:
        column, row = column.clamp(0.0, side - 1.001), row.clamp(0.0, side - 1.001)
    left, top = column.floor(), row.floor()
    across, down = column - left, row - top
    left, top = left.long(), top.long()
    right, bottom = left + 1, top + 1
    if repeats:
        left, top, right, bottom = (place % side for place in (left, top, right, bottom))

    def at(i: Tensor, j: Tensor) -> Tensor:
        return texture.numbers[texture.start + i * side + j].to(torch.float32)

    above = at(top, left) * (1.0 - across) + at(top, right) * across
    below = at(bottom, left) * (1.0 - across) + at(bottom, right) * across
    return above * (1.0 - down) + below * down


@functools.cache
def on_device(source: Pictures, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (flat), half-light radii and pixels of the file in one of these, of all galaxies of a source."""
    gallery = source.gallery
    return (
        torch.from_numpy(gallery.pixels).to(device).flatten(),
        torch.from_numpy(gallery.half_light).to(device),
        torch.from_numpy(gallery.shrunk).to(device),
    )


def picture(source: Pictures, chosen: Tensor, radius: Tensor, band: int) -> Texture:
    """Of galaxies `chosen` (B, 1) with half-light radii in arcsec; their light in all is that of `TOTAL` pixels."""
    numbers, half_light, _ = on_device(source, radius.device)
    bands, side = source.gallery.pixels.shape[1:3]
    which = chosen.long()
    return Texture(numbers, (which * bands + band) * side * side, radius / half_light[which])


def amplitude_of_picture(flux: Tensor, radius: Tensor, source: Pictures, chosen: Tensor) -> Tensor:
    """What a picture's numbers are multiplied by to be flux per square arcsec, (B,)."""
    _, half_light, _ = on_device(source, radius.device)
    return flux / TOTAL / (radius / half_light[chosen.long()]) ** 2


def field_words(low: Tensor, high: Tensor, purpose: int) -> Words:
    """The random counters of a batch's fields: four words for each four pixels."""
    place = torch.arange(FIELD_PIXELS**2 // 4, device=low.device)
    return place, torch.full_like(place, purpose), low[:, None], high[:, None]


def random_fields(words: Words, slope: Tensor, contrast: Tensor) -> Tensor:
    """Log-normal random fields (B, P, P) of mean 1, which repeat themselves beyond their edges.

    The logarithm is Gaussian with power as k^-slope, but none in the mean, and standard deviation `contrast`, (B,)
    each.
    """
    white = torch.cat([*normals(words[0], words[1]), *normals(words[2], words[3])], 1)
    frequency = torch.fft.fftfreq(FIELD_PIXELS, device=slope.device)
    square = frequency[:, None] ** 2 + frequency[: FIELD_PIXELS // 2 + 1] ** 2
    square[0, 0] = math.inf
    size = (-0.25 * slope[:, None, None] * square.log()).exp()  # root of the power
    waves = torch.fft.rfft2(white.view(-1, FIELD_PIXELS, FIELD_PIXELS)) * size
    gauss = torch.fft.irfft2(waves, s=(FIELD_PIXELS, FIELD_PIXELS))
    gauss = gauss * (contrast[:, None, None] / gauss.std((1, 2), keepdim=True))
    bright = gauss.exp()
    return bright / bright.mean((1, 2), keepdim=True)
