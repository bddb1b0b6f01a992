"""A figure of samples, to be looked at before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from deeplense.simulation.camera import blur
from deeplense.simulation.draw import Draws
from deeplense.simulation.sets import LensSet, find_classes, find_set
from deeplense.simulation.simulator import Simulator, piece

COLUMNS = 6


def draw_samples(
    name: str | LensSet, file: Path, classes: Sequence[str], seed: int, device: torch.device | str = "cpu"
) -> None:
    """Write a PNG of the first images of each class of a set, by the square root of their counts.

    Below each image of substructure stands its difference from the same lens without: noise-free, through the
    telescope, in per cent of the image's peak.
    """
    found = find_classes(classes)
    lens_set = find_set(name) if isinstance(name, str) else name
    simulator = Simulator(lens_set, found, seed, device)
    rows = [(label, True) for label in range(len(found.kinds))]
    rows += [(label, False) for label, kind in enumerate(found.kinds) if kind != "no_sub"]
    rows.sort(key=lambda row: row[0])
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    figure = Figure(figsize=(1.75 * COLUMNS + 1.1, 1.75 * len(rows) + 0.75), layout=tight, dpi=150)
    figure.suptitle(f"{lens_set.name}, version {lens_set.version}, seed {seed}", fontsize=12)
    axes = figure.subplots(len(rows), COLUMNS, squeeze=False)
    # More than are shown: other shapes than the simulator's own would be compiled for.
    number = torch.arange(piece(simulator.device.type, COLUMNS), device=simulator.device)
    for (label, whole), row in zip(rows, axes, strict=True):
        counts, draws = simulator.make(number, torch.full_like(number, label))
        if whole:
            _show_images(row, counts, draws, simulator)
            row[0].set_ylabel(found.names[label], fontsize=11)
        else:
            _show_differences(figure, row, draws, simulator)
            row[0].set_ylabel("difference", fontsize=9)
    figure.savefig(file)


def _show_images(axes: np.ndarray, counts: torch.Tensor, draws: Draws, simulator: Simulator) -> None:
    half = _half_width(simulator)
    if counts.ndim == 4:
        counts = counts.mean(1)  # bands
    for image, axis in enumerate(axes):
        # The root shows faint arcs beside a bright lens; below zero there is only noise.
        _show(axis, np.sqrt(counts[image].clamp(min=0.0).cpu().numpy()), half, cmap="inferno")
        masses, x, y = (part[image].cpu().numpy() for part in (draws.mass, draws.x, draws.y))
        there = masses > 0
        # The area is the mass's, on a scale that shows 1e6 Msun as a point and 1e10 as a ring.
        area = 1.5 + 90.0 * (masses[there] / 1e10) ** 0.7
        axis.scatter(x[there], y[there], s=area, facecolors="none", edgecolors="#7fe3ff", linewidths=0.6)
        axis.set(xlim=(-half, half), ylim=(-half, half))


def _show_differences(figure: Figure, axes: np.ndarray, draws: Draws, simulator: Simulator) -> None:
    camera, half = simulator.lens_set.camera, _half_width(simulator)
    with_masses = blur(simulator.render(draws), camera)
    difference = with_masses - blur(simulator.render(draws.smooth()), camera)
    percent = (100.0 * difference / with_masses.amax((1, 2), keepdim=True))[:COLUMNS].cpu().numpy()
    # One scale for the row. The few pixels next to a mass would wash out all others.
    top = float(np.quantile(np.abs(percent), 0.998))
    for image, axis in enumerate(axes):
        shown = _show(axis, percent[image], half, cmap="RdBu_r", vmin=-top, vmax=top)
    figure.colorbar(shown, ax=list(axes), fraction=0.02, pad=0.01, extend="both").set_label("% of the peak", fontsize=8)


def _show(axis: Axes, image: np.ndarray, half: float, **how: Any) -> AxesImage:
    axis.set(xticks=[], yticks=[])
    return axis.imshow(image, origin="lower", extent=(-half, half, -half, half), interpolation="nearest", **how)


def _half_width(simulator: Simulator) -> float:
    camera = simulator.lens_set.camera
    return 0.5 * camera.pixels * camera.pixel_scale
