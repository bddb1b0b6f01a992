"""What scores look like: curves, confusion, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics as sk

from deeplense.figures.style import STYLE, line_of, literal, short

FEW = 4
"""Classes whose names there is room for inside the axes, or side by side below them."""


@mpl.rc_context(STYLE)
def plot_roc(file: Path, labels: np.ndarray, probabilities: np.ndarray, scores: dict[str, Any], title: str) -> None:
    """ROC curve, with a logarithmic axis beside it for the small false-positive rates that surveys need."""
    figure = Figure(figsize=(6.9 + _beside(scores), 3.2), layout="constrained")
    linear, low = figure.subplots(1, 2)
    for line, name, positive, score in _one_against_rest(labels, probabilities, scores["classes"]):
        false, true, _ = sk.roc_curve(positive, score, drop_intermediate=False)
        linear.plot(false, true, **line, label=name, drawstyle="steps-post")
        low.plot(false, true, **line, label=name, drawstyle="steps-post")
    linear.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    smallest = 1 / max(np.bincount(labels, minlength=len(scores["classes"])).max(), 10)
    low.set(xscale="log", xlim=(smallest, 1), xlabel="false-positive rate (log)", ylim=(0, 1.02))
    linear.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(-0.01, 1), ylim=(0, 1.02))
    linear.set_title(f"{literal(title)}\nROC AUC {_with_interval(scores)}")
    _name_the_classes(low if _beside(scores) else linear, scores, "lower right")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_precision_recall(
    file: Path, labels: np.ndarray, probabilities: np.ndarray, scores: dict[str, Any], title: str
) -> None:
    figure = Figure(figsize=(3.6 + _beside(scores), 3.2), layout="constrained")
    axes = figure.subplots()
    for line, name, positive, score in _one_against_rest(labels, probabilities, scores["classes"]):
        precision, recall, _ = sk.precision_recall_curve(positive, score)
        axes.plot(recall, precision, **line, label=name, drawstyle="steps-post")
        axes.axhline(positive.mean(), color=line["color"], linewidth=0.8, linestyle=":")  # what guessing gives
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set_title(
        f"{literal(title)}\naverage precision {scores['average_precision']:.5f}\nROC AUC {_with_interval(scores)}"
    )
    _name_the_classes(axes, scores, "lower left")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_confusion(file: Path, scores: dict[str, Any], title: str) -> None:
    """Counts, shaded by their share of the true class."""
    counts = np.array(scores["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    many = len(counts) > FEW
    side = max(3.2, 0.55 * len(counts) + many)  # a cell has room for its numbers
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        shade = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}\n{shares[row, column]:.2%}", ha="center", va="center", color=shade)
    ticks = range(len(counts))
    names = [short(name) for name in scores["classes"]]
    axes.set_xticks(ticks, names, rotation=90 if many else 0)
    axes.set_yticks(ticks, names, rotation=0 if many else 90, va="center")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(False)
    axes.set_title(f"{literal(title)}\naccuracy {scores['accuracy']:.4f}\nROC AUC {_with_interval(scores)}")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_scores(file: Path, labels: np.ndarray, probabilities: np.ndarray, scores: dict[str, Any], title: str) -> None:
    """Histogram of the probability of the last class (of two: substructure) for each true class, counts as logs."""
    figure = Figure(figsize=(3.6 + _beside(scores), 3.2), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 41).tolist()
    for label, name in enumerate(scores["classes"]):
        if (labels == label).any():
            values = probabilities[labels == label, -1]
            line = line_of(label)
            axes.hist(values, bins, histtype="stepfilled", alpha=0.35, color=line["color"])
            axes.hist(values, bins, histtype="step", **line, label=short(name))
    if scores["threshold"] is not None:
        axes.axvline(scores["threshold"], ymax=0.85, color="0.3", linewidth=0.8, linestyle="--", label="threshold")
    axes.set(xlabel=f"probability of {short(scores['classes'][-1])}", ylabel="images a bin", yscale="log", xlim=(0, 1))
    axes.set_title(f"{literal(title)}\nROC AUC {_with_interval(scores)}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.4)  # room for the legend above the bars
    if _beside(scores):
        _name_the_classes(axes, scores, "")
    else:
        axes.legend(loc="upper center", ncols=min(len(scores["classes"]) + 1, 4), fontsize=8, columnspacing=1)
    figure.savefig(file)


def _one_against_rest(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[tuple[dict[str, Any], str, np.ndarray, np.ndarray]]:
    """Line, name, truth and score of each curve: one for two classes, else one a class."""
    wanted = range(len(classes)) if len(classes) > 2 else [1]
    return [(line_of(label), short(classes[label]), labels == label, probabilities[:, label]) for label in wanted]


def _beside(scores: dict[str, Any]) -> float:
    """Inches beside the axes for the names of the classes; 0 if these are few enough to stand in them."""
    return 1.8 if len(scores["classes"]) > FEW else 0


def _name_the_classes(axes: Axes, scores: dict[str, Any], where: Any) -> None:
    if _beside(scores):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    elif len(scores["classes"]) > 2:
        axes.legend(loc=where)


def _with_interval(scores: dict[str, Any]) -> str:
    if scores["roc_auc"] is None:
        return "undefined"
    return f"{scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, {scores['roc_auc_high']:.5f}]"
