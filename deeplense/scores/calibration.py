"""Probabilities that mean what they say, and the threshold of a decision: both fitted on validation images alone.

Plain arrays in, plain numbers out. Logits are (n, 1), that of label 1, for two classes, and (n, K) for more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize, special
from sklearn.metrics import roc_curve

from deeplense.errors import InputError
from deeplense.scores.metrics import CALIBRATION_BINS, promised_and_true, wilson_interval

LARGEST_TEMPERATURE = 100.0
"""And one over it the smallest. The prior keeps all but broken networks far inside."""

LIKELIEST = "the likeliest class"
"""How classes are told apart where there are more than two."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What validation images say about the logits of a network."""

    temperature: float | None
    """Logits are divided by it."""
    threshold: float | None
    """On the calibrated probability of label 1, for two classes."""
    threshold_from: str | None
    """How it was chosen."""


NOT_CALIBRATED = Calibration(None, None, None)
"""Of a run without validation images."""


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Images of similar probability: what they were promised, and what came true."""

    count: int
    promised: float
    """Mean probability."""
    true: float
    """Share for which it came true."""
    low: float
    high: float
    """Wilson's 95 % interval of that share."""


def refuse_rate(fpr: float | None, classes: Sequence[str]) -> None:
    """Raise `InputError` if a false-positive rate is asked of more than two classes, which no threshold divides."""
    if fpr is not None and len(classes) > 2:
        raise InputError(f"--fpr {fpr:g}: there are {len(classes)} classes, and a threshold is for two: leave it out")


def calibrate(logits: np.ndarray, labels: np.ndarray, fpr: float | None = None) -> Calibration:
    """Fit temperature and threshold on validation images.

    Args:
        logits: (n, 1) or (n, K), finite.
        labels: (n,) integers; every class is there.
        fpr: the false-positive rate that the threshold is to keep; None: Youden's J chooses it.
    """
    temperature = fit_temperature(logits, labels)
    if logits.shape[1] > 1:
        return Calibration(temperature, None, LIKELIEST)
    return Calibration(temperature, *choose_threshold(labels == 1, logits[:, 0].astype(np.float64) / temperature, fpr))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by which to divide logits, at which they are the likeliest (Guo et al. 2017, arXiv:1706.04599).

    With b = 1 / temperature the log-likelihood is concave in b, but where every image is in its right place it grows
    without end. A prior b exp(-b), whose peak is at no change, makes the maximum finite and unique; it weighs as much
    as a few images do. Its place is found in log b, where the sum still has one peak.
    """
    logits = logits.astype(np.float64)
    rows = np.arange(len(labels))

    def loss(log_b: float) -> float:
        b = np.exp(log_b)
        if logits.shape[1] == 1:
            likelihood = special.log_expit(np.where(labels == 1, b, -b) * logits[:, 0])
        else:
            likelihood = special.log_softmax(b * logits, axis=1)[rows, labels]
        return float(b - log_b - likelihood.sum())

    bound = np.log(LARGEST_TEMPERATURE)
    found = optimize.minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(-found.x))


def choose_threshold(positive: np.ndarray, logits: np.ndarray, fpr: float | None = None) -> tuple[float, str]:
    """A threshold on the probability of label 1, and how it was chosen.

    It lies in the middle between the logits of the last image that it lets in and of the next one, since a
    threshold on an image's own value would let its like in or out by chance. Among equals the fewest false positives
    win.

    Args:
        positive: (n,) bool, both kinds.
        logits: (n,) float64, calibrated.
        fpr: the most that its false-positive rate may be; None: the largest difference of true- and false-positive
            rate (Youden 1950).
    """
    chances = special.expit(logits)  # decided on as they will be, where large logits are all 1
    false, true, values = roc_curve(positive, chances, drop_intermediate=False)
    if fpr is None:
        place = int(np.argmax(true - false))
        if true[place] <= false[place]:
            return 0.5, "no threshold on validation images is better than chance"
        how = "Youden's J on validation images"
    else:
        allowed = false <= fpr
        place = int(np.argmax(np.where(allowed, true, -1)))
        how = f"false-positive rate {fpr:g} on validation images"
        if fpr * (~positive).sum() < 1:
            how += f", where {(~positive).sum()} negatives are too few to resolve it"
    if place == 0:  # the first value is infinite: nothing is let in
        return float(np.nextafter(values[1], 2)), how
    inside = chances >= values[place]
    if inside.all():
        return float(values[place]), how
    middle = float(special.expit((logits[inside].min() + logits[~inside].max()) / 2))
    # Between two neighbours among numbers there is no middle.
    return (middle if chances[~inside].max() < middle else float(values[place])), how


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[ReliabilityBin]:
    """What was promised and what came true, over the bins of the expected calibration error that hold images.

    Args:
        labels: (n,) integers below K.
        probabilities: (n, K); see `metrics.promised_and_true` for what is promised where K > 2.
    """
    promised, true, bins = promised_and_true(labels, probabilities)
    rows = []
    for place in range(CALIBRATION_BINS):
        inside = bins == place
        if inside.any():
            low, high = wilson_interval(int(true[inside].sum()), int(inside.sum()))
            rows.append(
                ReliabilityBin(int(inside.sum()), float(promised[inside].mean()), float(true[inside].mean()), low, high)
            )
    return rows
