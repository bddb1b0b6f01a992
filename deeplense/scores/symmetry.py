"""The eight views of an image: a lens is one whichever way the camera was turned or the image mirrored.

A network need not know that. How far its predictions change from view to view is measured; averaging over the views
that training has shown takes out the change from one of those to the other.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from deeplense.scores.metrics import Auc, area, predict_labels, wilson_interval

VIEWS = ("0°", "90°", "180°", "270°", "mirrored 0°", "mirrored 90°", "mirrored 180°", "mirrored 270°")
"""The image as it is, its quarter turns, and those of its mirror image."""

ALL = tuple(range(len(VIEWS)))
"""Views go by their places in `VIEWS`."""

VIEWED = 500
"""Images whose change is measured, at most: each costs eight predictions, so that 2,000 images take three times as long
as without, and more of them not much longer."""


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """How predictions change from view to view."""

    rows: np.ndarray
    """(n,) which of the scored images were looked at."""
    probabilities: np.ndarray
    """(n, 8, K), each view calibrated as the plain one is."""
    averaged: np.ndarray
    """(n, K) of the logits averaged over the views that training has shown, calibrated in the same way."""
    shown: tuple[int, ...]
    """Those views."""
    threshold: float
    """On label 1, for two classes."""

    @property
    def spread(self) -> np.ndarray:
        """(n,) standard deviation of an image's probability over its views; of more than two classes, the largest."""
        return self.probabilities.std(1).max(1)

    @property
    def changed(self) -> np.ndarray:
        """(n,) whether the views disagree on the class."""
        count, views, classes = self.probabilities.shape
        predicted = predict_labels(self.probabilities.reshape(-1, classes), self.threshold).reshape(count, views)
        return (predicted != predicted[:, :1]).any(1)

    def areas(self, labels: np.ndarray) -> tuple[list[Auc], Auc] | None:
        """Area under the ROC curve of each view, and of their average, for labels (n,); None if a class is missing."""
        if len(np.unique(labels)) < self.averaged.shape[1]:
            return None
        views = [area(labels, self.probabilities[:, view]) for view in range(len(VIEWS))]
        return views, area(labels, self.averaged)

    def summary(self, labels: np.ndarray) -> dict[str, Any]:
        """What `metrics.json` says of it; `labels` (n,) are of the images looked at."""
        spread, changed, areas = self.spread, self.changed, self.areas(labels)
        low, high = wilson_interval(int(changed.sum()), len(changed))
        return {
            "n": len(changed),
            "views": len(VIEWS),
            "averaged": [VIEWS[view] for view in self.shown],
            "probability_std_mean": float(spread.mean()),
            "probability_std_max": float(spread.max()),
            "class_changes": int(changed.sum()),
            "class_changes_share": float(changed.mean()),
            "class_changes_share_low": low,
            "class_changes_share_high": high,
            "roc_auc_of_views": None if areas is None else [view.value for view in areas[0]],
            "roc_auc_of_average": None if areas is None else areas[1].value,
        }


def viewed_of(count: int) -> np.ndarray:
    """Which of `count` images to look at in all views, ascending: all of a few, else a fixed random sample."""
    if count <= VIEWED:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, VIEWED, replace=False))
