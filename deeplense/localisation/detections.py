"""From a density of subhalos to single ones, each with its place, mass and probability, and their uncertainties."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from deeplense.localisation.network import CELL, DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA

ROUND = 3
"""Cells a side of the square round a maximum that are one detection. Six pixels: they hold nearly all of what a network
that knows the place to a pixel spreads about it."""
BEAM = 2.0
"""Pixels that two detections of an image are apart, at least."""
FAINTEST = 0.01
"""Expected number below which nothing is called a detection."""
MOST = 64
"""Detections in an image."""


@dataclasses.dataclass(frozen=True)
class Detections:
    """The detections of n images, the most probable of each first; places and their sigmas in cells."""

    image: np.ndarray
    """(m,) rows of the n images, ascending."""
    expected: np.ndarray
    """(m,) the integral of the density round each: the expected number of subhalos there."""
    x: np.ndarray
    y: np.ndarray
    x_sigma: np.ndarray
    y_sigma: np.ndarray
    log10_mass: np.ndarray
    log10_mass_sigma: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    def take(self, which: np.ndarray | slice) -> Detections:
        """Some of them, by a mask or by their places."""
        fields = dataclasses.fields(self)
        return Detections(*(getattr(self, field.name)[which] for field in fields))


@torch.no_grad()
def detect(outputs: torch.Tensor) -> Detections:
    """The detections of images from what the network says of them, (n, 6, h, w).

    Again and again the densest cell is taken, and what the square of `ROUND` cells round it holds is taken away, so
    that nothing is counted twice: the expected numbers of an image's detections sum to no more than the whole. Place
    and mass are the means of the mixture in the square, and their sigmas its standard deviations. What lies within a
    beam of a stronger one is its wing, and no detection.
    """
    left = outputs[:, LOG_DENSITY].exp().clone()  # (n, h, w)
    moments = _moments(outputs)
    found: list[torch.Tensor] = []
    active = torch.arange(len(outputs), device=outputs.device)
    kept_x = torch.full((len(outputs), MOST), torch.inf, device=outputs.device)
    kept_y = kept_x.clone()
    for turn in range(MOST):
        peak = left[active].flatten(1).argmax(1)
        cells, inside = _square(peak, *outputs.shape[2:])  # (b, 9) flat places in the map
        weight = left[active].flatten(1).gather(1, cells) * inside
        number = weight.sum(1)
        strong = number > FAINTEST
        active, number, weight = active[strong], number[strong], weight[strong]
        cells, inside = cells[strong], inside[strong]
        if not len(active):
            break
        own = moments[active].flatten(2).gather(2, cells[:, None].expand(-1, 6, -1))  # (b, 6, 9)
        share = (weight / number[:, None])[:, None]
        x, y, mass = (own[:, :3] * share).sum(2).unbind(1)
        spread = ((own[:, 3:] + (own[:, :3] - torch.stack([x, y, mass], 1)[..., None]) ** 2) * share).sum(2).sqrt()
        apart = torch.hypot(kept_x[active] - x[:, None], kept_y[active] - y[:, None]).amin(1) >= BEAM / CELL
        row = torch.stack([active.to(x.dtype), number, x, y, *spread[:, :2].unbind(1), mass, spread[:, 2]], 1)
        found.append(row[apart].double())
        kept_x[active, turn], kept_y[active, turn] = x.where(apart, torch.inf), y.where(apart, torch.inf)
        flat = left.flatten(1)  # a view
        flat[active[:, None].expand_as(cells)[inside], cells[inside]] = 0.0
    table = torch.cat(found).cpu().numpy() if found else np.empty((0, 8))
    table = table[np.lexsort((-table[:, 1], table[:, 0]))]
    return Detections(table[:, 0].astype(np.int64), *table[:, 1:].T)


def _moments(outputs: torch.Tensor) -> torch.Tensor:
    """Means of x, y (cells) and log-mass, and their variances, of each cell's Gaussians: (n, 6, h, w)."""
    height, width = outputs.shape[2:]
    x = torch.arange(width, device=outputs.device) + 0.5 + outputs[:, DX]
    y = torch.arange(height, device=outputs.device)[:, None] + 0.5 + outputs[:, DY]
    place, mass = ((2 * outputs[:, channel]).exp() for channel in (LOG_SIGMA, LOG_MASS_SIGMA))
    return torch.stack([x, y, outputs[:, LOG_MASS], place, place, mass], 1)


def _square(peak: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells round `peak` (b,), as places in the flattened map, (b, 9), and which of them are on it."""
    step = torch.arange(-(ROUND // 2), ROUND // 2 + 1, device=peak.device)
    rows = (peak // width)[:, None, None] + step[:, None]
    columns = (peak % width)[:, None, None] + step
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    cells = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    return cells.flatten(1), inside.flatten(1)
