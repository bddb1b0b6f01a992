"""How like the images that a run knows an image is, and whether a set of images is like theirs.

Training images say what is usual; the same images, changed on purpose, in which direction such changes move them; and
validation images, which had no part in either, how strange an image of the run's own may be. Plain arrays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf

FOREIGN = 0.01
"""An image of a lower familiarity is foreign."""
MANY = 0.05
"""If a larger share of images is foreign, that is said before all else,"""
CHANCE = 0.05
"""unless chance alone gives as many foreign ones more often than this: validation images may be few."""
TAIL = 0.005
"""Each measure of strangeness is counted in the distance from the median to where this share of training images is."""
LEAST = 1e-4
"""Spread of a feature, or of a measure, below which it has none; a channel that is always dark may not divide by 0, and
what varies in the mean of standardised pixels is rounding."""
FEWEST = 10
"""Training images, and validation images, without which nothing is fitted."""
COMPARED = 1000
"""Images of a set that the two-sample test takes, at most."""
PERMUTATIONS = 999
SHIFTED = 0.005
"""A p-value of that test that is worth a line."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What n images look like to a run."""

    familiarity: np.ndarray
    """(n,) share of the validation images that are at least as strange, 0 to 1."""
    strangeness: np.ndarray
    """(n,) the largest of the measures; it orders images whose familiarity is 0 as well."""
    measures: np.ndarray
    """(n, T)."""
    known: np.ndarray
    """(m, T) those of validation images."""

    @property
    def foreign(self) -> np.ndarray:
        """(n,) bool."""
        return self.familiarity < FOREIGN

    @property
    def unfamiliar(self) -> float:
        """Share of foreign images."""
        return float(self.foreign.mean())

    @property
    def chance(self) -> float:
        """How often as many of n images would be foreign if they were like the m validation images.

        Of m + n such images the foreign ones are those beyond the j-th strangest of validation, so their number has a
        beta-binomial law, whatever the law of the strangeness.
        """
        m, n = len(self.known), len(self.familiarity)
        return float(stats.betabinom.sf(self.foreign.sum() - 1, n, self._beyond, m + 1 - self._beyond))

    @property
    def border(self) -> float:
        """Strangeness above which an image is foreign."""
        return float(np.sort(self.known.max(1))[-self._beyond])

    @property
    def _beyond(self) -> int:
        """An image is foreign that is stranger than the validation image of this number, from the strangest down."""
        return int(np.ceil(FOREIGN * len(self.known) - 1e-9))

    @property
    def many_foreign(self) -> bool:
        """Whether that is to be said before all else."""
        return self.unfamiliar > MANY and self.chance < CHANCE

    def strangest(self, most: int) -> np.ndarray:
        """Places of the strangest images, (k,) with k <= `most`, the strangest first."""
        return np.argsort(-self.strangeness, kind="stable")[:most]

    def take(self, rows: np.ndarray) -> Look:
        """Of some of the images."""
        return dataclasses.replace(
            self,
            familiarity=self.familiarity[rows],
            strangeness=self.strangeness[rows],
            measures=self.measures[rows],
        )

    def shift(self, seed: int = 0) -> Shift:
        """Whether the images, as a set, are like validation images; of many, of a random sample."""
        some = self.measures
        if len(some) > COMPARED:
            some = some[np.random.default_rng(seed).choice(len(some), COMPARED, replace=False)]
        return two_sample(some, self.known, seed)


@dataclasses.dataclass(frozen=True)
class Familiarity:
    """What the images of a run look like in F features, P of pixels and then those of the network's stages.

    Arrays are float32; T = 2 + D.
    """

    stages: tuple[str, ...]
    """Their names in the network."""
    centre: np.ndarray
    scale: np.ndarray
    """(F,) mean and spread over training images."""
    whiten_pixels: np.ndarray
    """(P, P): centred and scaled features of pixels, times this, have unit covariance."""
    whiten_last: np.ndarray
    """(P + L, P + L): the same of the features of pixels and of the last stage together."""
    directions: np.ndarray
    """(F, D): centred and scaled features, times this, are how far a known change has moved an image, perhaps."""
    middle: np.ndarray
    tail: np.ndarray
    """(T,) of each measure over training images: its median, and how far above that `TAIL` of them begin."""
    known: np.ndarray
    """(m, T) measures of validation images."""

    @property
    def features(self) -> int:
        """F."""
        return len(self.centre)

    @property
    def of_pixels(self) -> int:
        """P."""
        return len(self.whiten_pixels)

    @property
    def last(self) -> np.ndarray:
        """The places of the features of pixels and of the last stage."""
        return _last(self.features, self.of_pixels, len(self.whiten_last) - self.of_pixels)

    def look(self, features: np.ndarray) -> Look:
        """Of images by their features, (n, F)."""
        measures = self.measures(features)
        strangeness = measures.max(1)
        at_least = len(self.known) - np.searchsorted(np.sort(self.known.max(1)), strangeness, side="left")
        return Look(at_least / len(self.known), strangeness, measures, self.known)

    def measures(self, features: np.ndarray) -> np.ndarray:
        """How strange images are in each way, (n, F) to (n, T), in lengths of its tail.

        The first two are Mahalanobis distances, of the pixels and of pixels and last stage. The others are one-sided,
        along the direction that separates images from changed ones best (Fisher's linear discriminant). The distances
        see what nobody thought of; a direction sees a small change that is lost among hundreds of features.
        """
        unit = (features - self.centre) / self.scale
        distances = (
            _length(unit[:, : self.of_pixels] @ self.whiten_pixels),
            _length(unit[:, self.last] @ self.whiten_last),
        )
        raw = np.column_stack([*distances, unit @ self.directions])
        return ((raw - self.middle) / self.tail).astype(np.float32)


