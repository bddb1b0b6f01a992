"""Several subhalos of an image, fitted together with its lens and its source.

The best fit of each image takes in another subhalo, from where the fit so far is linearly bettered most or where a
subhalo by itself has been found, as long as that is worth it. In the end each is weighed by what the likelihood loses
when all is fitted again without it, and goes if that is little: the first may have stood in for two others.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deeplense.localisation.refit.fit import STEPS, Fitted, Observed, fit, with_errors
from deeplense.localisation.refit.maxima import Maxima
from deeplense.localisation.refit.parameters import SUBHALO, Family
from deeplense.localisation.refit.scan import Scan

MOST = 8
"""Subhalos of an image that are fitted together."""
JOINS = 8.0
"""Gain in log-likelihood from which on a subhalo is taken in: noise gives 5 or 6 at the best of all places."""
OF_SCAN, OF_SINGLES = 2, 1
"""Places from which the next one is sought, of each image."""


def fit_several(family: Family, scan: Scan, observed: Observed, smooth: Fitted, singles: Maxima, near: float) -> Maxima:
    """The subhalos of n images: all those that are worth being taken in, and faint ones beside them.

    Args:
        smooth: the fits (n,) without any.
        singles: where fits with one have ended.
        near: arcsec within which two are one.
    """
    device = smooth.chi2.device
    best = singles.best()
    best = best[singles.gain[best] > JOINS]
    if not len(best):
        return singles
    images = torch.as_tensor(singles.image[best], device=device)
    start = torch.cat([smooth.vectors[images], _tensor(singles.place[best], smooth.vectors)], 1)
    state = fit(family, observed.take(images), start, STEPS)
    found = [singles.take(~np.isin(singles.image, singles.image[best]))]
    for number in range(1, MOST + 1):
        rows, places = _next(scan, observed.take(images), state, images, singles, near)
        start = torch.cat([state.vectors[rows], places], 1)
        more = fit(family, observed.take(images[rows]), start, STEPS)
        gain = 0.5 * (state.chi2[rows] - more.chi2)
        most = torch.zeros_like(state.chi2).scatter_reduce(0, rows, gain, "amax")
        goes_on = (most > JOINS) & (number < MOST)
        ends = ~goes_on
        if number == 1:
            alone = singles.take(np.isin(singles.image, images[ends].cpu().numpy()))
            found.append(alone.of_best(near))
        else:
            found += _weighed(family, observed, smooth, state.take(ends), images[ends])
        faint = ends[rows] & (_apart(state.vectors[rows, len(family) :], more.vectors[:, -SUBHALO:]) > near)
        found.append(_last(family, observed, more.take(faint), images[rows[faint]], gain[faint]))
        if not goes_on.any():
            break
        is_best = (gain == most[rows]).nonzero()[:, 0]
        first = torch.full_like(images, len(rows)).scatter_reduce(0, rows[is_best], is_best, "amin")
        images, state = images[goes_on], more.take(first[goes_on])
    return Maxima.joined(found)


def _next(
    scan: Scan, observed: Observed, state: Fitted, images: Tensor, singles: Maxima, near: float
) -> tuple[Tensor, Tensor]:
    """Rows of `state` (m,) and places of another subhalo (m, 3): of the scan, and of those found by themselves.

    Args:
        images: of the rows, ascending.
    """
    width = len(scan.family)

    def apart(rows: Tensor, places: Tensor) -> Tensor:
        return _apart(state.vectors[rows, width:], places) > near

    ordered = singles.take(np.lexsort((-singles.gain, singles.image)))
    image, by_single = torch.as_tensor(ordered.image, device=images.device), _tensor(ordered.place, state.vectors)
    of_single = torch.searchsorted(images, image).clamp(max=len(images) - 1)
    own = (images[of_single] == image) & apart(of_single, by_single)
    of_single, by_single = of_single[own], by_single[own]
    rank = torch.arange(len(of_single), device=images.device) - torch.searchsorted(of_single, of_single)
    of_scan, by_scan = scan.promising(observed, state, OF_SCAN)
    first, far = rank < OF_SINGLES, apart(of_scan, by_scan)
    return torch.cat([of_scan[far], of_single[first]]), torch.cat([by_scan[far], by_single[first]])


def _weighed(family: Family, observed: Observed, smooth: Fitted, state: Fitted, images: Tensor) -> list[Maxima]:
    """The subhalos of fits with several of them, each worth what is lost without it, and none of them too little.

    Args:
        observed: all images, (n,).
        smooth: the fits of them without any.
        state: those of `images` (m,).
    """
    subhalos = [slice(first, first + SUBHALO) for first in range(len(family), state.vectors.shape[1], SUBHALO)]
    if not len(images) or len(subhalos) < 2:
        return [_last(family, observed, state, images, 0.5 * (smooth.chi2[images] - state.chi2))]
    starts = (torch.cat([state.vectors[:, : own.start], state.vectors[:, own.stop :]], 1) for own in subhalos)
    without = [fit(family, observed.take(images), start, STEPS) for start in starts]
    gains = torch.stack([0.5 * (one.chi2 - state.chi2) for one in without], 1)  # (m, K)
    least, weakest = gains.min(1)
    stays = least > JOINS
    kept = with_errors(family, observed.take(images[stays]), state.take(stays))
    found = [
        Maxima.of(images[stays], kept.vectors[:, own], kept.covariance[:, own, own], gains[stays, place])
        for place, own in enumerate(subhalos)
    ]
    for place, one in enumerate(without):
        goes = ~stays & (weakest == place)
        if goes.any():
            found += _weighed(family, observed, smooth, one.take(goes), images[goes])
    return found


def _last(family: Family, observed: Observed, more: Fitted, images: Tensor, gain: Tensor) -> Maxima:
    """The last subhalo of each fit."""
    own, more = slice(more.vectors.shape[1] - SUBHALO, None), with_errors(family, observed.take(images), more)
    return Maxima.of(images, more.vectors[:, own], more.covariance[:, own, own], gain)


def _apart(subhalos: Tensor, place: Tensor) -> Tensor:
    """Distance (m,) of a place (m, 3) from the nearest of several subhalos (m, 3 K), arcsec."""
    several = subhalos.unflatten(1, (-1, SUBHALO))[..., :2]
    return torch.linalg.vector_norm(several - place[:, None, :2], dim=2).amin(1)


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)
