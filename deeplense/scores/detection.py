"""True-positive rates at a fixed false-positive rate, with intervals that know of both finite numbers of images.

Nothing here knows of lenses, networks or files.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Of all intervals."""
_TAIL = (1 - LEVEL) / 2


@dataclasses.dataclass(frozen=True)
class Threshold:
    """The score above which an image counts as detected, set by negative images."""

    fpr: float
    """The false-positive rate that it is for."""
    negatives: int
    """Images that it was set by."""
    value: float
    """At most `fpr` of the negatives are above it: the lowest of their scores of which that is true."""
    low: float
    high: float
    """Between these the threshold of infinitely many negatives would lie: order statistics, exact for any law of the
    scores. Infinite where the negatives are too few to say."""


@dataclasses.dataclass(frozen=True)
class Rate:
    """A share of images, with its interval."""

    n: int
    hits: int
    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, Any]:
        return {"n": self.n, "hits": self.hits, "rate": self.value, "low": self.low, "high": self.high}


def threshold_at(negatives: np.ndarray, fpr: float) -> Threshold:
    """The threshold that has the false-positive rate `fpr` on the scores of negative images, (n,).

    Of n negatives, the number K above the true threshold is binomial, whatever the scores' law. So the threshold lies
    above the score number j + 1 from the top with the probability of K <= j (David & Nagaraja, Order Statistics, 2003,
    section 7.1).
    """
    falling = np.sort(np.asarray(negatives, dtype=np.float64))[::-1]
    n = len(falling)
    law = stats.binom(n, fpr)
    below = int(law.ppf(_TAIL)) - 1  # the last j with P(K <= j) < tail
    above = int(law.ppf(1 - _TAIL))
    return Threshold(
        fpr=fpr,
        negatives=n,
        value=float(falling[int(fpr * n + 1e-9)]),  # 0.29 * 100 is 28.999...
        low=float(falling[above]) if above < n else -np.inf,
        high=float(falling[below]) if below >= 0 else np.inf,
    )


def detection_rate(positives: np.ndarray, threshold: Threshold) -> Rate:
    """The share of positive images, by their scores (n,), that are above the threshold.

    Two things make it uncertain: these images are finitely many (Wilson's interval), and so are those that set the
    threshold (the rates at both ends of its interval). The distances of the limits are added in squares, on each side
    by itself: the "method of variance estimates recovery" (Zou & Donner, Statistics in Medicine 27, 2008, 1693).
    """
    n = len(positives)
    hits = int((positives > threshold.value).sum())
    alone = proportion(hits, n)
    strict, lax = ((positives > end).sum() / n for end in (threshold.high, threshold.low))
    low = alone.value - np.hypot(alone.value - alone.low, alone.value - strict)
    high = alone.value + np.hypot(alone.high - alone.value, lax - alone.value)
    return Rate(n, hits, alone.value, max(0.0, float(low)), min(1.0, float(high)))


def proportion(hits: int, n: int) -> Rate:
    """`hits` of `n` with Wilson's interval (JASA 22, 1927, 209)."""
    z = float(stats.norm.ppf(1 - _TAIL))
    share = hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # Exact at the ends, where rounding would leave 1e-17.
    low, high = (0.0 if hits == 0 else float(centre - half)), (1.0 if hits == n else float(centre + half))
    return Rate(n, hits, share, low, high)


def crossing(x: np.ndarray, y: np.ndarray, level: float) -> float | None:
    """Where y(x), joined by straight lines, first rises through `level`; None if it does not."""
    for k in range(1, len(x)):
        if y[k - 1] < level <= y[k]:
            return float(x[k - 1] + (level - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1]))
    return None
