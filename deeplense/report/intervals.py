"""95 % intervals of the scores in `metrics.json`, from the predictions that they were computed from.

Shares of images have Wilson's interval (1927), which stays honest where a share is 0 or 1. Means over images have the
normal one. The areas under ROC curves come with DeLong's, and are not repeated here.
"""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sk

from deeplense.scores.metrics import recall_at_precision, tpr_at_fpr

Z = 1.959963984540054
"""Normal quantile of 97.5 %."""

Interval = tuple[float, float]


def wilson(share: float, trials: float) -> Interval:
    """Wilson's interval of a share that was seen in `trials` images.

    JASA 22 (1927) 209. The share need not be a count over `trials`.
    """
    middle = (share + Z**2 / (2 * trials)) / (1 + Z**2 / trials)
    half = Z / (1 + Z**2 / trials) * np.sqrt(share * (1 - share) / trials + Z**2 / (4 * trials**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def score_intervals(labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray) -> dict[str, Interval]:
    """Intervals by the names of `metrics.json`, for every score that has one here.

    `average_precision`, `tpr_at_fpr_*` and `recall_at_precision_*` take the number of positives as the trials (for the
    first: Boyd, Eng & Page 2013, ECML PKDD), and the threshold of the others as given. Where they are means over
    classes, which share their images, the bounds are averaged too: wide enough for any dependence.

    Args:
        labels: (n,) integers below K.
        probabilities: (n, K).
        predicted: (n,) integers below K.
    """
    count, classes = probabilities.shape
    true = np.clip(probabilities[np.arange(count), labels], np.finfo(float).eps, 1)
    squares = ((probabilities - np.eye(classes)[labels]) ** 2).sum(1) / (2 if classes == 2 else 1)
    found = {
        "accuracy": wilson(float((predicted == labels).mean()), count),
        "log_loss": _of_mean(-np.log(true)),
        "brier": _of_mean(squares),
    }
    per_class = np.bincount(labels, minlength=classes)
    if (per_class == 0).any():
        return found
    recalls = [float((predicted[labels == label] == label).mean()) for label in range(classes)]
    found["balanced_accuracy"] = _mean_of_independent(recalls, per_class)
    sides = [1] if classes == 2 else range(classes)
    precisions, rates = [], {0.01: [], 0.1: []}  # type: tuple[list[Interval], dict[float, list[Interval]]]
    for label in sides:
        positive, chance, trials = labels == label, probabilities[:, label], int(per_class[label])
        precisions.append(wilson(float(sk.average_precision_score(positive, chance)), trials))
        for rate, bounds in rates.items():
            bounds.append(wilson(tpr_at_fpr(positive, chance, rate), trials))
    for least in (0.5, 0.9):
        recalls_there = [
            wilson(recall_at_precision(labels == label, probabilities[:, label], least), int(per_class[label]))
            for label in sides
        ]
        found[f"recall_at_precision_{least:g}"] = _mean_of_any(recalls_there)
    found["average_precision"] = _mean_of_any(precisions)
    return found | {f"tpr_at_fpr_{rate:g}": _mean_of_any(bounds) for rate, bounds in rates.items()}


def _of_mean(values: np.ndarray) -> Interval:
    """Of the mean of numbers that are not negative, one an image."""
    half = Z * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else float("inf")
    return max(0.0, float(values.mean() - half)), float(values.mean() + half)


def _mean_of_independent(shares: list[float], trials: np.ndarray) -> Interval:
    """Of the mean of shares of different images, from their own intervals (Zou & Donner 2008, Stat. Med. 27, 1693)."""
    value = float(np.mean(shares))
    bounds = [wilson(share, int(number)) for share, number in zip(shares, trials, strict=True)]
    below = np.sqrt(sum((share - low) ** 2 for share, (low, _) in zip(shares, bounds, strict=True)))
    above = np.sqrt(sum((high - share) ** 2 for share, (_, high) in zip(shares, bounds, strict=True)))
    return value - float(below) / len(shares), value + float(above) / len(shares)


def _mean_of_any(bounds: list[Interval]) -> Interval:
    low, high = np.mean(bounds, axis=0)
    return float(low), float(high)
