"""How a run went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from deeplense.figures.style import COLORS, STYLE, literal


@mpl.rc_context(STYLE)
def plot_curves(
    file: Path, metrics_jsonl: Path, title: str, name: str = "roc_auc", words: str = "ROC AUC", best: float | None = 1.0
) -> None:
    """Training and validation loss, one validation score and learning rate over the steps, from `metrics.jsonl`.

    Args:
        name: of the score, which stands there as `val_NAME`.
        words: for it.
        best: its best possible value; what is missing to it is drawn. None: the score itself.
    """
    lines = [json.loads(line) for line in metrics_jsonl.read_text(encoding="utf-8").splitlines()]
    training = [line for line in lines if "train_loss" in line]
    validation = [line for line in lines if line.get("val_loss") is not None]
    figure = Figure(figsize=(6.9, 2.6), layout="constrained")
    loss, score, rate = figure.subplots(1, 3)
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
    losses = _column(training, "train_loss") + _column(validation, "val_loss")
    # Probabilities are at most 1, but densities are not: their negative logarithm may be below 0.
    scale = "log" if min((value for value in losses if value is not None), default=1.0) > 0 else "linear"
    loss.set(xlabel="step", ylabel="loss (nats)", yscale=scale)
    loss.legend()
    loss.set_title(literal(title))
    known = [line for line in validation if line[f"val_{name}"] is not None]
    values = np.array(_column(known, f"val_{name}"), dtype=np.float64)
    score.plot(
        _column(known, "step"), values if best is None else np.maximum(best - values, 1e-6), color=COLORS[1], marker="."
    )
    if best is None:
        score.set(xlabel="step", ylabel=f"validation {words}")
    else:
        score.set(xlabel="step", ylabel=f"{best:g} − validation {words}", yscale="log")
    rate.plot(_column(training, "step"), _column(training, "lr"), color=COLORS[2])
    rate.set(xlabel="step", ylabel="learning rate")
    figure.savefig(file)


def _column(lines: Sequence[dict[str, Any]], name: str) -> list[Any]:
    return [line[name] for line in lines]
