"""What the scores of a localiser look like, and what it says of images: arrays in, one picture out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from deeplense.figures.style import COLORS, IMAGE_MAP, STYLE, literal, to_display

Content = Mapping[str, Any]
"""A part of `metrics.json`."""


@mpl.rc_context(STYLE)
def plot_found_by_mass(file: Path, by_mass: Sequence[Content], limits: Sequence[Content], title: str) -> None:
    """Share of images whose subhalo is found, and placed, over half dex of its mass; the limit as a step."""
    figure = Figure(figsize=(6.9, 3.0), layout="constrained")
    for axes, rate, words in zip(figure.subplots(1, 2), ("fpr_0.01", "fpr_0.1"), ("1 %", "10 %"), strict=True):
        middle = np.array([(row["from"] + row["to"]) / 2 for row in by_mass])
        for color, what, shift in ((COLORS[0], "found", -0.02), (COLORS[1], "placed", 0.02)):
            _bars(axes, middle + shift, [row[rate][what] for row in by_mass], color, what)
        axes.plot(
            middle, [row[rate]["placed_by_chance"] for row in by_mass], ":", color="0.5", label="placed by chance"
        )
        for k, row in enumerate(limits):
            best = row[rate]["limit"]["rate"]
            label = "limit, lens and source fitted" if k == 0 else None
            axes.plot([row["from"], row["to"]], [best, best], color=COLORS[5], linewidth=2, label=label)
        axes.set(xlabel="log10 mass (Msun)", ylabel="share of images", ylim=(-0.02, 1.02))
        axes.set_title(
            f"{title}\nfalse-positive rate {words}" if rate == "fpr_0.01" else f"\nfalse-positive rate {words}"
        )
        axes.legend(loc="upper left", fontsize=7)
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_found_by_snr(file: Path, by_snr: Sequence[Content], title: str) -> None:
    """Share found over the signal-to-noise ratio that lens and source leave: what the network leaves on the table."""
    figure = Figure(figsize=(6.9, 3.0), layout="constrained")
    for axes, rate, words in zip(figure.subplots(1, 2), ("fpr_0.01", "fpr_0.1"), ("1 %", "10 %"), strict=True):
        middle = np.array([row["median_snr"] for row in by_snr])
        _bars(axes, middle, [row[rate]["found"] for row in by_snr], COLORS[0], "network")
        axes.plot(middle, [row[rate]["limit"]["rate"] for row in by_snr], color=COLORS[5], label="limit")
        axes.set(xlabel="signal-to-noise ratio", ylabel="share found", ylim=(-0.02, 1.02), xscale="symlog")
        axes.set_title(
            f"{title}\nfalse-positive rate {words}" if rate == "fpr_0.01" else f"\nfalse-positive rate {words}"
        )
        axes.legend(loc="lower right")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_found_by_distance(file: Path, by_distance: Sequence[Content], title: str) -> None:
    """Share found at a false-positive rate of 1 % over the distance from the ring, for each half dex; dashed, the
    limit."""
    figure = Figure(figsize=(6.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, low in enumerate(sorted({row["from"] for row in by_distance})):
        own = [row for row in by_distance if row["from"] == low]
        middle = np.array([row["median_distance"] for row in own])
        color = COLORS[place % len(COLORS)]
        _bars(axes, middle, [row["fpr_0.01"]["found"] for row in own], color, f"10^{low:g} to 10^{own[0]['to']:g} Msun")
        axes.plot(middle, [row["fpr_0.01"]["found"]["rate"] for row in own], color=color, linewidth=0.8)
        axes.plot(middle, [row["fpr_0.01"]["limit"]["rate"] for row in own], "--", color=color, linewidth=0.9)
    axes.axvline(0, color="0.7", linewidth=0.8)
    axes.set(xlabel="distance from the ring, outwards (arcsec)", ylabel="share found", ylim=(-0.02, 1.02))
    axes.set_title(f"{title}\nfalse-positive rate 1 %; dashed: the limit")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_froc(file: Path, froc: Sequence[Content], edges: np.ndarray, title: str) -> None:
    """Subhalos found and placed, against false detections an image."""
    figure = Figure(figsize=(5.4, 3.2), layout="constrained")
    axes = figure.subplots()
    false = np.array([row["false_an_image"]["rate"] for row in froc])
    for place in range(len(edges) - 1):
        own = [row["found_by_mass"][place] for row in froc]
        if own[0] is not None:
            label = f"10^{edges[place]:g} to 10^{edges[place + 1]:g} Msun"
            axes.plot(false, [rate["rate"] for rate in own], ".-", color=COLORS[place % len(COLORS)], label=label)
    axes.plot(false, [row["found"]["rate"] for row in froc], ".-", color="black", label="all")
    axes.plot(false, [row["found_by_chance"] for row in froc], ":", color="0.5", label="all, by chance")
    axes.set(xlabel="false detections an image", ylabel="share of subhalos", ylim=(-0.02, 1.02))
    if (false > 0).any():
        axes.set_xscale("log")
    axes.set_title(title)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_errors(
    file: Path,
    log_mass: np.ndarray,
    error: np.ndarray,
    mass_error: np.ndarray,
    pulls: np.ndarray,
    unit: str,
    title: str,
) -> None:
    """Errors of place and mass of what is found, (m,) each, over the mass; and errors of place in their sigmas, (2
    m,)."""
    figure = Figure(figsize=(6.9, 2.7), layout="constrained")
    place, mass, pull = figure.subplots(1, 3)
    for axes, values, words in (
        (place, error, f"error of the place ({unit})"),
        (mass, mass_error, "said less true (dex)"),
    ):
        axes.plot(log_mass, values, ".", markersize=2, color=COLORS[0], alpha=0.5)
        axes.set(xlabel="log10 mass (Msun)", ylabel=words)
    place.set_yscale("log")
    place.set_title(title)
    mass.axhline(0, color="0.5", linewidth=0.8)
    grid = np.linspace(-5, 5, 41)
    pull.hist(np.clip(pulls, -5, 5), grid, density=True, color=COLORS[0], alpha=0.7)
    pull.plot(grid, np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi), color=COLORS[1])
    pull.set(xlabel="error of the place in its sigmas", ylabel="density")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_promises(file: Path, calibration: Content, title: str) -> None:
    """Probabilities of detections against how often they are right, and expected numbers against what is there."""
    figure = Figure(figsize=(6.9, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], ":", color="0.6")
    bins = calibration["detections"]["bins"] if calibration["detections"] else []
    _bars(
        left, np.array([own["promised"] for own in bins]), [{"rate": own["true"], **own} for own in bins], COLORS[0], ""
    )
    left.set(xlabel="probability of a detection", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    left.set_title(title)
    known = [own for own in calibration["expected_numbers"] if own["ratio"] is not None]
    names = ["all" if own["from"] is None else f"{own['from']:g}–{own['to']:g}" for own in known]
    _bars(right, np.arange(len(known)), [{"rate": own["ratio"], **own} for own in known], COLORS[1], "")
    right.axhline(1, color="0.6", linestyle=":")
    right.set_xticks(range(len(names)), names, fontsize=7)
    right.set(xlabel="log10 mass (Msun)", ylabel="expected number / true number")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_gallery(
    file: Path,
    images: np.ndarray,
    density: np.ndarray,
    truth: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    half: float,
    unit: str,
    title: str,
) -> None:
    """Images, below each the density; true subhalos as circles by mass, detections as crosses by probability.

    Args:
        images: (m, C, S, S).
        density: (m, h, w) expected numbers.
        truth: m arrays (k, 3): x, y and log10 mass.
        found: m arrays (k, 3): x, y and probability.
        half: from the centre to the edge, in `unit`.
    """
    columns = 8
    lines = -(-len(images) // columns)
    figure = Figure(figsize=(6.9, 1.85 * lines + 0.4), layout="constrained")
    grid = figure.subplots(2 * lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for k, image in enumerate(images):
        line, column = divmod(k, columns)
        extent = (-half, half, half, -half)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        shown = to_display(image)
        above.imshow(shown.mean(0), cmap=IMAGE_MAP, extent=extent)
        below.imshow(np.log10(np.maximum(density[k], 1e-6)), cmap="Greys", vmin=-5, vmax=0, extent=extent)
        for axes in (above, below):
            for x, y, mass in truth[k]:
                size = half * 0.05 * 2 ** (mass - 8.5)
                axes.add_patch(Circle((x, y), size, fill=False, color=COLORS[2], linewidth=0.9))
            for x, y, probability in found[k]:
                axes.plot(x, y, "+", color=COLORS[1], alpha=0.25 + 0.75 * float(probability), markersize=6)
    figure.suptitle(
        f"{title}: truth (circles by mass), detections (crosses by probability); {2 * half:.3g} {unit} a side",
        fontsize=8,
    )
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_sensitivity_map(
    file: Path, image: np.ndarray, half: float, grid: np.ndarray, edge: float, title: str, unit: str = "arcsec"
) -> None:
    """One image, and the mass of a subhalo that would be found half the time at each place of it.

    Args:
        image: (C, S, S).
        half: from its centre to its edge, in `unit`.
        grid: (2, h, w) log10 masses of the network and of the limit; NaN where nothing was tried, inf for none.
        edge: from the centre to the edge of that.
    """
    known = [row for row in (0, 1) if not np.isnan(grid[row]).all()]
    figure = Figure(figsize=(2.45 * (1 + len(known)) + 0.6, 2.9), layout="constrained")
    shown, *maps = figure.subplots(1, 1 + len(known), squeeze=False)[0]
    picture = to_display(image).mean(0)
    shown.imshow(picture, cmap=IMAGE_MAP, extent=(-half, half, half, -half))
    shown.set_title(literal(title))
    finite = grid[np.isfinite(grid)]
    low, high = (np.floor(finite.min() * 4) / 4, np.ceil(finite.max() * 4) / 4) if len(finite) else (8.0, 10.0)
    words = ("found half the time", "limit: lens and source fitted")
    for axes, row in zip(maps, known, strict=True):
        axes.imshow(picture, cmap="Greys", alpha=0.5, extent=(-half, half, half, -half))
        none = np.where(np.isposinf(grid[row]), 1.0, np.nan)
        axes.imshow(none, cmap="Greys", vmin=0, vmax=2.2, extent=(-edge, edge, edge, -edge))
        values = np.where(np.isfinite(grid[row]), grid[row], np.nan)
        drawn = axes.imshow(values, cmap="viridis_r", vmin=low, vmax=high, extent=(-edge, edge, edge, -edge))
        axes.set_title(words[row])
    for axes in (shown, *maps):
        axes.set(xlim=(-1.15 * edge, 1.15 * edge), ylim=(1.15 * edge, -1.15 * edge), xlabel=unit)
        axes.grid(visible=False)
    if maps:
        figure.colorbar(drawn, ax=maps, label="log10 mass (Msun); grey: none", shrink=0.85)
    figure.savefig(file)


def _bars(axes: Any, x: np.ndarray, rates: Sequence[Content], color: str, label: str) -> None:
    """Points with their intervals."""
    if not len(rates):
        return
    value = np.array([rate["rate"] for rate in rates])
    low, high = (np.array([rate[end] for rate in rates]) for end in ("low", "high"))
    sides = np.maximum([value - low, high - value], 0)
    axes.errorbar(x, value, sides, fmt="o", markersize=3, color=color, elinewidth=0.9, label=label or None)
