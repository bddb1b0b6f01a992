"""Figures that say how far scores can be trusted: reliability, symmetry, and which run is better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics as sk

from deeplense.figures.style import COLORS, STYLE, literal
from deeplense.scores.calibration import ReliabilityBin
from deeplense.scores.symmetry import VIEWS, Symmetry

SMALLEST_CHANCE = 1e-6
"""Where the axis of probabilities ends; what is closer to 0 or 1 is drawn there."""


@mpl.rc_context(STYLE)
def plot_reliability(
    file: Path, before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin], scores: dict[str, Any], title: str
) -> None:
    """What was promised against what came true, with the number of images below; before and after the temperature."""
    calibration = scores["calibration"]
    sides = [("before", before, COLORS[5])]
    if calibration["after"] is not None:
        sides.append((f"after: temperature {calibration['temperature']:.3g}", after, COLORS[0]))
    else:
        sides[0] = ("no temperature was fitted", before, COLORS[5])
    figure = Figure(figsize=(0.2 + 3.3 * len(sides), 4.2), layout="constrained")
    grid = figure.subplots(2, len(sides), sharex=True, sharey="row", squeeze=False, height_ratios=(3.4, 1))
    promise = "probability of " + (
        literal(scores["classes"][1]) if len(scores["classes"]) == 2 else "the likeliest class"
    )
    most = max(one.count for _, bins, _ in sides for one in bins)
    for (name, bins, color), (axes, counts) in zip(sides, grid.T, strict=True):
        own = calibration["after" if name.startswith("after") else "before"]
        true = np.array([one.true for one in bins])
        promised = [one.promised for one in bins]
        reach = np.abs([[one.low for one in bins], [one.high for one in bins]] - true)
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
        axes.errorbar(promised, true, reach, fmt="o", color=color, markersize=4, linewidth=1, capsize=2)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set_title(f"{name}\nECE {own['ece']:.4f}, Brier {own['brier']:.4f}, log loss {own['log_loss']:.4f}")
        counts.bar(promised, [one.count for one in bins], width=0.035, color=color)
        counts.set(yscale="log", ylim=(0.7, 2 * most), xlabel=promise)
    grid[0, 0].set_ylabel("share that came true, 95 %")
    grid[1, 0].set_ylabel("images")
    figure.suptitle(literal(title), fontsize=9.5)
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_symmetry(file: Path, symmetry: Symmetry, labels: np.ndarray, scores: dict[str, Any], title: str) -> None:
    """How far each image's probability varies over its eight views, and how well each view ranks.

    Args:
        labels: (n,) of the images looked at.
    """
    about, classes, areas = scores["symmetry"], scores["classes"], symmetry.areas(labels)
    figure = Figure(figsize=(3.8 if areas is None else 6.9, 3.4), layout="constrained")
    columns = figure.subplots(1, 1 if areas is None else 2, squeeze=False)[0]
    _plot_spread(columns[0], symmetry, labels, classes)
    if areas is not None:
        views, averaged = areas
        axes = columns[1]
        places = -np.arange(len(VIEWS) + 1)
        for place, one, color in zip(places, [*views, averaged], [COLORS[0]] * len(VIEWS) + [COLORS[1]], strict=True):
            reach = [[one.value - one.low], [one.high - one.value]]
            axes.errorbar(one.value, place, xerr=reach, fmt="o", color=color, markersize=4, linewidth=1, capsize=2)
        axes.set_yticks(places, [*VIEWS, f"average of {len(symmetry.shown)} (--tta)"])
        axes.locator_params(axis="x", nbins=4)
        axes.set_xlabel("ROC AUC, 95 %")
        axes.set_title("how well each view ranks")
    changes = f"{about['class_changes']} of {about['n']} images change class"
    figure.suptitle(
        f"{literal(title)}\n{changes}; standard deviation {about['probability_std_mean']:.4f} in the mean, "
        f"{about['probability_std_max']:.3f} at most",
        fontsize=9.5,
    )
    figure.savefig(file)


def _plot_spread(axes: Axes, symmetry: Symmetry, labels: np.ndarray, classes: Sequence[str]) -> None:
    plain = symmetry.probabilities[:, 0, -1].clip(SMALLEST_CHANCE, 1 - SMALLEST_CHANCE)
    spread = symmetry.spread.clip(SMALLEST_CHANCE, None)
    for label, name in enumerate(classes):
        own = labels == label
        if own.any():
            axes.scatter(
                plain[own],
                spread[own],
                s=7,
                alpha=0.5,
                linewidths=0,
                color=COLORS[label % len(COLORS)],
                label=literal(name),
            )
    changed = symmetry.changed
    if changed.any():
        axes.scatter(
            plain[changed], spread[changed], s=24, facecolors="none", edgecolors="0.2", linewidths=0.6, alpha=0.6,
            label="views disagree",
        )  # fmt: skip
    axes.set(xscale="logit", yscale="log", ylim=(0.5 * SMALLEST_CHANCE, 1.5))
    axes.set_xlim(0.5 * SMALLEST_CHANCE, 1 - 0.5 * SMALLEST_CHANCE)
    ticks = [SMALLEST_CHANCE, 1e-3, 0.5, 1 - 1e-3, 1 - SMALLEST_CHANCE]
    axes.set_xticks(ticks, ["10⁻⁶", "0.001", "0.5", "0.999", "1 − 10⁻⁶"])
    axes.minorticks_off()
    axes.set(xlabel=f"probability of {literal(classes[-1])}, {VIEWS[0]}", ylabel="standard deviation over views")
    axes.legend(loc="lower center", fontsize=8, handletextpad=0.2)


@mpl.rc_context(STYLE)
def plot_comparison(
    file: Path, labels: np.ndarray, probabilities: dict[str, np.ndarray], comparison: dict[str, Any]
) -> None:
    """ROC curves of several runs, linear and logarithmic, and their areas with intervals. A colour is a recipe.

    Args:
        labels: (n,).
        probabilities: of each run, (n, K); more than two classes: curves are means of one against the rest.
    """
    runs = comparison["runs"]
    figure = Figure(figsize=(6.9, 3.0 + 0.2 * len(runs)), layout="constrained")
    axes = figure.subplot_mosaic([["linear", "low"], ["areas", "areas"]], height_ratios=(2.6, 0.3 + 0.2 * len(runs)))
    several = len(comparison["recipes"]) > 1
    for place, run in enumerate(runs):
        color = COLORS[(run["recipe"] if several else place) % len(COLORS)]
        false, true = _mean_curve(labels, probabilities[run["run"]])
        for name in ("linear", "low"):
            axes[name].plot(false, true, color=color, linewidth=1.2, alpha=0.8, drawstyle="steps-post")
        reach = [[run["roc_auc"] - run["roc_auc_low"]], [run["roc_auc_high"] - run["roc_auc"]]]
        axes["areas"].errorbar(
            run["roc_auc"], -place, xerr=reach, fmt="o", color=color, markersize=4, linewidth=1, capsize=2
        )
    smallest = 1 / max(np.bincount(labels).max(), 10)
    axes["linear"].plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    axes["linear"].set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(-0.01, 1), ylim=(0, 1.02))
    axes["low"].set(xscale="log", xlim=(smallest, 1), xlabel="false-positive rate (log)", ylim=(0, 1.02))
    axes["areas"].set_yticks(-np.arange(len(runs)), [literal(run["run"]) for run in runs])
    axes["areas"].set(xlabel="ROC AUC, 95 %", ylim=(-len(runs) + 0.4, 0.6))
    figure.suptitle(f"{len(runs)} runs on the same {comparison['n']} images", fontsize=9.5)
    figure.savefig(file)


def _mean_curve(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates of label 1 of two; of more, the mean over one against the rest."""
    if probabilities.shape[1] == 2:
        false, true, _ = sk.roc_curve(labels == 1, probabilities[:, 1], drop_intermediate=False)
        return false, true
    each = [sk.roc_curve(labels == label, chances) for label, chances in enumerate(probabilities.T)]
    false = np.unique(np.concatenate([one[0] for one in each]))
    return false, np.mean([np.interp(false, one[0], one[1]) for one in each], axis=0)
