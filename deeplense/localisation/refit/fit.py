"""Levenberg-Marquardt, many lenses at once: vectors of a family to the images that they are of.

Derivatives are differences of our own rendering, which the compiler has made fast and which serves every lens, light
and profile alike. Lenses that have converged drop out; the others are taken in pieces of one size, which is compiled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from deeplense.localisation.refit.parameters import Family
from deeplense.simulation.camera import blur
from deeplense.simulation.render import render, subhalo_rays, trace
from deeplense.simulation.simulator import piece

ENOUGH = 0.02
"""Fall of chi^2 below which a lens has converged."""
TRIALS = 3
"""Steps that are tried with the same derivatives, each shorter than the one before."""
STIFFEST = 1e6
STEPS = 15
"""Of a fit that starts near its end."""


@dataclasses.dataclass(frozen=True)
class Observed:
    """The images of n lenses, as flux."""

    flux: Tensor
    """(n, P) for a unit of exposure, blurred, noisy."""
    weight: Tensor
    """(n, P) root of the inverse variance."""

    def take(self, rows: Tensor) -> Observed:
        return Observed(self.flux[rows], self.weight[rows])


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What came of n fits."""

    vectors: Tensor
    """(n, N)."""
    chi2: Tensor
    """(n,) float64."""
    covariance: Tensor
    """(n, N, N) float64, the inverse of the Fisher matrix at the last step; see `with_errors`."""

    def take(self, rows: Tensor) -> Fitted:
        return Fitted(self.vectors[rows], self.chi2[rows], self.covariance[rows])


@torch.no_grad()
def fit(family: Family, observed: Observed, start: Tensor, steps: int = 25) -> Fitted:
    """The likeliest vectors near `start` (n, N), with Gaussian noise of known variance."""
    count, width = start.shape
    _, low, high = family.limits(width)
    vectors = start.clamp(low, high)
    chi2 = torch.full((count,), torch.inf, dtype=torch.float64, device=start.device)
    fisher = torch.zeros(count, width, width, dtype=torch.float64, device=start.device)
    damping = torch.full((count,), 1e-2, dtype=torch.float64, device=start.device)
    live = torch.ones(count, dtype=torch.bool, device=start.device)
    size = piece(start.device.type, count)
    for _ in range(steps):
        rows = live.nonzero()[:, 0]
        for first in range(0, len(rows), size):
            own = rows[first : first + size]
            filled = torch.cat([own, own[-1:].expand(size - len(own))])
            state = vectors[filled], damping[filled]
            moved, left, matrix, stiff, fallen = _step(family, observed.take(filled), *state)
            part = slice(0, len(own))
            vectors[own], chi2[own], fisher[own] = moved[part], left[part], matrix[part]
            damping[own] = stiff[part]
            live[own] = (fallen[part] > ENOUGH) & (stiff[part] < STIFFEST)
        if not live.any():
            break
    return Fitted(vectors, chi2, _inverse(fisher))


def predicted(family: Family, vectors: Tensor) -> Tensor:
    """Blurred noise-free flux (n, P), in pieces."""
    parts = []
    for rows in pieces(vectors):
        draws = family.draws(vectors[rows])
        parts.append(blur(render(draws, family.lens_set), family.lens_set.camera).flatten(1))
    return torch.cat(parts)[: len(vectors)]


@torch.no_grad()
def with_errors(family: Family, observed: Observed, fitted: Fitted) -> Fitted:
    """`fitted` (n,) with covariances from derivatives at all points of each pixel, where fits went by those at one."""
    vectors = fitted.vectors
    if family.rough is family.lens_set or not len(vectors):
        return fitted
    parts = []
    for rows in pieces(vectors):
        _, slopes = derivatives(family, vectors[rows], rough=False)
        parts.append(_fisher(slopes * observed.weight[rows, :, None]))
    return dataclasses.replace(fitted, covariance=_inverse(torch.cat(parts)[: len(vectors)]))


