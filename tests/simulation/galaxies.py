"""Galaxies made for the tests, as files of other people's."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def spiral(seed: int, side: int = 64, bands: int = 1) -> np.ndarray:
    """(bands, side, side) float32: an inclined disk with two arms, noise, and a sky of 5."""
    random = np.random.default_rng(seed)
    axis = np.arange(side) - 0.5 * (side - 1)
    x, y = np.meshgrid(axis, axis)
    angle, ratio, winding = random.uniform(0, np.pi), random.uniform(0.5, 1), random.uniform(1, 3)
    along, across = x * np.cos(angle) + y * np.sin(angle), (y * np.cos(angle) - x * np.sin(angle)) / ratio
    radius = np.hypot(along, across) / (0.1 * side)
    arms = 1 + 0.7 * np.cos(2 * np.arctan2(across, along) - winding * np.log1p(radius))
    disk = 100 * np.exp(-radius) * arms
    noise = random.normal(5, 0.5, (bands, side, side))
    return (disk * np.linspace(1, 0.5, bands)[:, None, None] + noise).astype(np.float32)


def write_galaxies(folder: Path, count: int = 20, bands: int = 1, side: int = 64) -> Path:
    """A folder of `.npy`."""
    folder.mkdir(exist_ok=True)
    for seed in range(count):
        np.save(folder / f"galaxy{seed:02d}.npy", spiral(seed, side, bands))
    return folder
