"""Expected numbers and sigmas that mean what they say: corrections fitted on validation images, kept with the weights.

The integral of the density is an expected number. As detections are a beam apart, there is one subhalo there or none,
and so it is a probability as well: 1 - exp(-integral), which a Poisson law would give, says 0.63 of one that is
certain. What a network has not quite learned is mended by three numbers (beta calibration: Kull, Silva Filho & Flach
2017): the faint detections, of which there are hundreds for each strong one, may need another slope than the strong
ones. Sums of expected numbers, and sigmas, are mended by one factor each, masses by a straight line.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize, special

FEWEST = 20
"""Errors from which anything is learned of masses and sigmas."""
SLOPE = 0.2
"""How far the slope of masses may well be from 1."""
SUREST = 1e-3
"""What an expected number is kept below 1 and above 0 by, as log-odds: around a certain one it scatters about 1."""


@dataclasses.dataclass(frozen=True)
class Promise:
    """How an expected number s becomes a probability: logit P = offset + low log s - high log(1 - s)."""

    offset: float = 0.0
    low: float = 1.0
    """Slope in log-odds where s is small."""
    high: float = 1.0
    """The same where s is near 1."""

    def probability(self, expected: np.ndarray) -> np.ndarray:
        """Of expected numbers (m,), each in (0, 1)."""
        return special.expit(self.offset + _ends(expected) @ [self.low, self.high])

    @staticmethod
    def fitted(expected: np.ndarray, true: np.ndarray) -> Promise:
        """The likeliest one where (m,) expected numbers came true or not, with a prior worth a few cases."""
        ends, sign = _ends(expected), np.where(true, 1.0, -1.0)

        def loss(values: np.ndarray) -> float:
            prior = 0.5 * values[0] ** 2 + 2 * ((values[1:] - 1) ** 2).sum()
            return float(prior - special.log_expit(sign * (values[0] + ends @ values[1:])).sum())

        bounds = [(-10, 10), (0.05, 20), (0.05, 20)]  # a larger number is never less probable
        found = optimize.minimize(loss, np.array([0.0, 1.0, 1.0]), method="L-BFGS-B", bounds=bounds)
        return Promise(*(float(value) for value in found.x))


def straight(said: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """Offset and slope of the mean of `true` (m,) where something is `said` (m,): least squares, with a prior on the
    slope as wide as `SLOPE`.

    (0, 1) for fewer than `FEWEST`.
    """
    if len(said) < FEWEST:
        return 0.0, 1.0
    middle, error = said.mean(), true - said
    along = said - middle
    slope = 1.0 + float(along @ error / (along @ along + error.var() / SLOPE**2 + 1e-12))
    slope = max(slope, 0.05)  # nothing that is heavier is lighter
    return float(true.mean() - slope * middle), slope


def sigma_factor(errors: np.ndarray, sigmas: np.ndarray) -> float:
    """By which sigmas (m,) are too small: the size of pulls that holds 68 % of them, which no outlier moves.

    1 for fewer than `FEWEST` errors.
    """
    if len(errors) < FEWEST:
        return 1.0
    return float(np.quantile(np.abs(errors / sigmas), special.erf(np.sqrt(0.5))))


def _ends(expected: np.ndarray) -> np.ndarray:
    """log s and -log(1 - s), (m, 2)."""
    inside = np.clip(np.asarray(expected, dtype=np.float64), SUREST**2, 1 - SUREST)
    return np.stack([np.log(inside), -np.log1p(-inside)], 1)
