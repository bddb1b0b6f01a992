"""Distributions that parameters are drawn from, each as its quantile function.

A draw is `prior.at(u)` with u uniform in (0, 1): no generator and no state, so that the same u gives the same value in
every batch. The formulas are plain arithmetic on whatever `u` is (a float32 tensor on any device).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


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


Prior = Fixed | Uniform | LogUniform | PowerLaw | Normal | Poisson


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