def derivatives(family: Family, vectors: Tensor, rough: bool = True) -> tuple[Tensor, Tensor]:
    """Blurred flux (B, P) of a piece, and its derivative by each coordinate, (B, P, N): forward differences.

    What a coordinate of the smooth lens changes leaves the subhalos' deflections as they are, and is wide: one point a
    pixel tells it to a few parts in a hundred in the median, which is enough for a direction to go. Where light lies at
    the lens's centre it is half wrong.

    Args:
        rough: take those at one point a pixel.
    """
    camera, smooth = family.lens_set.camera, family.rough if rough else family.lens_set
    step, _, high = family.limits(vectors.shape[1])
    draws = family.draws(vectors)
    rays = subhalo_rays(draws, smooth)
    there = trace(rays, draws, smooth)
    flux = there if smooth is family.lens_set else render(draws, family.lens_set)
    columns = []
    for place in range(vectors.shape[1]):
        # Backwards where forwards there is nothing.
        way = torch.where(vectors[:, place] + step[place] > high[place], -step[place], step[place])
        shifted = vectors.clone()
        shifted[:, place] += way
        other = family.draws(shifted)
        if place < len(family):
            difference = trace(rays, other, smooth) - there
        else:
            difference = render(other, family.lens_set) - flux
        columns.append(blur(difference / way[:, None, None], camera).flatten(1))
    return blur(flux, camera).flatten(1), torch.stack(columns, 2)


def _step(
    family: Family, observed: Observed, vectors: Tensor, damping: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One step of a piece: new vectors, chi^2, Fisher matrices, dampings, and by how much chi^2 fell."""
    _, low, high = family.limits(vectors.shape[1])
    flux, slopes = derivatives(family, vectors)
    residual = observed.weight * (observed.flux - flux)
    slopes = slopes * observed.weight[..., None]
    before = (residual.double() ** 2).sum(1).nan_to_num(nan=torch.inf)
    fisher = _fisher(slopes)
    downhill = (slopes.transpose(1, 2) @ residual[..., None]).double()
    best, chi2, done = vectors, before, torch.zeros_like(before, dtype=torch.bool)
    for _ in range(TRIALS):
        diagonal = fisher.diagonal(dim1=1, dim2=2)
        # A lens whose light has left the image has no derivatives: it must not stop the others of its piece.
        least = 1e-12 * diagonal.amax(1, keepdim=True).clamp(min=1e-6)
        stiff = fisher + torch.diag_embed(damping[:, None] * diagonal + least)
        way, _ = torch.linalg.solve_ex(stiff, downhill)
        moved = (vectors + way[..., 0].float()).clamp(low, high)
        image = blur(render(family.draws(moved), family.lens_set), family.lens_set.camera).flatten(1)
        after = ((observed.weight * (observed.flux - image)).double() ** 2).sum(1)
        better = (after < before) & ~done
        best, chi2 = torch.where(better[:, None], moved, best), torch.where(better, after, chi2)
        damping = torch.where(done, damping, torch.where(better, 0.1 * damping, 8.0 * damping)).clamp(min=1e-9)
        done |= better
        if done.all():
            break
    # A lens that no trial has bettered is at its end once its steps are short, and tries again until then.
    fallen = torch.where(done, before - chi2, torch.inf)
    fallen = torch.where(~done & (damping > 10.0), 0.0, fallen)
    return best, chi2, fisher, damping, fallen


def pieces(vectors: Tensor) -> Iterator[Tensor]:
    """Rows of vectors (n, N) in pieces of one size; the last row again and again where the last piece has fewer."""
    size, count = piece(vectors.device.type, len(vectors)), len(vectors)
    for first in range(0, count, size):
        yield torch.arange(first, first + size, device=vectors.device).clamp(max=count - 1)


def _fisher(slopes: Tensor) -> Tensor:
    """(B, N, N) float64 of derivatives (B, P, N) in units of the noise."""
    return (slopes.transpose(1, 2) @ slopes).double()


def _inverse(fisher: Tensor) -> Tensor:
    """Of matrices whose coordinates have units of their own."""
    diagonal = fisher.diagonal(dim1=1, dim2=2).clamp(min=1e-200)  # of what nothing is known: large, but a number
    scale = diagonal.rsqrt()
    scaled = fisher * scale[:, :, None] * scale[:, None, :]
    eye = torch.eye(fisher.shape[1], dtype=fisher.dtype, device=fisher.device)
    return torch.linalg.inv(scaled + 1e-9 * eye) * scale[:, :, None] * scale[:, None, :]
