"""The best smooth lens of each image: started at a glance, tried again from near by where that was not enough."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from deeplense.localisation.refit.fit import Fitted, Observed, fit, predicted
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.start import Glance, flux_of, glance, in_noise

AGAIN = 2
"""Times that a bad fit is tried from elsewhere."""
BAD = 5.0
"""Standard deviations of chi^2 above its mean from which on a fit may not be the best one: or have a subhalo."""
WIDER = 2.0
"""How far off the other starts are, in the errors of the glance."""


def fit_smooth(family: Family, network: Glance, errors: Tensor, counts: Tensor) -> tuple[Observed, Fitted]:
    """The images (n, S, S) as flux with their noise, and the smooth lenses that are likeliest.

    The noise of a pixel is that of the fitted light: that of the data would make bright pixels heavy where they are
    low by chance. First it is that of the image, smoothed.
    """
    flux = flux_of(counts, family)
    near = torch.nn.functional.avg_pool2d(flux[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    first = Observed(flux.flatten(1), weights(near.flatten(1), family))
    start = glance(network, in_noise(counts, family)[:, None])
    fitted = fit(family, first, start)
    pixels = flux[0].numel()
    generator = torch.Generator().manual_seed(0)
    for _ in range(AGAIN):
        bad = (fitted.chi2 > pixels + BAD * (2 * pixels) ** 0.5).nonzero()[:, 0]
        if not len(bad):
            break
        shift = torch.randn(len(bad), len(family), generator=generator).to(start.device)
        other = fit(family, first.take(bad), start[bad] + WIDER * errors * shift)
        fitted = better_of(fitted, bad, other)
    observed = dataclasses.replace(first, weight=weights(predicted(family, fitted.vectors), family))
    return observed, fit(family, observed, fitted.vectors, 6)


def better_of(fitted: Fitted, rows: Tensor, other: Fitted) -> Fitted:
    """`fitted` (n,) with those of `rows` whose `other` fit is better."""
    better = other.chi2 < fitted.chi2[rows]
    rows = rows[better]
    parts = []
    for field in dataclasses.fields(Fitted):
        values = getattr(fitted, field.name).clone()
        values[rows] = getattr(other, field.name)[better]
        parts.append(values)
    return Fitted(*parts)


def weights(flux: Tensor, family: Family) -> Tensor:
    """Root of the inverse variance of pixels with that noise-free flux, (n, P)."""
    camera = family.lens_set.camera
    return (flux.clamp(min=0.0) / family.exposure + camera.background_rms**2).rsqrt()
