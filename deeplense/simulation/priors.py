"""Distributions that parameters are drawn from, each as its quantile function.

A draw is `prior.at(u)` with u uniform in (0, 1): no generator and no state, so that the same u gives the same value in
every batch. The formulas are plain arithmetic on whatever `u` is (a float32 tensor on any device).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


_STEPS = 2048
"""Of a mass function that is inverted by a table: 16 decades in steps of 2 %."""


@dataclass(frozen=True)
class Fixed:
    """Always `value`."""

    value: float

    def at(self, u: Tensor) -> Tensor:
        return u.new_full(u.shape, self.value)


@dataclass(frozen=True)
class Uniform:
    """Uniform in [low, high]."""

    low: float
    high: float

    def at(self, u: Tensor) -> Tensor:
        return self.low + (self.high - self.low) * u


@dataclass(frozen=True)
class LogUniform:
    """Uniform in the logarithm, between low and high (both above 0)."""

    low: float
    high: float

    def at(self, u: Tensor) -> Tensor:
        return (math.log(self.low) + math.log(self.high / self.low) * u).exp()


@dataclass(frozen=True)
class PowerLaw:
    """Density proportional to x^slope between low and high; slope is not -1 (that is `LogUniform`)."""

    slope: float
    low: float
    high: float

    def at(self, u: Tensor) -> Tensor:
        # In units of `low`: 1e10 Msun to a power near -1 would lose digits in float32.
        power = self.slope + 1.0
        top = (self.high / self.low) ** power
        return self.low * (1.0 + (top - 1.0) * u) ** (1.0 / power)


@dataclass(frozen=True)
class Normal:
    """Gaussian."""

    mean: float
    deviation: float

    def at(self, u: Tensor) -> Tensor:
        return self.mean + self.deviation * math.sqrt(2.0) * (2.0 * u - 1.0).erfinv()


@dataclass(frozen=True)
class TruncatedNormal:
    """Gaussian between `low` and `high`, with nothing beyond."""

    mean: float
    deviation: float
    low: float
    high: float

    def at(self, u: Tensor) -> Tensor:
        law = NormalDist(self.mean, self.deviation)
        below, above = law.cdf(self.low), law.cdf(self.high)
        v = below + (above - below) * u
        return (self.mean + self.deviation * math.sqrt(2.0) * (2.0 * v - 1.0).erfinv()).clamp(self.low, self.high)


@dataclass(frozen=True)
class WarmPowerLaw:
    """A mass function with the cut-off of warm dark matter: m^slope / (1 + 2.7 half_mode/m)^0.99 between low and high.

    Lovell et al. 2014 (arXiv:1308.1399, eq. 7), for subhalos; a half-mode mass of 0 is cold dark matter.
    """

    slope: float
    low: float
    high: float
    half_mode: float
    """Msun. Here the number of subhalos has fallen to a quarter of that of cold dark matter."""

    def at(self, u: Tensor) -> Tensor:
        import torch  # here, since only whoever has a tensor comes by

        masses, cumulative = (u.new_tensor(column) for column in _cumulative(self))
        right = torch.searchsorted(cumulative, u.contiguous()).clamp(1, len(masses) - 1)
        there, here = cumulative[right], cumulative[right - 1]
        share = ((u - here) / (there - here)).clamp(0.0, 1.0)
        return (masses[right - 1].log() + share * (masses[right] / masses[right - 1]).log()).exp()


@dataclass(frozen=True)
class Poisson:
    """A whole number, Poisson distributed, cut at `most` (so that a batch has a fixed number of places)."""

    mean: float
    most: int

    def at(self, u: Tensor) -> Tensor:
        number = u.new_zeros(u.shape)
        term = cumulative = math.exp(-self.mean)
        for k in range(1, self.most + 1):
            number = number + (u > cumulative)
            term *= self.mean / k
            cumulative += term
        return number


Prior = Fixed | Uniform | LogUniform | PowerLaw | Normal | TruncatedNormal | WarmPowerLaw | Poisson


def bounds(prior: Prior) -> tuple[float, float]:
    """The least and the greatest value that a prior gives."""
    if isinstance(prior, Fixed):
        return prior.value, prior.value
    if isinstance(prior, Normal):
        return -math.inf, math.inf
    return (0.0, prior.most) if isinstance(prior, Poisson) else (prior.low, prior.high)


def mean_mass(law: Fixed | LogUniform | PowerLaw | WarmPowerLaw) -> float:
    """The expectation of a mass function."""
    if isinstance(law, Fixed):
        return law.value
    masses, cumulative = _cumulative(law)
    steps = zip(pairwise(masses), pairwise(cumulative), strict=True)
    return sum(math.sqrt(low * high) * (above - below) for (low, high), (below, above) in steps)


@functools.cache
def _cumulative(law: LogUniform | PowerLaw | WarmPowerLaw) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Masses, equal steps in the logarithm, and the share of a mass function below each."""
    slope = -1.0 if isinstance(law, LogUniform) else law.slope
    half_mode = law.half_mode if isinstance(law, WarmPowerLaw) else 0.0
    masses = [law.low * (law.high / law.low) ** (k / _STEPS) for k in range(_STEPS + 1)]
    # In units of `low`, and a number in each step of the logarithm: the density times the mass in its middle.
    middles = [math.sqrt(low * high) for low, high in pairwise(masses)]
    weights = [(m / law.low) ** (slope + 1.0) * (1.0 + 2.7 * half_mode / m) ** -0.99 for m in middles]
    sums = [0.0, *accumulate(weights)]
    return tuple(masses), tuple(part / sums[-1] for part in sums)


@dataclass(frozen=True)
class Cartesian:
    """A position by its coordinates in arcsec."""

    x: Prior
    y: Prior

    def at(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self.x.at(u), self.y.at(v)


@dataclass(frozen=True)
class Polar:
    """A position by its distance from the centre in arcsec and its angle in radians."""

    radius: Prior
    angle: Prior = Uniform(0.0, 2.0 * math.pi)

    def at(self, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        radius, angle = self.radius.at(u), self.angle.at(v)
        return radius * angle.cos(), radius * angle.sin()
