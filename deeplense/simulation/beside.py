"""A figure of a set beside a telescope's own images, to see whether they could be taken for one another."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from deeplense.simulation.camera import blur
from deeplense.simulation.draw import Draws
from deeplense.simulation.reading import read_images
from deeplense.simulation.sets import LensSet, find_classes
from deeplense.simulation.simulator import Simulator, piece

COLUMNS = 6


def draw_beside(lens_set: LensSet, folder: Path, file: Path, seed: int, device: torch.device | str = "cpu") -> None:
    """Write a PNG: images of a folder, the set's first ones, and what each subhalo of these changes.

    The greys of both are alike: arcsinh of what is above the sky, in units of four times its noise, from the faintest
    to the brightest of an image. Larger images are cut to the set's number of pixels. The last row has the noise-free
    difference that one subhalo makes, each the heaviest that was not shown yet, in units of the image's noise.

    Raises:
        InputError: no image there, or one that cannot be read.
    """
    side = lens_set.camera.pixels
    real = [_cut(image, side) for image in read_beside(folder)]
    simulator = Simulator(lens_set, find_classes(["cdm"]), seed, device)
    number = torch.arange(piece(simulator.device.type, COLUMNS), device=simulator.device)
    counts, draws = simulator.make(number, torch.zeros_like(number))
    images = counts if counts.ndim == 3 else counts.mean(1)
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(1.75 * COLUMNS + 0.6, 1.75 * 3 + 0.3), layout=tight, dpi=110)
    axes = figure.subplots(3, COLUMNS)
    for row, some, title in ((axes[0], real, "telescope"), (axes[1], images.cpu().numpy(), lens_set.name)):
        row[0].set_ylabel(title)
        for axis, image in zip(row, some, strict=False):
            axis.imshow(_greys(image), cmap="gray", origin="lower", interpolation="nearest")
    axes[2, 0].set_ylabel("one subhalo")
    for axis, difference in zip(axes[2], _differences(draws, simulator), strict=False):
        top = max(float(np.abs(difference).max()), 1e-12)
        axis.imshow(difference, cmap="RdBu_r", origin="lower", vmin=-top, vmax=top, interpolation="nearest")
        axis.set_xlabel(f"up to {top:.2g} times the noise", fontsize=7)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.savefig(file)


def read_beside(folder: Path) -> list[np.ndarray]:
    """The telescope's images that are shown, (H, W) each.

    Raises:
        InputError: see `draw_beside`.
    """
    return [image.mean(0) for _, image in islice(read_images(folder, "--beside"), COLUMNS)]


def _cut(image: np.ndarray, side: int) -> np.ndarray:
    top, left = (max((length - side) // 2, 0) for length in image.shape)
    return image[top : top + side, left : left + side].astype(np.float64)


def _greys(image: np.ndarray) -> np.ndarray:
    width = max(len(image) // 10, 2)
    ends = slice(width), slice(-width, None)
    corners = [image[rows, columns] for rows in ends for columns in ends]
    sky = min(float(np.median(corner)) for corner in corners)
    noise = min(float(np.std(np.diff(corner, axis=1))) for corner in corners) / np.sqrt(2.0)
    return np.arcsinh((image - sky) / (4.0 * max(noise, 1e-12)))


def _differences(draws: Draws, simulator: Simulator) -> list[np.ndarray]:
    """What a subhalo changes in units of the noise, (H, W) each: those of the first image by mass, then of the next."""
    order = draws.mass.argsort(1, descending=True)
    pairs = [(i, int(k)) for i, row in enumerate(order) for k in row[:COLUMNS] if draws.mass[i, k] > 0]
    pairs = (pairs * COLUMNS)[:COLUMNS]
    if not pairs:
        return []
    places = torch.arange(len(draws.number), device=simulator.device)
    which = torch.tensor([image for image, _ in pairs], device=simulator.device)
    one_of_each = draws.take(which[places % len(pairs)])
    radius = one_of_each.radius.clone()
    for place, (_, k) in enumerate(pairs):
        radius[place, k] = 0.0
    camera = simulator.lens_set.camera
    image = blur(simulator.render(one_of_each), camera)
    without = blur(simulator.render(replace(one_of_each, radius=radius)), camera)
    noise = (image / one_of_each.scalars["exposure"][:, None, None] + camera.background_rms**2).sqrt()
    return list(((image - without) / noise)[: len(pairs)].cpu().numpy())
