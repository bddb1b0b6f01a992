"""How like the images that a run knows some images are."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from deeplense.figures.samples import show_image
from deeplense.figures.style import COLORS, STYLE
from deeplense.scores.familiarity import Look

SHOWN = 12
"""Strange images in the figure."""
FARTHEST = 1000.0
"""Strangeness that the axis ends at; what is beyond is in the last bin."""


@mpl.rc_context(STYLE)
def plot_familiarity(file: Path, look: Look, images: np.ndarray, rows: np.ndarray, title: str) -> None:
    """The strangeness of the images and of validation images, and the strangest images.

    Args:
        images: (m, C, H, W), any range, of the images `rows` (m,), the strangest first.
    """
    figure = Figure(figsize=(6.9, 3.3), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.15, 1))[0]
    axes = left.subplots()
    known = look.known.max(1)
    shown = [np.clip(np.arcsinh(values), None, np.arcsinh(FARTHEST)) for values in (known, look.strangeness)]
    bins = np.linspace(min(map(np.min, shown)), max(2.0, *map(np.max, shown)) + 1e-9, 41).tolist()
    for values, color, name in zip(shown, (COLORS[5], COLORS[0]), ("validation images", "these images"), strict=True):
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.35, color=color)
        axes.hist(values, bins, weights=weights, histtype="step", color=color, label=name)
    axes.axvline(np.arcsinh(look.border), color="0.3", linewidth=0.8, linestyle="--", label="foreign from here on")
    ticks = [tick for tick in (0, 1, 3, 10, 30, 100, 300, 1000) if np.arcsinh(tick) <= bins[-1]]
    axes.set_xticks(np.arcsinh(ticks), map(str, ticks))
    axes.set(yscale="log", xlabel="strangeness", ylabel="share of images")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.45)  # room for the legend above the bars
    axes.legend(loc="upper right", fontsize=8)
    axes.set_title(f"{title}\n{look.foreign.sum()} of {len(look.foreign)} are foreign ({look.unfamiliar:.1%})")
    grid = right.subplots(3, SHOWN // 3, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, row in zip(grid.flat, images, rows, strict=False):
        show_image(axes, image)
        axes.set_title(f"{look.strangeness[row]:.3g}", fontsize=7, loc="center", pad=2)
    right.suptitle("the strangest, by their strangeness", fontsize=9)
    figure.savefig(file)
