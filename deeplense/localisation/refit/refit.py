"""Lens, source and subhalos fitted together, from each place where there may be one.

Candidates are the network's detections, down to faint ones, and the best places of a linear scan (`scan.py`): the one
knows heavy subhalos by their looks, the other weighs light ones to the last photon. Each is fitted with the lens and
the source free. A likelihood may have several maxima within a pixel or two, as on either side of an arc: so the best
fit of an image is repeated from places round it, and those that end near each other are one subhalo, whose place, mass
and errors are those of all their maxima together. Of sets whose images may have several subhalos the best fit then
takes in others (`several.py`).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from deeplense.localisation.detections import Detections
from deeplense.localisation.refit.fit import STEPS, Fitted, Observed, fit, with_errors
from deeplense.localisation.refit.maxima import Maxima
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.scan import GAIN, Scan
from deeplense.localisation.refit.several import fit_several
from deeplense.localisation.refit.smooth import better_of, fit_smooth
from deeplense.localisation.refit.start import Glance
from deeplense.localisation.truth import Scale

OF_NETWORK = 2
"""Detections of the network that are fitted, of each image."""
LIKELY = 0.02
"""Expected number of the least of them."""
OF_SCAN = 3
"""Places of the scan that are fitted, of each image: in smooth images one in a hundred has three as good."""
SAME = 2.0
"""Pixels within which two fits are of one subhalo."""
WORTH = 4.0
"""Gain in log-likelihood from which on the best fit of an image is repeated from places round it."""
ROUND, DIRECTIONS = 0.1, 4
"""arcsec to those places, and how many there are."""
AT_ONCE = 512
"""Images that are held at once."""


@dataclasses.dataclass(frozen=True)
class Refitted:
    """What n images say when all is fitted together."""

    reduced_chi2: np.ndarray
    """(n,) of the smooth lens: far above 1, and the image is of another family (or has a heavy subhalo)."""
    image: np.ndarray
    """(m,) rows of the n images, ascending; in each the candidate with the largest gain first."""
    x: np.ndarray
    """(m,) arcsec."""
    y: np.ndarray
    log10_mass: np.ndarray
    covariance: np.ndarray
    """(m, 3, 3) of x, y and log10 mass."""
    gain: np.ndarray
    """(m,) log-likelihood above that of the smooth lens."""

    def evidence(self, area: float, dex: float) -> np.ndarray:
        """(m,) log of the likelihood ratio, averaged over places in `area` square arcsec and `dex` of mass: Laplace."""
        sign, log_det = np.linalg.slogdet(self.covariance)
        return self.gain + 1.5 * np.log(2 * np.pi) + 0.5 * np.where(sign > 0, log_det, 0.0) - np.log(area * dex)


class Refit:
    """What it takes to fit images of one family."""

    def __init__(self, family: Family, network: Glance, errors: Tensor) -> None:
        self.family, self.network, self.errors = family, network, errors
        self.scan = Scan(family)

    def __call__(self, counts: np.ndarray, detections: Detections, scale: Scale) -> Refitted:
        """Fit images as they are stored, (n, S, S), from what the network says of them."""
        parts = []
        for first in range(0, len(counts), AT_ONCE):
            block = torch.as_tensor(np.asarray(counts[first : first + AT_ONCE], np.float32), device=self.family.device)
            own = (detections.image >= first) & (detections.image < first + len(block))
            found = self._fit(block, detections.take(own), first, scale)
            parts.append(dataclasses.replace(found, image=found.image + first))
        columns = zip(*(dataclasses.astuple(part) for part in parts), strict=True)
        return Refitted(*(np.concatenate(column) for column in columns))

    def _fit(self, counts: Tensor, detections: Detections, first: int, scale: Scale) -> Refitted:
        family = self.family
        observed, smooth = fit_smooth(family, self.network, self.errors, counts)
        rows, places = self._candidates(observed, smooth, detections, first, scale)
        fitted = fit(family, observed.take(rows), torch.cat([smooth.vectors[rows], places], 1), STEPS)
        rows, fitted = self._round(observed, smooth, rows, fitted)
        smooth = self._smooth_again(observed, smooth, rows, fitted)
        gain = 0.5 * (smooth.chi2[rows] - fitted.chi2)
        own, fitted = slice(len(family), None), with_errors(family, observed.take(rows), fitted)
        maxima = Maxima.of(rows, fitted.vectors[:, own], fitted.covariance[:, own, own], gain)
        near = SAME * family.lens_set.camera.pixel_scale
        if family.lens_set.subhalos.most > 1:
            maxima = fit_several(family, self.scan, observed, smooth, maxima, near)
        image, (x, y, log10_mass), covariance, best = maxima.together(near)
        pixels = observed.flux.shape[1]
        reduced = (smooth.chi2 / (pixels - len(family))).cpu().numpy()
        return Refitted(reduced, image, x, y, log10_mass, covariance, best)

    def _candidates(
        self, observed: Observed, smooth: Fitted, detections: Detections, first: int, scale: Scale
    ) -> tuple[Tensor, Tensor]:
        """Image and subhalo of each fit, (m,) and (m, 3)."""
        device = self.family.device
        rank = np.arange(len(detections)) - np.searchsorted(detections.image, detections.image)
        likely = detections.take((rank < OF_NETWORK) & (detections.expected > LIKELY))
        said = np.stack([scale.from_cells(likely.x), scale.from_cells(likely.y), likely.log10_mass], 1)
        by_network = torch.as_tensor(said, dtype=torch.float32, device=device)
        rows = torch.as_tensor(likely.image - first, device=device)
        of_scan, by_scan = self.scan.promising(observed, smooth, OF_SCAN)
        return torch.cat([rows, of_scan]), torch.cat([by_network, by_scan])

    def _round(self, observed: Observed, smooth: Fitted, rows: Tensor, fitted: Fitted) -> tuple[Tensor, Fitted]:
        """The fits, and those of each image's best one repeated from places round it."""
        best = torch.full_like(smooth.chi2, torch.inf).scatter_reduce(0, rows, fitted.chi2, "amin")
        chosen = (fitted.chi2 == best[rows]) & (0.5 * (smooth.chi2[rows] - fitted.chi2) > WORTH)
        if not chosen.any():
            return rows, fitted
        width = fitted.vectors.shape[1]
        angle = torch.arange(DIRECTIONS, device=rows.device) * (2 * math.pi / DIRECTIONS)
        shift = torch.zeros(DIRECTIONS, width, device=rows.device)
        shift[:, len(self.family) : len(self.family) + 2] = ROUND * torch.stack([angle.cos(), angle.sin()], 1)
        start = (fitted.vectors[chosen][:, None] + shift).reshape(-1, width)
        there = rows[chosen].repeat_interleave(len(shift))
        again = fit(self.family, observed.take(there), start, STEPS)
        parts = ([getattr(each, field.name) for each in (fitted, again)] for field in dataclasses.fields(Fitted))
        return torch.cat([rows, there]), Fitted(*(torch.cat(part) for part in parts))

    def _smooth_again(self, observed: Observed, smooth: Fitted, rows: Tensor, fitted: Fitted) -> Fitted:
        """Smooth fits tried once more from the lens of the image's best candidate, which may have found a better one:
        else that would count for the subhalo."""
        best = torch.full_like(smooth.chi2, torch.inf)
        best = best.scatter_reduce(0, rows, fitted.chi2, "amin")
        chosen = (fitted.chi2 == best[rows]) & (smooth.chi2[rows] - fitted.chi2 > GAIN)
        if not chosen.any():
            return smooth
        again = fit(self.family, observed.take(rows[chosen]), fitted.vectors[chosen][:, : len(self.family)], STEPS)
        return better_of(smooth, rows[chosen], again)
