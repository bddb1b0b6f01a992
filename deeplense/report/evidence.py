"""What there is to report: the files of an evaluation and of its run, as far as they are there."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.data.split import PARTS
from deeplense.scores.metrics import predict_labels

UNCERTAIN = 10.0
"""An image is uncertain whose odds are within this factor of those at which its label would change."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """An evaluation: n images, K classes."""

    classes: tuple[str, ...]
    paths: list[str]
    labels: np.ndarray | None
    """(n,) int64, or None for images without labels."""
    probabilities: np.ndarray
    """(n, K) float64, as `predictions.csv` has them."""
    threshold: float | None
    """On the probability of label 1, for two classes."""
    threshold_from: str | None
    """How it was chosen, if anybody said so."""
    metrics: dict[str, Any]
    """`metrics.json`; empty if there is none."""
    familiarity: np.ndarray | None = None
    """(n,) share of the run's validation images that are at least as strange, if the run knows."""

    @property
    def predicted(self) -> np.ndarray:
        """(n,) int64. `predictions.csv` has nine digits, so the threshold is given no more."""
        threshold = 0.5 if self.threshold is None else self.threshold
        return predict_labels(self.probabilities, float(f"{threshold:.9g}"))

    @property
    def wrong(self) -> np.ndarray:
        """(n,) bool."""
        return np.zeros(len(self.paths), dtype=bool) if self.labels is None else self.predicted != self.labels

    @property
    def certainty(self) -> np.ndarray:
        """(n,) logarithm of the factor in the odds that would change the label, at least 0.

        Two classes: from the odds of label 1 to those of the threshold. More: from the likeliest to the next.
        """
        tiny = 1e-9
        if self.threshold is not None:
            return np.abs(_log_odds(self.probabilities[:, 1], tiny) - _log_odds(np.array(self.threshold), tiny))
        ordered = np.sort(np.maximum(self.probabilities, tiny), axis=1)
        return np.log(ordered[:, -1] / ordered[:, -2])

    @property
    def uncertain(self) -> np.ndarray:
        """(n,) bool."""
        return self.certainty <= np.log(UNCERTAIN)


def read_evidence(folder: Path, card: dict[str, Any]) -> Evidence:
    """Read `predictions.csv` and, if it is there, `metrics.json`.

    Args:
        folder: of the evaluation.
        card: `best/model.json`, for the threshold of images without labels.
    """
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as table:
        reader = csv.DictReader(table)
        columns = [name for name in reader.fieldnames or () if name.startswith("p_")]
        rows = list(reader)
    classes = tuple(name.removeprefix("p_") for name in columns)
    label_of = {name: label for label, name in enumerate(classes)}
    metrics = read_json(folder / "metrics.json")
    known = "familiarity" in (reader.fieldnames or ())
    labelled = bool(metrics) and all(row["label"] for row in rows)
    threshold = metrics.get("threshold", card.get("threshold"))
    if len(classes) == 2 and threshold is None:
        threshold = 0.5
    return Evidence(
        classes=classes,
        paths=[row["path"] for row in rows],
        labels=np.array([label_of[row["label"]] for row in rows], dtype=np.int64) if labelled else None,
        probabilities=np.array([[float(row[name]) for name in columns] for row in rows]).reshape(-1, len(classes)),
        threshold=threshold,
        threshold_from=metrics.get("threshold_from", card.get("threshold_from")),
        metrics=metrics,
        familiarity=np.array([float(row["familiarity"]) for row in rows]) if known else None,
    )


def read_json(file: Path) -> dict[str, Any]:
    """An object from a JSON file, with None for numbers that are none; empty if there is no such file.

    A report is worth having without its settings or its record, so a file that is damaged counts as missing.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def count_split(file: Path) -> dict[str, dict[str, int]]:
    """Images of each class in each part, from `split.csv`: class -> part -> count. Empty if there is no such file."""
    try:
        with file.open(newline="", encoding="utf-8") as table:
            counts = Counter((row["class"], row["split"]) for row in csv.DictReader(table))
    except (OSError, ValueError, KeyError, csv.Error):
        return {}
    return {name: {part: counts[name, part] for part in PARTS} for name in dict.fromkeys(name for name, _ in counts)}


def _log_odds(probability: np.ndarray, tiny: float) -> np.ndarray:
    inside = np.clip(probability, tiny, 1 - tiny)
    return np.log(inside / (1 - inside))
