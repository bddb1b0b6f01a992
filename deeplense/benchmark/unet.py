"""A U-Net that says the mass class of each pixel, as Ostdiek, Diaz Rivero & Dvorkin 2020 (arXiv:2009.06639) and Tsang
et al. 2024 (arXiv:2401.16624) have it: disks of two pixels about each subhalo, five classes of mass and none, and
cross-entropy. The disks are centred on the pixels' own centres.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deeplense.localisation.detections import BEAM, MOST, Detections
from deeplense.localisation.network import CELL

CLASSES = 5
DISK = 2.0
"""Pixels, radius."""
WIDTHS = (32, 64, 128, 256)


class UNet(torch.nn.Module):
    """Ronneberger et al. 2015 (arXiv:1505.04597), with batch norm and padded convolutions."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        inside = (channels, *WIDTHS[:-1])
        self.down = torch.nn.ModuleList(_pair(*ends) for ends in zip(inside, WIDTHS, strict=True))
        self.up = torch.nn.ModuleList(_pair(low + high, low) for low, high in itertools.pairwise(WIDTHS))
        self.last = torch.nn.Conv2d(WIDTHS[0], 1 + CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) to logits (B, 1 + CLASSES, S, S); the first one is of none."""
        kept: list[Tensor] = []
        features = images
        for level, block in enumerate(self.down):
            features = block(F.max_pool2d(features, 2) if level else features)
            kept.append(features)
        for level in range(len(self.up) - 1, -1, -1):
            wide = F.interpolate(features, size=kept[level].shape[2:], mode="nearest")
            features = self.up[level](torch.cat([kept[level], wide], 1))
        return self.last(features)


def _pair(inside: int, outside: int) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for first, last in ((inside, outside), (outside, outside)):
        layers += [torch.nn.Conv2d(first, last, 3, padding=1, bias=False), torch.nn.BatchNorm2d(last)]
        layers += [torch.nn.ReLU(inplace=True)]
    return torch.nn.Sequential(*layers)


def disks(places: Tensor, there: Tensor, size: int, masses: tuple[float, float]) -> Tensor:
    """The class of each pixel, (B, size, size) int64.

    Args:
        places: (B, K, 3) x and y in cells and log10 mass.
        there: (B, K).
        masses: log10 of the least and the greatest, between which the classes are equal.
    """
    axis = torch.arange(size, device=places.device) + 0.5
    x, y = places[..., 0] * CELL, places[..., 1] * CELL
    low, high = masses
    number = 1 + ((places[..., 2] - low) / (high - low) * CLASSES).long().clamp(0, CLASSES - 1)  # (B, K)
    square = (axis[None, None, None, :] - x[..., None, None]) ** 2 + (axis[:, None] - y[..., None, None]) ** 2
    inside = (square < DISK**2) & there[..., None, None]  # (B, K, S, S)
    return (inside * number[..., None, None]).amax(1)


@torch.no_grad()
def found_by(logits: Tensor, masses: tuple[float, float]) -> tuple[np.ndarray, Detections]:
    """The score of each image, (n,), the largest summed probability of all masses in a pixel; and its detections: such
    maxima, none within a beam of a larger one, with the mean of the classes as mass."""
    chances = logits.softmax(1)
    some = 1 - chances[:, 0]  # (n, S, S)
    peaks = (some == F.max_pool2d(some[:, None], 5, 1, 2)[:, 0]) & (some > 0.01)
    low, high = masses
    middle = low + (torch.arange(CLASSES, device=logits.device) + 0.5) * (high - low) / CLASSES
    mass = (chances[:, 1:] * middle[:, None, None]).sum(1) / some.clamp(min=1e-9)
    image, row, column = (part.cpu().numpy() for part in peaks.nonzero(as_tuple=True))
    score = some[peaks].double().cpu().numpy()
    order = np.lexsort((-score, image))
    columns = (image, score, (column + 0.5) / CELL, (row + 0.5) / CELL, mass[peaks].double().cpu().numpy())
    image, score, x, y, log_mass = (values[order] for values in columns)
    return some.flatten(1).amax(1).double().cpu().numpy(), thinned(image, score, x, y, log_mass)


def thinned(image: np.ndarray, score: np.ndarray, x: np.ndarray, y: np.ndarray, log_mass: np.ndarray) -> Detections:
    """Detections of plain arrays (m,), sorted by image and score: none within a beam of a better one; places in
    cells, errors of one cell and one dex until somebody knows better."""
    kept = np.zeros(len(image), dtype=bool)
    for number in range(len(image)):
        start = np.searchsorted(image, image[number])
        before = start + np.flatnonzero(kept[start:number])
        apart = np.hypot(x[before] - x[number], y[before] - y[number])
        kept[number] = len(before) < MOST and not (apart < BEAM / CELL).any()
    one = np.ones(int(kept.sum()))
    return Detections(image[kept], score[kept], x[kept], y[kept], one, one, log_mass[kept], one)
