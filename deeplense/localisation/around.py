"""An image unrolled round its centre: where a lens makes a ring, an arc of it looks alike at any angle.

To a convolution on the pixels each direction of an arc is another pattern, to be learned by itself; on a map of radius
and angle they are one, and what is learned of one is known of all. The map closes on itself along the angle.
"""

from __future__ import annotations

import dataclasses
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
        places = Places.of_cells(radii, angles, cells, 2 * cell / images.shape[-1], now.device)
        found = places.product(now) if torch.is_grad_enabled() else places.looked_up(now)
        cos, sin = places.cos.to(found.dtype), places.sin.to(found.dtype)
        return self.last(torch.cat([found, found * cos, found * sin], 1))


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


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the cells of an image lie in a polar map, (cells, cells) each. Values there are linear between the map's
    points; cells nearer or farther than the map get those of its first or last radius."""

    size: tuple[int, int]
    """Radii and angles of the map."""
    row: torch.Tensor
    """From 0 to radii - 1."""
    column: torch.Tensor
    """From 0 up to angles, where it is 0 again."""
    cos: torch.Tensor
    """Of the cells' angles."""
    sin: torch.Tensor

    @classmethod
    def of_cells(cls, radii: int, angles: int, cells: int, step: float, device: torch.device) -> Places:
        """`step`: the side of a cell, of half the image's."""
        axis = (torch.arange(cells, device=device) + 0.5) * step - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        away = (x * x + y * y).sqrt().clamp(min=1e-6)  # the middle cell of an odd number has no angle
        row = ((away - INNER) / (OUTER - INNER) * radii - 0.5).clamp(0, radii - 1)
        column = (torch.atan2(y, x) * (angles / (2 * math.pi))).remainder(angles)
        return cls((radii, angles), row, column, x / away, y / away)

    def looked_up(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, radii, angles) to (B, C, cells, cells)."""
        radii, angles = self.size
        ahead = torch.cat([maps, maps[..., :1]], 3)
        place = torch.stack([(2 * self.column + 1) / (angles + 1) - 1, (2 * self.row + 1) / radii - 1], -1)
        wanted = place.expand(maps.shape[0], -1, -1, -1)  # float32: halves do not tell places apart
        found = F.grid_sample(ahead.float(), wanted, padding_mode="border", align_corners=False)
        return found.to(maps.dtype)

    def product(self, maps: torch.Tensor) -> torch.Tensor:
        """The same as a product of matrices, whose gradient has one order on a GPU, where that of a lookup has none."""
        radii, angles = self.size
        row, column = self.row.flatten(), self.column.flatten()
        rows = (1 - (row - torch.arange(radii, device=row.device)[:, None]).abs()).clamp(min=0)  # (radii, n)
        apart = (column - torch.arange(angles, device=row.device)[:, None]).remainder(angles)
        columns = (1 - torch.minimum(apart, angles - apart)).clamp(min=0)  # (angles, n)
        weights = (rows[:, None] * columns).flatten(0, 1)
        return (maps.flatten(2) @ weights.to(maps.dtype)).unflatten(2, self.row.shape)
