"""The figure of attribution maps: each image, and beside it what in it spoke for substructure and what against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from deeplense.data.truth import HEAVY, Truth, peak_positions
from deeplense.figures.style import IMAGE_MAP, STYLE, literal

MAP = "RdBu_r"
MARK = "#39d353"
"""Colour of what is known, on images and on maps."""
CLOSER = 1.9
"""Einstein radii from the centre to the edge of what is shown."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """One image of the figure."""

    image: np.ndarray
    """(C, S, S), any range."""
    map: np.ndarray
    """(S, S), positive where the image speaks for substructure."""
    title: str
    truth: Truth | None
    """Of this image alone."""


@mpl.rc_context(STYLE)
def plot_attributions(file: Path, rows: Mapping[str, Sequence[Shown]], what: str, title: str) -> None:
    """Two rows of pictures for each row of images: the images, and their maps.

    Args:
        rows: by name; none is empty.
        what: the class that the maps are of.
        title: of the figure.
    """
    columns = max(len(row) for row in rows.values())
    tight = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.01, wspace=0, hspace=0.01)
    figure = Figure(figsize=(1.3 * columns + 0.5, 2.75 * len(rows) + 0.75), layout=tight)
    grid = figure.subplots(2 * len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    for place, (name, row) in enumerate(rows.items()):
        images, maps = grid[2 * place], grid[2 * place + 1]
        images[0].set_ylabel(literal(name), fontsize=9)
        maps[0].set_ylabel("its map", fontsize=8)
        for above, below, shown in zip(images, maps, row, strict=False):
            above.set_title(literal(shown.title), fontsize=7.5, loc="center")
            _show_image(above, shown)
            _show_map(below, shown)
    known = any(shown.truth is not None for row in rows.values() for shown in row)
    figure.suptitle(
        f"{literal(title)}: what speaks for {literal(what)} (red) and against it (blue)\n{_legend(known)}", fontsize=9
    )
    figure.savefig(file)


def _legend(known: bool) -> str:
    peak = "×: where most speaks for it"
    if not known:
        return peak
    heavy = f"full above $10^{{{np.log10(HEAVY):g}}}$ M$_\\odot$"
    return f"{peak}; dashed: Einstein radius; circles: subhalos by mass, {heavy}"


def _show_image(axes: Axes, shown: Shown) -> None:
    low, high = float(shown.image.min()), float(shown.image.max())
    # The root shows faint arcs beside a bright lens.
    unit = np.sqrt((shown.image.astype(np.float32) - low) / max(high - low, 1e-9))
    how = _frame(shown)
    if len(unit) == 1:
        axes.imshow(unit[0], cmap=IMAGE_MAP, vmin=0, vmax=1, interpolation="nearest", **how)
    else:
        axes.imshow(np.moveaxis(unit, 0, 2), interpolation="nearest", **how)
    _mark(axes, shown, "white")


def _show_map(axes: Axes, shown: Shown) -> None:
    top = float(np.quantile(np.abs(shown.map), 0.998)) or 1.0  # the few at the lens's centre would hide all others
    axes.imshow(shown.map, cmap=MAP, vmin=-top, vmax=top, interpolation="nearest", **_frame(shown))
    _mark(axes, shown, "0.25")
    if shown.truth is None:
        y, x = np.unravel_index(shown.map.argmax(), shown.map.shape)
    else:
        x, y = peak_positions(shown.map[None], shown.truth)[0]
    axes.plot(x, y, marker="x", ms=5, mew=1.2, color="black")


def _mark(axes: Axes, shown: Shown, color: str) -> None:
    """The ring, and the subhalos with the area of their mass; and a closer look, for beyond them there is only sky."""
    if shown.truth is None:
        return
    reach = [min(CLOSER * shown.truth.einstein_radius[0], half) for half in shown.truth.half_width]
    axes.set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]))
    angle = np.linspace(0, 2 * np.pi, 200)
    radius = shown.truth.einstein_radius[0]
    axes.plot(radius * np.cos(angle), radius * np.sin(angle), color=color, lw=0.5, ls=(0, (3, 3)), alpha=0.8)
    x, y, mass = shown.truth.subhalos[0].T
    for heavy, width, alpha in ((mass > HEAVY, 0.9, 1.0), (mass <= HEAVY, 0.4, 0.6)):
        area = 1.5 + 45 * (mass[heavy] / 1e10) ** 0.7
        axes.scatter(x[heavy], y[heavy], s=area, facecolors="none", edgecolors=MARK, linewidths=width, alpha=alpha)


def _frame(shown: Shown) -> dict[str, Any]:
    """Where the pixels lie. Simulated images have their y axis upwards, as in the figures of their set; others are
    shown as they were stored, the first row on top."""
    if shown.truth is None:
        return {"origin": "upper"}
    width, height = shown.truth.half_width
    return {"origin": "lower", "extent": (-width, width, -height, height)}
