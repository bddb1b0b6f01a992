"""Scores and their intervals, from plain arrays. Nothing here knows of networks or files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics as sk

CALIBRATION_BINS = 15

FEW = 5
"""Images of a class below which no interval of its scores is to be believed."""


@dataclasses.dataclass(frozen=True)
class Auc:
    """An area under the ROC curve, with what its uncertainty comes from."""

    value: float
    low: float
    high: float
    """95 % interval."""
    influence: np.ndarray
    """(n,) how far each image moves the value. The sum of squares is DeLong's variance, and that of a difference of
    two influences on the same images the variance of the difference of their areas."""


def auc_delong(positive: np.ndarray, score: np.ndarray) -> Auc:
    """Area under the ROC curve with DeLong's 95 % interval.

    DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837, by the mid-ranks of Sun & Xu, IEEE Signal Processing
    Letters 21 (2014) 1389: O(n log n). The interval is the normal one, cut at 0 and 1. Where it has no width, since all
    pairs (or none) are in order, its open end is the exact binomial bound for as many disjoint pairs as there are.

    Args:
        positive: (n,) bool.
        score: (n,) higher means positive.

    Raises:
        ValueError: there are not images of both kinds.
    """
    positive = np.asarray(positive, dtype=bool)
    above, below = score[positive], score[~positive]
    m, n = len(above), len(below)
    if not m or not n:
        raise ValueError("an area needs images of both kinds")
    ranks = stats.rankdata(np.concatenate([above, below]))
    # For each positive the share of negatives below it, for each negative the share of positives above it.
    wins = (ranks[:m] - stats.rankdata(above)) / n
    losses = 1 - (ranks[m:] - stats.rankdata(below)) / m
    value = float(wins.mean())
    influence = np.empty(m + n)
    influence[positive] = (wins - value) / np.sqrt(m * max(m - 1, 1))
    influence[~positive] = (losses - value) / np.sqrt(n * max(n - 1, 1))
    return _with_interval(value, influence, pairs=min(m, n))


def auc_macro(labels: np.ndarray, probabilities: np.ndarray) -> tuple[Auc, list[Auc]]:
    """Mean of the one-against-rest areas of all classes, and each of them.

    The influences of an image on all areas are added before they are squared, so that the interval of the mean
    knows that they come from the same images.

    Args:
        labels: (n,) integers below K.
        probabilities: (n, K).
    """
    each = [auc_delong(labels == label, probabilities[:, label]) for label in range(probabilities.shape[1])]
    value = float(np.mean([auc.value for auc in each]))
    pairs = int(np.bincount(labels).min())
    return _with_interval(value, np.mean([auc.influence for auc in each], axis=0), pairs), each


def area(labels: np.ndarray, probabilities: np.ndarray) -> Auc:
    """The area that `roc_auc` means: of label 1 for two classes, else the mean of one against the rest.

    Args:
        labels: (n,) integers below K; each is there.
        probabilities: (n, K).
    """
    if probabilities.shape[1] == 2:
        return auc_delong(labels == 1, probabilities[:, 1])
    return auc_macro(labels, probabilities)[0]


def score(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], threshold: float = 0.5
) -> dict[str, Any]:
    """All scores of the `metrics.json` contract.

    Args:
        labels: (n,) integers below K.
        probabilities: (n, K) float, rows sum to 1.
        classes: K names.
        threshold: of the probability of label 1 above which an image counts as label 1 (two classes).

    Returns:
        Plain numbers and lists. What needs every class is None where one is missing, and `undefined` says so.
    """
    two = len(classes) == 2
    predicted = predict_labels(probabilities, threshold)
    scores: dict[str, Any] = {"n": len(labels), "classes": list(classes)}
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        scores["undefined"] = f"there are no images of class {', '.join(missing)}: scores that need all are null"
    few = [f"{count} of {name}" for name, count in zip(classes, counts, strict=True) if 0 < count < FEW]
    if few:
        scores["few"] = f"there are only {', '.join(few)}: intervals of scores that need them are too narrow"
    scores |= _ranking_scores(labels, probabilities, classes, complete=not missing)
    scores |= {
        "accuracy": float(sk.accuracy_score(labels, predicted)),
        "balanced_accuracy": None if missing else float(sk.balanced_accuracy_score(labels, predicted)),
        **calibration_scores(labels, probabilities),
        "threshold": threshold if two else None,
        "confusion_matrix": sk.confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
        "errors": int((labels != predicted).sum()),
    }
    return scores


def predict_labels(probabilities: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The label that each row (n, K) is given: by `threshold` on label 1 of two, else the likeliest."""
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    return probabilities.argmax(1)


