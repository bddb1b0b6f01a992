"""Expected numbers and sigmas that mean what they say: corrections fitted on validation images, kept with the weights.

The integral of the density is an expected number. As detections are a beam apart, there is one subhalo there or none,
and so it is a probability as well: 1 - exp(-integral), which a Poisson law would give, says 0.63 of one that is
certain. What a network has not quite learned is mended by a straight line in log-odds (Platt 1999), and sigmas by one
factor each.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize, special

SUREST = 1e-3
"""What an expected number is kept below 1 and above 0 by, as log-odds: around a certain one it scatters about 1."""


@dataclasses.dataclass(frozen=True)
class Promise:
    """How an expected number becomes a probability: logit P = offset + slope logit(number)."""

    offset: float = 0.0
    slope: float = 1.0

    def probability(self, expected: np.ndarray) -> np.ndarray:
        """Of expected numbers (m,), each in (0, 1)."""
        return special.expit(self.offset + self.slope * _log_odds(expected))

    @staticmethod
    def fitted(expected: np.ndarray, true: np.ndarray) -> Promise:
        """The likeliest one where (m,) expected numbers came true or not, with a prior worth a few cases at no
        change."""
        odds, sign = _log_odds(expected), np.where(true, 1.0, -1.0)

        def loss(line: np.ndarray) -> float:
            offset, slope = line
            prior = 0.5 * offset**2 + 2 * (slope - 1) ** 2
            return float(prior - special.log_expit(sign * (offset + slope * odds)).sum())

        found = optimize.minimize(loss, np.array([0.0, 1.0]), method="L-BFGS-B", bounds=[(-10, 10), (0.05, 20)])
        return Promise(float(found.x[0]), float(found.x[1]))


def sigma_factor(errors: np.ndarray, sigmas: np.ndarray) -> float:
    """By which sigmas (m,) are too small: the size of pulls that holds 68 % of them, which no outlier moves.

    1 for fewer than 20 errors.
    """
    if len(errors) < 20:
        return 1.0
    return float(np.quantile(np.abs(errors / sigmas), special.erf(np.sqrt(0.5))))


def _log_odds(expected: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(np.asarray(expected, dtype=np.float64), SUREST**2, 1 - SUREST))
