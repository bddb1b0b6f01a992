"""An image unrolled round its centre: where a lens makes a ring, an arc of it looks alike at any angle.

To a convolution on the pixels each direction of an arc is another pattern, to be learned by itself; on a map of radius
and angle they are one, and what is learned of one is known of all. The map closes on itself along the angle.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F

INNER, OUTER = 0.12, 0.98
"""Least and largest radius, of half the image's side."""
WIDTHS = (24, 48, 96, 128)
"""Of the levels, each with half the radii and angles of the one before."""
_ROWS = 4
"""Radii of the coarsest level that are told apart in what goes to all places."""
_WHOLE = _ROWS * 2 ** (len(WIDTHS) - 1)
"""Radii come in multiples of this: then rows are of as many each, and a quarter turn is a whole number of the coarsest
level's angles."""


class Around(torch.nn.Module):
    """A pyramid over radius and angle, down and up again, and its finest level brought back to the image's cells."""

    def __init__(self, channels: int, width: int) -> None:
        """
        Args:
            channels: of the images.
            width: of the result.
        """
        super().__init__()
        inside = (channels + 1, *WIDTHS)
        self.down = torch.nn.ModuleList(
            torch.nn.Sequential(_Turning(inside[level], own, 1 if level == 0 else 2), _Turning(own, own))
            for level, own in enumerate(WIDTHS)
        )
        self.whole = torch.nn.Linear(_ROWS * WIDTHS[-1], WIDTHS[-1])
        self.narrow = torch.nn.ModuleList(
            torch.nn.Conv2d(coarse, fine, 1) for fine, coarse in itertools.pairwise(WIDTHS)
        )
        self.mix = torch.nn.ModuleList(_Turning(fine, fine) for fine in WIDTHS[:-1])
        # What points along the radius is told along x and y.
        self.last = torch.nn.Conv2d(3 * WIDTHS[0], width, 1)

    def forward(self, images: torch.Tensor, cell: int) -> torch.Tensor:
        """(B, C, S, S) to (B, width, n, n), of cells of `cell` pixels a side that cover the image."""
        polar, cells = unrolled(images), math.ceil(images.shape[-1] / cell)
        radii, angles = polar.shape[2:]
        radius = _radii(radii, polar.device)[:, None].expand_as(polar[:, :1])
        levels, now = [], torch.cat([polar, radius], 1)
        for down in self.down:
            now = down(now)
            levels.append(now)
        # Not by adaptive pooling, whose gradient has no fixed order on a GPU.
        whole = self.whole(now.unflatten(2, (_ROWS, -1)).mean((3, 4)).flatten(1))
        now = now + whole[:, :, None, None]
        for narrow, mix, finer in zip(reversed(self.narrow), reversed(self.mix), levels[-2::-1], strict=True):
            now = mix(finer + F.interpolate(narrow(now), size=finer.shape[2:], mode="nearest"))
        back, cos, sin = _back(radii, angles, cells, 2 * cell / images.shape[-1], now.device)
        found = (now.flatten(2) @ back.to(now.dtype)).unflatten(2, (cells, cells))
        return self.last(torch.cat([found, found * cos.to(found.dtype), found * sin.to(found.dtype)], 1))


class _Turning(torch.nn.Module):
    """A 3 x 3 convolution that goes on at the first angle after the last one, batch norm, and what is above 0."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(inside, outside, 3, stride=stride, padding=(1, 0), bias=False)
        self.norm = torch.nn.BatchNorm2d(outside)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        around = torch.cat([maps[..., -1:], maps, maps[..., :1]], 3)  # circular padding would undo channels_last
        return F.relu(self.norm(self.conv(around)), inplace=True)


def unrolled(images: torch.Tensor) -> torch.Tensor:
    """Images (B, C, S, S) at (B, C, radii, angles): as many radii as half the side has pixels or a few more, and three
    times as many angles, the first along x."""
    radii = _WHOLE * math.ceil(images.shape[-1] / 2 / _WHOLE)
    radius = _radii(radii, images.device)[:, None]
    angle = 2 * math.pi * torch.arange(3 * radii, device=images.device) / (3 * radii)
    places = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)
    wanted = places.expand(images.shape[0], -1, -1, -1)  # not by len: an exported network takes any number
    return F.grid_sample(images.float(), wanted, mode="bicubic", padding_mode="border", align_corners=False)


def _radii(count: int, device: torch.device) -> torch.Tensor:
    return INNER + (OUTER - INNER) * (torch.arange(count, device=device) + 0.5) / count


def _back(
    radii: int, angles: int, cells: int, step: float, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights (radii angles, cells cells) of the polar map's points in each cell, linear between them; and the cosine
    and sine of the cells' angles, (cells, cells). Cells nearer or farther than the map get its first or last radius.

    `step`: the side of a cell, of half the image's.

    They are for a product of matrices, since the gradient of a lookup has no fixed order on a GPU.
    """
    axis = (torch.arange(cells, device=device) + 0.5) * step - 1
    y, x = (part.flatten() for part in torch.meshgrid(axis, axis, indexing="ij"))
    away = (x * x + y * y).sqrt().clamp(min=1e-6)  # the middle cell of an odd number has no angle
    row = ((away - INNER) / (OUTER - INNER) * radii - 0.5).clamp(0, radii - 1)
    column = torch.atan2(y, x) * (angles / (2 * math.pi))
    rows = (1 - (row - torch.arange(radii, device=device)[:, None]).abs()).clamp(min=0)  # (radii, n)
    apart = (column - torch.arange(angles, device=device)[:, None]).remainder(angles)
    columns = (1 - torch.minimum(apart, angles - apart)).clamp(min=0)  # (angles, n)
    weights = (rows[:, None] * columns).flatten(0, 1)
    return weights, (x / away).view(cells, cells), (y / away).view(cells, cells)