def calibration_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """The scores that ask whether probabilities mean what they say, of (n,) labels and (n, K) probabilities."""
    classes = probabilities.shape[1]
    one_hot = np.eye(classes)[labels]
    return {
        "log_loss": float(sk.log_loss(labels, probabilities, labels=range(classes))),
        # Two classes: of the probability of label 1. More: summed over the classes, as Brier (1950) has it.
        "brier": float(((probabilities - one_hot) ** 2).sum(1).mean() / (2 if classes == 2 else 1)),
        "ece": expected_calibration_error(labels, probabilities),
    }


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean gap between what is promised and what comes true, over bins of equal width."""
    promised, true, bins = promised_and_true(labels, probabilities)
    gaps = np.bincount(bins, weights=promised - true, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def promised_and_true(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is promised of each image (n,), whether it came true (n,), and in which bin of promises it is (n,).

    Two classes: the probability of label 1, and whether it is that. More: the probability of the likeliest class, and
    whether that is right (Guo et al. 2017, arXiv:1706.04599).
    """
    if probabilities.shape[1] == 2:
        promised, true = probabilities[:, 1], labels == 1
    else:
        promised, true = probabilities.max(1), probabilities.argmax(1) == labels
    return promised, true, np.minimum((promised * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927), which stays sensible for few trials and near 0 and 1."""
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def tpr_at_fpr(positive: np.ndarray, score: np.ndarray, fpr: float) -> float:
    """Largest true-positive rate of any threshold whose false-positive rate is at most `fpr`."""
    false, true, _ = sk.roc_curve(positive, score, drop_intermediate=False)
    return float(true[false <= fpr].max())


def recall_at_precision(positive: np.ndarray, score: np.ndarray, precision: float) -> float:
    """Largest recall of any threshold whose precision is at least `precision`; 0 if there is none."""
    precisions, recalls, _ = sk.precision_recall_curve(positive, score)
    return float(recalls[precisions >= precision].max())


def _ranking_scores(
    labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], complete: bool
) -> dict[str, Any]:
    """Scores that do not depend on a threshold; macro one-against-rest for more than two classes."""
    names = [
        "roc_auc",
        "roc_auc_low",
        "roc_auc_high",
        "average_precision",
        "tpr_at_fpr_0.01",
        "tpr_at_fpr_0.1",
        "recall_at_precision_0.5",
        "recall_at_precision_0.9",
    ]
    if not complete:
        return dict.fromkeys(names)
    per_class: dict[str, Any] = {}
    if len(classes) == 2:
        auc = auc_delong(labels == 1, probabilities[:, 1])
        sides = [(labels == 1, probabilities[:, 1])]
    else:
        auc, each = auc_macro(labels, probabilities)
        per_class["roc_auc_per_class"] = {
            name: {"roc_auc": one.value, "roc_auc_low": one.low, "roc_auc_high": one.high}
            for name, one in zip(classes, each, strict=True)
        }
        sides = [(labels == label, probabilities[:, label]) for label in range(len(classes))]
    values = [auc.value, auc.low, auc.high]
    values.append(float(np.mean([sk.average_precision_score(*side) for side in sides])))
    values += [float(np.mean([tpr_at_fpr(*side, fpr) for side in sides])) for fpr in (0.01, 0.1)]
    values += [float(np.mean([recall_at_precision(*side, least) for side in sides])) for least in (0.5, 0.9)]
    return dict(zip(names, values, strict=True)) | per_class


def _with_interval(value: float, influence: np.ndarray, pairs: int) -> Auc:
    half = float(stats.norm.ppf(0.975) * np.sqrt((influence**2).sum()))
    low, high = max(0.0, value - half), min(1.0, value + half)
    if half == 0 and value == 1:
        low = 0.025 ** (1 / pairs)
    if half == 0 and value == 0:
        high = 1 - 0.025 ** (1 / pairs)
    return Auc(value, low, high, influence)
