"""The signal-to-noise ratio of substructure that no observer exceeds: with lens and source fitted to the same image.

With d the difference that a subhalo makes to the blurred image, W the inverse variance of each pixel and J the
derivatives of the blurred smooth image to all parameters of lens and source,

    S^2 = d'Wd - d'WJ (J'WJ)^-1 J'Wd:

what is left of the difference when the smooth model has taken up of it what it can (Fisher information, the nuisance
parameters marginalised). An observer who knows the place finds the subhalo at false-positive rate a with probability
Phi(S - z(1 - a)); who does not, among n independent places, about Phi(S - z(1 - a/n)).

It is linear in d. Against fits by lenstronomy, of 32 images of `one_subhalo`, S is within 1 % below 13, within 4 % up
to 42, and 7 % too large at 60 (`tests/simulation/test_signal_to_noise.py` has 20 of them). And it takes the family of
the smooth model for known, but nothing about its parameters, be they the same for all lenses of a set: for a source
with clumps, all places, sizes and amplitudes of the clumps are fitted as well, and their number is not; of a texture
from a field or a picture, only place, size, direction and brightness are fitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deeplense.errors import InputError
from deeplense.simulation.camera import blur
from deeplense.simulation.draw import Draws
from deeplense.simulation.render import Rays, subhalo_rays, trace
from deeplense.simulation.sets import LensSet
from deeplense.simulation.simulator import piece

_STEPS = {
    "multipole3_angle": 1e-1,
    "multipole4_angle": 1e-1,
    "shear_angle": 1e-2,
    "angle": 3e-3,
    "axis_ratio": 2e-3,
    "slope": 3e-3,
    "index": 1e-2,
}
"""Half the differences that derivatives are taken over, where they are not those of `_step`: by the name's end, the
first that fits."""
_NOT_FITTED = ("z_lens", "z_source", "exposure", "subhalos", "share", "axion_mass", "part", "picture", "neighbours")
"""Scalars that a smooth image does not depend on, or that others know: redshifts by spectra, exposures by clocks."""


@dataclass(frozen=True)
class Limit:
    """Signal-to-noise ratios of B images, float64, 0 where there is no substructure."""

    whole: Tensor
    """(B,): of all the substructure together, against none."""
    each: Tensor
    """(B, K): of each subhalo, against the same lens without it."""


def best_auc(whole: Tensor) -> float:
    """The ROC AUC that no observer exceeds who fits lens and source, whose images with substructure have these ratios.

    He takes nothing about lens and source for granted: where a set has them alike (`model_i` has one Einstein radius,
    so that its substructure widens the ring), whoever knows that may tell its images better.

    It is that of one who knows all of an image but whether its substructure is there: the logarithm of his likelihood
    ratio is normal, of mean S^2/2 with it, -S'^2/2 without, and variance S^2 or S'^2; a pair of images, one of each, is
    in order with probability Phi(sqrt(S^2 + S'^2) / 2).
    """
    square = whole.double() ** 2
    total = 0.0
    for rows in square.split(256):  # all pairs of 100,000 images would take gigabytes
        pairs = (rows[:, None] + square).sqrt() / 2
        total += float((0.5 * (1.0 + torch.erf(pairs / math.sqrt(2.0)))).sum())
    return total / len(square) ** 2


@torch.no_grad()
def signal_to_noise(draws: Draws, lens_set: LensSet, each: bool = True) -> Limit:
    """The limit of each image of a batch, on the batch's device, in pieces that compiled code has seen.

    `each` asks for every subhalo by itself: as many images more to trace as there are places for subhalos.

    Raises:
        InputError: images of the set have no noise, and nothing in them is hidden.
    """
    if not lens_set.camera.noise:
        raise InputError(f"{lens_set.name}: its images have no noise, so there is no limit: leave out --snr")
    count = len(draws.number)
    size = piece(draws.number.device.type, min(count, 128))  # tens of derivatives of each image are kept at a time
    whole, single = [], []
    for first in range(0, count, size):
        place = torch.arange(first, first + size, device=draws.number.device).clamp(max=count - 1)
        found = _of_piece(draws.take(place), lens_set, each)
        whole.append(found.whole)
        single.append(found.each)
    return Limit(torch.cat(whole)[:count], torch.cat(single)[:count])


def _of_piece(draws: Draws, lens_set: LensSet, each: bool) -> Limit:
    smooth = draws.bare()
    rays = subhalo_rays(draws, lens_set)
    image = _seen(rays, draws, lens_set)
    weight = _weight(image, draws, lens_set)
    columns = [weight * derivative for derivative in derivatives(smooth, lens_set)]
    basis = _orthonormal(torch.stack([column.flatten(1) for column in columns], 2).double())  # (B, P, N)

    def left(difference: Tensor) -> Tensor:
        signal = (weight * difference).flatten(1).double()  # (B, P)
        taken = torch.einsum("bpn,bp->bn", basis, signal)
        return ((signal**2).sum(1) - (taken**2).sum(1)).clamp(min=0.0).sqrt()

    whole = left(image - _seen(subhalo_rays(smooth, lens_set), smooth, lens_set))
    single = torch.zeros_like(draws.mass, dtype=torch.float64)
    if each:
        for k, without in enumerate(_without_each(rays, draws, lens_set)):
            single[:, k] = left(image - _seen(without, draws, lens_set))
    return Limit(whole, single * (draws.mass > 0))


def _seen(rays: Rays, draws: Draws, lens_set: LensSet) -> Tensor:
    """The blurred image, (B, H, W), or (B, bands * H, W) of several bands."""
    bands = range(lens_set.camera.bands)
    return torch.cat([blur(trace(rays, draws, lens_set, band), lens_set.camera) for band in bands], 1)


def _weight(image: Tensor, draws: Draws, lens_set: LensSet) -> Tensor:
    """Root of the inverse variance of each pixel, per unit of flux, (B, H, W)."""
    exposure = draws.scalars["exposure"][:, None, None]
    variance = exposure * image.clamp(min=0.0) + (exposure * lens_set.camera.background_rms) ** 2
    return exposure / variance.sqrt()


def derivatives(draws: Draws, lens_set: LensSet) -> Iterator[Tensor]:
    """Of the blurred image to each parameter of lens and light, by central differences of our rendering."""
    for below, above in _shifted(draws):
        seen = [_seen(subhalo_rays(shifted, lens_set), shifted, lens_set) for shifted in (above, below)]
        yield seen[0] - seen[1]


def _shifted(draws: Draws) -> Iterator[tuple[Draws, Draws]]:
    """The batch with each parameter a step below and above. What is divided by is left out: only directions count."""
    own = draws.scalars
    for name, value in own.items():
        # Amplitudes stand for the magnitudes that they follow from.
        if name in _NOT_FITTED or name.startswith(("vortex", "clump", "field", "off_")) or name.endswith("magnitude"):
            continue
        step = _step(name, value)
        below, above = value - step, value + step
        if name.endswith("axis_ratio"):
            above = above.clamp(max=0.9995)  # no ellipse is rounder than 1, and an isothermal one must not be that
        yield replace(draws, scalars={**own, name: below}), replace(draws, scalars={**own, name: above})
    for row, size in enumerate((2e-3, 2e-3, 0.02, 0.02)):  # x, y, radius, amplitude
        for k in range(draws.clumps.shape[2]):
            shift = torch.zeros_like(draws.clumps)
            shift[:, row, k] = size if row < 2 else size * draws.clumps[:, row, k]
            yield replace(draws, clumps=draws.clumps - shift), replace(draws, clumps=draws.clumps + shift)


def _step(name: str, value: Tensor) -> float | Tensor:
    for end, step in _STEPS.items():
        if name.endswith(end):
            return step
    if name.endswith(("amplitude", "radius")) and name != "einstein_radius":
        return 0.01 * value
    return 1e-3  # arcsec, shears and strengths of multipoles


def _orthonormal(columns: Tensor) -> Tensor:
    """An orthonormal basis (B, P, N) of the columns' span; columns that others span, or that are 0, add nothing.

    By the eigenvectors of the columns' products, each of length 1 first: steps of any size serve.
    """
    length = columns.norm(dim=1, keepdim=True)
    columns = columns / length.where(length > 0, 1.0)
    values, vectors = torch.linalg.eigh(columns.transpose(1, 2) @ columns)
    scale = values.clamp(min=0.0).rsqrt().where(values > 1e-9 * values[:, -1:], 0.0)
    return columns @ (vectors * scale[:, None])


def _without_each(rays: Rays, draws: Draws, lens_set: LensSet) -> Iterator[Rays]:
    """The rays if there were not the k-th subhalo: its own deflection is put back, no other's is summed anew."""
    present = int((draws.mass > 0).sum(1).max()) if draws.mass.shape[1] else 0  # the first places are taken
    for k in range(present):
        alone = draws.of_places(k, k + 1)
        by_it = subhalo_rays(alone, lens_set)
        yield rays._replace(
            bent_x=rays.bent_x + (rays.x - by_it.bent_x),
            bent_y=rays.bent_y + (rays.y - by_it.bent_y),
        )
