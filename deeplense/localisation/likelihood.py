"""How likely the true subhalos are, if the network is right: a marked Poisson process, inhomogeneous in the plane.

The density at place p and log-mass m is rho(p, m) = sum over cells of n_c N(p; p_c, s_c) N(m; m_c, t_c), with n_c the
expected number of subhalos in a cell, a round Gaussian over the place and one over the log-mass. Then
-log L = sum_c n_c - sum over the true subhalos of log rho. It is right for none, one or many, an image without any
still says that there should be none, and it is least in the mean where the density is the true intensity, whether or
not subhalos are independent (a consistent score for counts: Brehmer & Gneiting, arXiv:2103.11884). DECODE (Speiser et
al. 2021) has the same mixture, but a count term that vanishes for empty images.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from deeplense.localisation.network import DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA

NEAR = 4
"""Cells either way of a true subhalo's own whose Gaussians count at its place; those farther off are more than two of
their largest spreads away."""

_LOG_2PI = math.log(2 * math.pi)


@dataclasses.dataclass(frozen=True)
class Subhalos:
    """The true subhalos of B images, padded to K places."""

    places: torch.Tensor
    """(B, K, 3): x and y in cells, the first cell from 0 to 1, and log10 of the mass in Msun."""
    there: torch.Tensor
    """(B, K) bool: which of the places are taken."""


def negative_log_likelihood(outputs: torch.Tensor, truth: Subhalos) -> torch.Tensor:
    """Of each image, (B,), in nats; densities are per cell and dex.

    Args:
        outputs: (B, 6, h, w) from `Localizer`.
        truth: of the same images. A subhalo outside the cells would be infinitely unlikely: it must be left out.
    """
    expected = outputs[:, LOG_DENSITY].exp().sum((1, 2))
    if truth.places.shape[1] == 0:
        return expected
    log_density = log_density_at(outputs, truth.places)
    return expected - torch.where(truth.there, log_density, 0.0).sum(1)


def log_density_at(outputs: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """log rho at `places` (B, K, 3), see `Subhalos`: (B, K)."""
    height, width = outputs.shape[2:]
    x, y, mass = places.unbind(2)  # (B, K)
    step = torch.arange(-NEAR, NEAR + 1, device=outputs.device)
    rows = y.floor().long()[..., None, None] + step[:, None]  # (B, K, n, 1)
    columns = x.floor().long()[..., None, None] + step  # (B, K, 1, n)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)  # (B, K, n, n)
    flat = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)  # (B, K n n)
    near = outputs.flatten(2).gather(2, flat[:, None].expand(-1, outputs.shape[1], -1)).unflatten(2, inside.shape[1:])
    dx = x[..., None, None] - (columns + 0.5 + near[:, DX])
    dy = y[..., None, None] - (rows + 0.5 + near[:, DY])
    dm = mass[..., None, None] - near[:, LOG_MASS]
    log_place = -0.5 * (dx**2 + dy**2) * (-2 * near[:, LOG_SIGMA]).exp() - 2 * near[:, LOG_SIGMA] - _LOG_2PI
    log_mass = -0.5 * dm**2 * (-2 * near[:, LOG_MASS_SIGMA]).exp() - near[:, LOG_MASS_SIGMA] - 0.5 * _LOG_2PI
    each = (near[:, LOG_DENSITY] + log_place + log_mass).masked_fill(~inside, -torch.inf)
    return each.flatten(2).logsumexp(2)


def expected_between(outputs: torch.Tensor, edges: np.ndarray) -> np.ndarray:
    """Expected numbers (n, b) of subhalos with a log10 mass in each bin of `edges` (b + 1,), float64.

    The outermost bins are open: what the network takes to be lighter or heavier than any is theirs.
    """
    inner = torch.as_tensor(edges[1:-1], dtype=outputs.dtype, device=outputs.device)
    number = outputs[:, LOG_DENSITY].exp().flatten(1)  # (n, c)
    mean, sigma = outputs[:, LOG_MASS].flatten(1), outputs[:, LOG_MASS_SIGMA].exp().flatten(1)
    below = [(number * torch.special.ndtr((edge - mean) / sigma)).sum(1) for edge in inner]
    cumulated = torch.stack([torch.zeros_like(number[:, 0]), *below, number.sum(1)], 1)
    return cumulated.diff(dim=1).double().cpu().numpy()