def fit(
    usual: np.ndarray,
    changed: Sequence[np.ndarray],
    held_out: np.ndarray,
    of_pixels: int,
    of_last: int,
    stages: tuple[str, ...] = (),
) -> Familiarity | None:
    """What the images of a run look like; None if they are fewer than `FEWEST`.

    Args:
        usual: (n, F) features of training images.
        changed: for each change, (k, F) of the first k of them, changed.
        held_out: (m, F) of validation images.
        of_pixels: P: how many of the features are of pixels, the first ones.
        of_last: L: how many are of the last stage, the last ones.
    """
    if min(len(usual), len(held_out)) < FEWEST:
        return None
    usual = usual.astype(np.float64)
    centre, scale = usual.mean(0), usual.std(0).clip(LEAST)
    unit = (usual - centre) / scale
    last = _last(usual.shape[1], of_pixels, of_last)
    moved = [(some - centre) / scale - unit[: len(some)] for some in changed]
    # In the pixels as well; and not in them, since coding as JPEG hides from the spectrum what the stages still see.
    directions = [_direction(unit, moved, columns) for columns in (last, np.arange(of_pixels, usual.shape[1]))]
    found = Familiarity(
        stages=stages,
        centre=centre,
        scale=scale,
        whiten_pixels=_whitening(unit[:, :of_pixels]),
        whiten_last=_whitening(unit[:, last]),
        directions=np.concatenate(directions, axis=1),
        middle=np.zeros(1),
        tail=np.ones(1),
        known=np.zeros((0, 0)),
    )
    raw = found.measures(usual)
    middle = np.median(raw, axis=0)
    tail = (np.quantile(raw, 1 - TAIL, axis=0) - middle).clip(LEAST)
    found = dataclasses.replace(found, middle=middle, tail=tail)
    # As it will be read: what is known has to be measured by the same numbers as what is asked.
    found = Familiarity(stages, **{name: value.astype(np.float32, order="C") for name, value in arrays_of(found)})
    return dataclasses.replace(found, known=found.measures(held_out))


def arrays_of(familiarity: Familiarity) -> list[tuple[str, np.ndarray]]:
    """Its arrays by their names."""
    return [(name, value) for name, value in vars(familiarity).items() if isinstance(value, np.ndarray)]


def _last(features: int, of_pixels: int, of_last: int) -> np.ndarray:
    """The places of the features of pixels and of the last stage."""
    return np.concatenate([np.arange(of_pixels), np.arange(features - of_last, features)])


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(vectors).sum(1))


def _whitening(unit: np.ndarray) -> np.ndarray:
    """(F, F): (n, F) times it has unit covariance, as far as n images tell (Ledoit & Wolf, J. Multivariate Analysis 88
    (2004) 365). A feature that does not vary by `LEAST` stays as it is: rounding may not be made large."""
    covariance, _ = ledoit_wolf(unit)
    still = unit.std(0) < 0.99  # the others have been scaled to 1
    covariance[still] = covariance[:, still] = 0
    covariance[still, still] = 1
    values, vectors = np.linalg.eigh(covariance)
    return vectors / np.sqrt(values.clip(LEAST**2))


def _direction(unit: np.ndarray, moved: Sequence[np.ndarray], columns: np.ndarray) -> np.ndarray:
    """(F, D): for each change, the direction among `columns` in which it moves images most, for their spread there."""
    whitening = _whitening(unit[:, columns])
    directions = np.zeros((unit.shape[1], len(moved)))
    for place, one in enumerate(moved):
        step = one[:, columns].mean(0) @ whitening
        directions[columns, place] = whitening @ step / max(float(np.linalg.norm(step)), LEAST)
    return directions


@dataclasses.dataclass(frozen=True)
class Shift:
    """Of two sets of images."""

    distance: float
    """Their energy distance, from ranks: 0 for equal laws."""
    p: float
    """How often sets of the same law are as far apart; 1 / (`PERMUTATIONS` + 1) at least."""

    @property
    def worth_a_line(self) -> bool:
        return self.p < SHIFTED


def two_sample(some: np.ndarray, others: np.ndarray, seed: int = 0) -> Shift:
    """Whether two sets of vectors, (n, T) and (m, T), have one law: the energy distance of their ranks (Székely and
    Rizzo, J. Stat. Planning and Inference 143 (2013) 1249), and how often permuted ones have a larger one.

    Ranks, in each coordinate over both sets, so that a few images from far away do not hide the many.
    """
    n, m = len(some), len(others)
    ranks = stats.rankdata(np.concatenate([some, others]), axis=0) / (n + m)
    distances = cdist(ranks, ranks).astype(np.float32)
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, -1 / m)]).astype(np.float32)
    random = np.random.default_rng(seed)
    drawn = np.stack([weights, *(random.permutation(weights) for _ in range(PERMUTATIONS))])
    energies = -((drawn @ distances) * drawn).sum(1)
    as_far = int((energies[1:] >= energies[0] * (1 - 1e-6)).sum())
    return Shift(float(energies[0]), (1 + as_far) / (1 + PERMUTATIONS))


def split_scores(
    look: Look, score: Callable[[np.ndarray], dict[str, Any]], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The scores called `names` of familiar and of foreign images apart, if there are both.

    Args:
        score: gives the scores of some of the images, by their places.
    """
    kinds = {"familiar": np.flatnonzero(~look.foreign), "foreign": np.flatnonzero(look.foreign)}
    if not all(map(len, kinds.values())):
        return {}
    scored = {kind: score(rows) for kind, rows in kinds.items()}
    return {kind: {name: of[name] for name in names} for kind, of in scored.items()}
