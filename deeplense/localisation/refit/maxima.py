"""The maxima of likelihoods: which are of one subhalo, and what they say of it together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import Tensor

ONE = 1.0
"""Squared distance, in a maximum's own errors, within which another fit has ended at that maximum."""
WIDEST = (0.5, 0.5, 0.7)
"""arcsec, arcsec, dex: no error is larger. What the image does not tell, the prior does."""


@dataclasses.dataclass(frozen=True)
class Maxima:
    """Where m fits have ended."""

    image: np.ndarray
    """(m,)."""
    place: np.ndarray
    """(m, 3): x and y in arcsec, log10 of the mass."""
    covariance: np.ndarray
    """(m, 3, 3)."""
    gain: np.ndarray
    """(m,) log-likelihood."""

    @classmethod
    def of(cls, image: Tensor, place: Tensor, covariance: Tensor, gain: Tensor) -> Maxima:
        """From fits, whose covariances get the information of a prior as wide as `WIDEST`."""
        prior = np.diag(1 / np.square(WIDEST))
        wide = covariance.double().cpu().numpy() + 1e-12 * np.eye(len(WIDEST))
        narrowed = np.linalg.inv(np.linalg.inv(wide) + prior)
        return cls(image.cpu().numpy(), place.double().cpu().numpy(), narrowed, gain.double().cpu().numpy())

    @classmethod
    def joined(cls, parts: Sequence[Maxima]) -> Maxima:
        """All of several."""
        columns = ([getattr(part, field.name) for part in parts] for field in dataclasses.fields(cls))
        return cls(*(np.concatenate(column) for column in columns))

    def take(self, which: np.ndarray) -> Maxima:
        return Maxima(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))

    def best(self) -> np.ndarray:
        """(k,) numbers of each image's largest gain, by image."""
        order = np.lexsort((-self.gain, self.image))
        return order[np.unique(self.image[order], return_index=True)[1]]

    def of_best(self, near: float) -> Maxima:
        """Those within `near` arcsec of the best one of their image."""
        best = self.best()
        own = best[np.searchsorted(self.image[best], self.image)]
        return self.take(np.hypot(*(self.place - self.place[own])[:, :2].T) < near)

    def together(self, near: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Image (k,), place (3, k), covariance (k, 3, 3) and gain (k,) of k subhalos, an image's largest gain first.

        Args:
            near: arcsec from a better fit within which a fit is of the same subhalo.
        """
        groups: list[list[int]] = []  # of each subhalo its maxima, the best one first
        start = 0  # of the image's groups
        for number in np.lexsort((-self.gain, self.image)):
            if groups and self.image[groups[-1][0]] != self.image[number]:
                start = len(groups)
            for group in groups[start:]:
                if np.hypot(*(self.place[group[0]] - self.place[number])[:2]) < near:
                    if not any(self._at(number, own) for own in group):
                        group.append(number)
                    break
            else:
                groups.append([number])
        best = np.array([group[0] for group in groups], dtype=int)
        moments = [self._moments(np.array(group)) for group in groups]
        place = np.array([mean for mean, _ in moments]).reshape(-1, 3)
        covariance = np.array([spread for _, spread in moments]).reshape(-1, 3, 3)
        return self.image[best], place.T, covariance, self.gain[best]

    def _at(self, number: int, own: int) -> bool:
        """Whether a fit has ended at the maximum of another."""
        apart = self.place[number] - self.place[own]
        return bool(apart @ np.linalg.solve(self.covariance[own], apart) < ONE)

    def _moments(self, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of a mixture of Gaussians, each as heavy as the integral of its likelihood (Laplace)."""
        if len(group) == 1:
            return self.place[group[0]], self.covariance[group[0]]
        size = self.gain[group] + 0.5 * np.linalg.slogdet(self.covariance[group])[1]
        weight = np.exp(size - size.max())
        weight /= weight.sum()
        mean = weight @ self.place[group]
        apart = self.place[group] - mean
        within = np.einsum("k,kij->ij", weight, self.covariance[group])
        return mean, within + np.einsum("k,ki,kj->ij", weight, apart, apart)
