"""The figure of a run's sensitivity: which subhalos it sees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from deeplense.figures.style import COLORS, STYLE, literal

Rows = Sequence[dict[str, Any]]

HEAVY = 4
"""How many of the heaviest half decades get a line of their own."""
MASS_MAP = "viridis_r"
RATE_MAP = "magma"


@mpl.rc_context(STYLE)
def plot_sensitivity(file: Path, rows: Rows, about: dict[str, Any], run: str) -> None:
    """True-positive rate against the one subhalo's mass, place and exposure, and against a population's."""
    figure = Figure(figsize=(9.6, 6.8), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.07))
    parts: Any = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    top, bottom = parts
    mass, plane = top.subplots(1, 2, width_ratios=[1.08, 1])
    distance, exposure, heaviest, share = bottom.subplots(1, 4, sharey=True)
    _plot_mass(mass, _of(rows, "mass"), about)
    _plot_plane(figure, plane, _of(rows, "distance"), max(half["fpr"] for half in about["mass_of_half"]))
    strictest = min(half["fpr"] for half in about["mass_of_half"])
    for axes, axis in ((distance, "distance"), (exposure, "exposure")):
        _plot_by_mass(axes, [row for row in _of(rows, axis) if row["fpr"] == strictest])
    for axes, axis in ((heaviest, "heaviest"), (share, "share")):
        _plot_population(axes, _of(rows, axis))
    lines = distance.get_legend_handles_labels()
    bottom.legend(*lines, loc="outside upper left", ncols=HEAVY, fontsize=8, handlelength=1.4, columnspacing=1.4)
    _label(distance, exposure, heaviest, share, strictest, rows)
    for letter, axes in zip("abcdef", (mass, plane, distance, exposure, heaviest, share), strict=True):
        axes.set_title(f"$\\mathbf{{{letter}}}$   {axes.get_title('left')}")
    figure.suptitle(f"{literal(run)}: which subhalos of {about['set']} it sees", x=0.012, ha="left", fontsize=11)
    figure.savefig(file)


def _plot_mass(axes: Axes, rows: Rows, about: dict[str, Any]) -> None:
    for color, half in zip((COLORS[1], COLORS[0]), about["mass_of_half"], strict=True):
        own = [row for row in rows if row["fpr"] == half["fpr"]]
        middle = np.sqrt(_column(own, "low") * _column(own, "high"))
        axes.fill_between(middle, _column(own, "tpr_low"), _column(own, "tpr_high"), color=color, alpha=0.18, lw=0)
        _errors(axes, middle, own, color, label=f"{half['fpr']:.0%} false positives", size=4.5)
        axes.axhline(half["fpr"], color=color, lw=0.8, ls=":")
        if half["mass"] is not None:
            axes.plot([half["mass"]] * 2, [0, 0.5], color=color, lw=0.8, ls="--")
            axes.annotate(
                f"$10^{{{np.log10(half['mass']):.2f}}}$",
                (half["mass"], 0.5),
                xytext=(-5, 3),
                textcoords="offset points",
                color=color,
                ha="right",
                fontsize=9,
            )
    axes.text(1.1e7, max(half["fpr"] for half in about["mass_of_half"]) + 0.012, "chance", color="0.45", fontsize=7.5)
    axes.set(xscale="log", xlim=(1e7, 10**10.5), ylim=(0, 1.02))
    axes.set(xlabel="mass of the one subhalo (M$_\\odot$)", ylabel="true-positive rate")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="upper left")
    count = own[0]["n"]
    axes.set_title(f"one subhalo, {count:,} lenses a point")


def _plot_plane(figure: Figure, axes: Axes, rows: Rows, fpr: float) -> None:
    """The rate over mass and distance from the ring."""
    own = [row for row in rows if row["fpr"] == fpr]
    masses = sorted({(row["mass_low"], row["mass_high"]) for row in own})
    parts = sorted({(row["low"], row["high"]) for row in own})
    rates = np.full((len(parts), len(masses)), np.nan)
    for row in own:
        place = parts.index((row["low"], row["high"])), masses.index((row["mass_low"], row["mass_high"]))
        rates[place] = row["tpr"]
    x = [low for low, _ in masses] + [masses[-1][1]]
    y = [low for low, _ in parts] + [parts[-1][1]]
    mesh = axes.pcolormesh(x, y, rates, cmap=RATE_MAP, vmin=0, vmax=1, edgecolors="face", linewidth=0.2)
    for (part, mass), rate in np.ndenumerate(rates):
        if np.isfinite(rate):
            shade = "black" if rate > 0.6 else "white"
            spot = np.sqrt(x[mass] * x[mass + 1]), (y[part] + y[part + 1]) / 2
            axes.text(*spot, f"{100 * rate:.0f}", color=shade, ha="center", va="center", fontsize=7)
    if y[0] < 0 < y[-1]:
        axes.axhline(0, color="white", lw=1, ls="--")
        axes.text(x[0] * 1.12, 0.02, "Einstein ring", color="white", fontsize=7.5, va="bottom")
    axes.set(
        xscale="log", xlabel="mass of the one subhalo (M$_\\odot$)", ylabel="distance from the Einstein ring (arcsec)"
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(False)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05)
    bar.outline.set_visible(False)
    bar.set_label(f"true-positive rate at {fpr:.0%}", fontsize=8)
    axes.set_title(f"mass and place, % seen at {fpr:.0%} false positives")


def _plot_by_mass(axes: Axes, rows: Rows) -> None:
    """A line for each of the heaviest half decades."""
    masses = sorted({(row["mass_low"], row["mass_high"]) for row in rows})[-HEAVY:]
    shades = mpl.colormaps[MASS_MAP](np.linspace(0.15, 0.95, HEAVY))
    for shade, (low, high) in zip(shades, masses, strict=True):
        own = [row for row in rows if row["mass_low"] == low]
        name = f"$10^{{{np.log10(low):g}}}$–$10^{{{np.log10(high):g}}}$ M$_\\odot$"
        _errors(axes, _column(own, "median"), own, shade, label=name, size=3)


def _plot_population(axes: Axes, rows: Rows) -> None:
    rates = sorted({row["fpr"] for row in rows})
    for color, fpr in zip((COLORS[1], COLORS[0]), rates, strict=True):
        own = [row for row in rows if row["fpr"] == fpr]
        _errors(axes, _column(own, "median"), own, color, label=f"{fpr:.0%}", size=3)


def _label(distance: Axes, exposure: Axes, heaviest: Axes, share: Axes, fpr: float, rows: Rows) -> None:
    distance.set(ylim=(0, 1.02), ylabel="true-positive rate", xlabel="distance from the Einstein ring (arcsec)")
    distance.axvline(0, color="0.6", lw=0.8, ls="--")
    distance.set_title(f"one subhalo, at {fpr:.0%}")
    exposure.set(xlabel="exposure (counts per unit flux)")
    exposure.set_title(f"one subhalo, at {fpr:.0%}")
    heaviest.set(xlabel="heaviest subhalo (M$_\\odot$)")
    share.set(xlabel="share of the mass in subhalos")
    for axes, axis in ((exposure, "exposure"), (heaviest, "heaviest"), (share, "share")):
        axes.set_title(axes.get_title("left") or "all subhalos of the set")
        _logarithmic(axes, _column(_of(rows, axis), "median"))


def _logarithmic(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis with a few round ticks, or a plain one round a single value."""
    if np.ptp(values) <= 1e-5 * values.max():
        axes.set_xticks([float(values[0])], [f"{values[0]:.3g}"])
        axes.set_xlim(0.5 * values[0], 1.5 * values[0])
        return
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    steps = (1, 2, 3, 5) if values.max() / values.min() < 60 else (1,)
    ticks = [step * 10.0**power for power in range(-6, 13) for step in steps]
    margin = (values.max() / values.min()) ** 0.06
    axes.set_xlim(values.min() / margin, values.max() * margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int = 0) -> str:
    """1000 and 0.02 as they are, what is larger or smaller by powers."""
    power = int(np.floor(np.log10(value) + 1e-9))
    if -3 < power < 5:
        return f"{value:g}"
    digit = round(value / 10.0**power)
    return f"$10^{{{power}}}$" if digit == 1 else f"${digit}\\times10^{{{power}}}$"


def _errors(axes: Axes, x: np.ndarray, rows: Rows, color: Any, label: str, size: float) -> None:
    rate = _column(rows, "tpr")
    errors = np.array([rate - _column(rows, "tpr_low"), _column(rows, "tpr_high") - rate])
    axes.errorbar(x, rate, np.maximum(errors, 0), color=color, marker="o", ms=size, lw=1.2, elinewidth=0.9, label=label)


def _of(rows: Rows, axis: str) -> Rows:
    return [row for row in rows if row["axis"] == axis]


def _column(rows: Rows, name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], dtype=float)
