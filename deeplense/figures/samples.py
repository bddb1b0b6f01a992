"""Images in rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deeplense.figures.style import IMAGE_MAP, STYLE, literal, to_display

ROW_LETTERS = 14
"""Of a name beside a row of images, which is an inch high; longer ones have several lines."""


@mpl.rc_context(STYLE)
def plot_samples(file: Path, images: np.ndarray, names: Sequence[str], title: str) -> None:
    """One row of images for each different name.

    Args:
        images: (N, C, H, W), any range.
        names: N names, in rows.
    """
    rows = [[image for image, own in zip(images, names, strict=True) if own == name] for name in dict.fromkeys(names)]
    columns = max(len(row) for row in rows)
    lines = [textwrap.wrap(literal(name), ROW_LETTERS)[:4] for name in dict.fromkeys(names)]
    beside = 0.15 + 0.15 * max(len(line) for line in lines)
    width = max(0.95 * columns + beside, 0.075 * len(title))
    figure = Figure(figsize=(width, 1.0 * len(rows) + 0.35), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes_row, row, name in zip(grid, rows, lines, strict=True):
        for axes, image in zip(axes_row, row, strict=False):
            show_image(axes, image)
        axes_row[0].text(
            -0.06,
            0.5,
            "\n".join(name),
            rotation=90,
            ha="right",
            va="center",
            multialignment="center",
            transform=axes_row[0].transAxes,
            fontsize=9,
        )
    figure.suptitle(literal(title), fontsize=9.5)
    figure.savefig(file)


def show_image(axes: Axes, image: np.ndarray) -> None:
    unit = to_display(image)
    if len(image) == 1:
        axes.imshow(unit[0], cmap=IMAGE_MAP, interpolation="nearest")
    else:
        axes.imshow(np.moveaxis(unit, 0, 2), interpolation="nearest")
