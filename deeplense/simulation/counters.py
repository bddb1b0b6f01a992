"""Random numbers as a function of a counter: Philox4x32-10 in plain integer tensor operations.

The generators of torch have a state and differ between a CPU and a GPU, so image 7 would depend on the six before it.
Here a random word is a function of (key, counter): the key comes from the set and its seed, the counter from the image
and the place in it. The integers are the same on every device, in any batch, in any order, and the operations fuse
under `torch.compile` with whatever uses them.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (passes BigCrush).
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

_COUNTED_BELOW = 5.0
"""Poisson means below this are inverted by counting, above by expansion."""
_MOST_COUNTED = 19
"""A mean of 5 exceeds it with a probability below 1e-6."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def key_of(*parts: object) -> tuple[int, int]:
    """The two 32-bit key words that stand for `parts` (what they print as)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def philox(key: Tensor, counter: Words) -> Words:
    """Four independent 32-bit words for each counter.

    `key` is (2,) int64, `counter` four int64 tensors that broadcast, all with values in [0, 2^32). An int64 product of
    two such words wraps, and keeps the right 64 bits: its upper half is the arithmetic shift, masked.
    """
    c0, c1, c2, c3 = counter
    for turn in range(_ROUNDS):
        k0 = (key[0] + turn * _WEYL[0]) & _MASK
        k1 = (key[1] + turn * _WEYL[1]) & _MASK
        left, right = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = ((right >> 32) & _MASK) ^ c1 ^ k0, right & _MASK
        c2, c3 = ((left >> 32) & _MASK) ^ c3 ^ k1, left & _MASK
    return c0, c1, c2, c3


def uniform(word: Tensor) -> Tensor:
    """A float32 uniform in (0, 1): the middles of 2^23 equal cells, so that neither end is ever met."""
    return ((word >> 9).to(torch.float32) + 0.5) * 2.0**-23


def normals(word_a: Tensor, word_b: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals from two words (Box and Muller); none beyond 5.77."""
    radius = (-2.0 * uniform(word_a).log()).sqrt()
    angle = (2.0 * math.pi) * uniform(word_b)
    return radius * angle.cos(), radius * angle.sin()


def poisson(mean: Tensor, quantile: Tensor) -> Tensor:
    """Poisson numbers of the given means, float32, from standard normals: the same normal, the same number.

    The number is the quantile of the Poisson law at the probability of the normal. Below a mean of 5 it is found by
    counting up the distribution, exact but for float32 rounding and for the upper tail, which is cut at a
    probability of 1e-6. From there on it is the normal expansion of the quantile to the order 1/mean, rounded down
    (Giles, "Algorithm 955", ACM TOMS 42, 2016, eq. 7): wrong by one count in 1 of 800 draws at a mean of 5, and in
    fewer above. Negative means count as 0.
    """
    mean = mean.clamp(min=0.0)
    # Small means.
    low = mean.clamp(max=_COUNTED_BELOW)
    probability = (0.5 + 0.5 * torch.erf(quantile * math.sqrt(0.5))).clamp(max=1.0 - 1e-6)
    term = cumulative = (-low).exp()
    counted = torch.zeros_like(mean)
    for k in range(1, _MOST_COUNTED + 1):
        counted = torch.where(probability > cumulative, float(k), counted)
        term = term * (low * (1.0 / k))  # one multiplication in the chain, not two: it waits for each
        cumulative = cumulative + term
    # Large means.
    high = mean.clamp(min=_COUNTED_BELOW)
    w, w2 = quantile, quantile * quantile
    root = high.sqrt()
    expansion = high + root * w + (1.0 / 3.0 + w2 / 6.0) - w * (1.0 / 36.0 + w2 / 72.0) / root
    expansion = expansion + (-8.0 / 405.0 + w2 * (7.0 / 810.0 + w2 / 270.0)) / high
    return torch.where(mean < _COUNTED_BELOW, counted, expansion.floor().clamp(min=0.0))
