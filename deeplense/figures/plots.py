"""Figures, from plain arrays. Each function writes one file and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics as sk

from deeplense.figures.style import COLORS, IMAGE_MAP, STYLE, to_display


@mpl.rc_context(STYLE)
def plot_roc(file: Path, labels: np.ndarray, probabilities: np.ndarray, scores: dict[str, Any], title: str) -> None:
    """ROC curve, with a logarithmic axis beside it for the small false-positive rates that surveys need."""
    figure = Figure(figsize=(6.9, 3.2), layout="constrained")
    linear, low = figure.subplots(1, 2)
    for color, name, positive, score in _one_against_rest(labels, probabilities, scores["classes"]):
        false, true, _ = sk.roc_curve(positive, score, drop_intermediate=False)
        linear.plot(false, true, color=color, label=name, drawstyle="steps-post")
        low.plot(false, true, color=color, drawstyle="steps-post")
    linear.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=":")
    smallest = 1 / max(np.bincount(labels, minlength=len(scores["classes"])).max(), 10)
    low.set(xscale="log", xlim=(smallest, 1), xlabel="false-positive rate (log)", ylim=(0, 1.02))
    linear.set(xlabel="false-positive rate", ylabel="true-positive rate", xlim=(-0.01, 1), ylim=(0, 1.02))
    linear.set_title(f"{title}\nROC AUC {_with_interval(scores)}")
    if len(scores["classes"]) > 2:
        linear.legend(loc="lower right")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_precision_recall(
    file: Path, labels: np.ndarray, probabilities: np.ndarray, scores: dict[str, Any], title: str
) -> None:
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for color, name, positive, score in _one_against_rest(labels, probabilities, scores["classes"]):
        precision, recall, _ = sk.precision_recall_curve(positive, score)
        axes.plot(recall, precision, color=color, label=name, drawstyle="steps-post")
        axes.axhline(positive.mean(), color=color, linewidth=0.8, linestyle=":")  # what guessing gives
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set_title(f"{title}\naverage precision {scores['average_precision']:.5f}\nROC AUC {_with_interval(scores)}")
    if len(scores["classes"]) > 2:
        axes.legend(loc="lower left")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_confusion(file: Path, scores: dict[str, Any], title: str) -> None:
    """Counts, shaded by their share of the true class."""
    counts = np.array(scores["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        shade = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}\n{shares[row, column]:.2%}", ha="center", va="center", color=shade)
    ticks = range(len(counts))
    axes.set_xticks(ticks, scores["classes"])
    axes.set_yticks(ticks, scores["classes"], rotation=90, va="center")
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.grid(False)
    axes.set_title(f"{title}\naccuracy {scores['accuracy']:.4f}\nROC AUC {_with_interval(scores)}")
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_scores(file: Path, labels: np.ndarray, probabilities: np.ndarray, scores: dict[str, Any], title: str) -> None:
    """Histogram of the probability of the last class (of two: substructure) for each true class, counts as logs."""
    figure = Figure(figsize=(3.6, 3.2), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(0, 1, 41).tolist()
    for label, name in enumerate(scores["classes"]):
        if (labels == label).any():
            values = probabilities[labels == label, -1]
            axes.hist(values, bins, histtype="stepfilled", alpha=0.35, color=COLORS[label % len(COLORS)])
            axes.hist(values, bins, histtype="step", color=COLORS[label % len(COLORS)], label=name)
    if scores["threshold"] is not None:
        axes.axvline(scores["threshold"], ymax=0.85, color="0.3", linewidth=0.8, linestyle="--", label="threshold")
    axes.set(xlabel=f"probability of {scores['classes'][-1]}", ylabel="images a bin", yscale="log", xlim=(0, 1))
    axes.set_title(f"{title}\nROC AUC {_with_interval(scores)}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** 0.4)  # room for the legend above the bars
    axes.legend(loc="upper center", ncols=len(scores["classes"]) + 1, fontsize=8, columnspacing=1)
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_samples(file: Path, images: np.ndarray, names: Sequence[str], title: str) -> None:
    """One row of images for each different name.

    Args:
        images: (N, C, H, W), any range.
        names: N names, in rows.
    """
    rows = [[image for image, own in zip(images, names, strict=True) if own == name] for name in dict.fromkeys(names)]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(0.95 * columns + 0.3, 1.0 * len(rows) + 0.35), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes_row, row, name in zip(grid, rows, dict.fromkeys(names), strict=True):
        for axes, image in zip(axes_row, row, strict=False):
            _show(axes, image)
        axes_row[0].text(
            -0.06,
            0.5,
            name,
            rotation=90,
            ha="right",
            va="center",
            transform=axes_row[0].transAxes,
            fontsize=9,
        )
    figure.suptitle(title, fontsize=9.5)
    figure.savefig(file)


@mpl.rc_context(STYLE)
def plot_curves(file: Path, metrics_jsonl: Path, title: str) -> None:
    """Training and validation loss, validation AUC and learning rate over the steps, from `metrics.jsonl`."""
    lines = [json.loads(line) for line in metrics_jsonl.read_text().splitlines()]
    training = [line for line in lines if "train_loss" in line]
    validation = [line for line in lines if line.get("val_loss") is not None]
    figure = Figure(figsize=(6.9, 2.6), layout="constrained")
    loss, area, rate = figure.subplots(1, 3)
    loss.plot(
        _column(training, "step"),
        _column(training, "train_loss"),
        color=COLORS[0],
        linewidth=0.8,
        label="training",
    )
    loss.plot(
        _column(validation, "step"),
        _column(validation, "val_loss"),
        color=COLORS[1],
        marker=".",
        label="validation",
    )
    loss.set(xlabel="step", ylabel="loss (nats)", yscale="log")
    loss.legend()
    loss.set_title(title)
    missed = [1 - value for value in _column(validation, "val_roc_auc") if value is not None]
    steps = [line["step"] for line in validation if line["val_roc_auc"] is not None]
    area.plot(steps, np.maximum(missed, 1e-6), color=COLORS[1], marker=".")
    area.set(xlabel="step", ylabel="1 − validation ROC AUC", yscale="log")
    rate.plot(_column(training, "step"), _column(training, "lr"), color=COLORS[2])
    rate.set(xlabel="step", ylabel="learning rate")
    figure.savefig(file)


def _one_against_rest(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]
) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Colour, name, truth and score of each curve: one for two classes, else one a class."""
    wanted = range(len(classes)) if len(classes) > 2 else [1]
    return [(COLORS[label % len(COLORS)], classes[label], labels == label, probabilities[:, label]) for label in wanted]


def _with_interval(scores: dict[str, Any]) -> str:
    if scores["roc_auc"] is None:
        return "undefined"
    return f"{scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, {scores['roc_auc_high']:.5f}]"


def _column(lines: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [line[name] for line in lines]


def _show(axes: Axes, image: np.ndarray) -> None:
    unit = to_display(image)
    if len(image) == 1:
        axes.imshow(unit[0], cmap=IMAGE_MAP, interpolation="nearest")
    else:
        axes.imshow(np.moveaxis(unit, 0, 2), interpolation="nearest")
