"""Subhalos put into a lens, one at a time, and looked for: what is found, and the masses found half the time.

Each is photographed with fresh noise. One is found where the network expects more in the nine cells round its place
than round any detection of all but 1 % of the run's own smooth validation images. The mass of half is where a logistic
law of log-mass, of the place and its neighbours, crosses one half.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from scipy import optimize, special, stats

from deeplense.errors import InputError
from deeplense.evaluation.predict import eval_batch
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.limit import PLACES
from deeplense.localisation.network import CELL, LOG_DENSITY
from deeplense.localisation.refit.fit import Fitted, Observed, predicted
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.scan import Scan
from deeplense.localisation.refit.smooth import weights
from deeplense.localisation.truth import Scale
from deeplense.simulation.camera import photograph
from deeplense.simulation.draw import Draws
from deeplense.simulation.placing import with_subhalos
from deeplense.simulation.priors import bounds
from deeplense.simulation.render import render
from deeplense.simulation.sets import LensSet, find_classes
from deeplense.simulation.simulator import Simulator, piece
from deeplense.simulation.substructure import Equal

FPR = 0.01
STEP = 2.0
"""Pixels that the network sees between places."""
MASSES = 6
NOISES = 2
"""Photographs at each place and mass."""
BRIGHT = 0.02
"""Of the brightest pixel: where no light is brighter, no subhalo changes what is seen, and none is put there."""
NEAR = 1.5
"""Places within which neighbours count for a mass of half, as the standard deviation of their weights."""


@dataclasses.dataclass(frozen=True)
class SensitivityMap:
    """Of one image."""

    x: np.ndarray
    """(g,) arcsec."""
    y: np.ndarray
    half: np.ndarray
    """(g,) log10 of the mass found half the time; inf: none of the masses that were tried."""
    limit: np.ndarray | None
    """(g,) the same for the observer who fits."""
    masses: np.ndarray
    """(k,) log10, that were tried."""
    found: np.ndarray
    """(g, k) shares of the photographs in which each was found."""


@torch.inference_mode()
def look_for_all(
    network: torch.nn.Module, card: LocaliserCard, lens_set: LensSet, draws: Draws, threshold: float, scale: Scale
) -> SensitivityMap:
    """The map of the lens `draws` (of one image), at the expected number `threshold` of a detection."""
    x, y = _places(draws, lens_set, scale)
    low, high = np.log10(masses_of(lens_set))
    masses = np.linspace(low, high, MASSES)
    trials = [(place, mass) for place in range(len(x)) for mass in range(MASSES) for _ in range(NOISES)]
    device = draws.number.device
    simulator = Simulator(lens_set, find_classes(["no_sub", "cdm"]), 0, device, "sensitivity")
    size = piece(device.type, len(trials))
    each = torch.tensor(trials, device=device)
    hits = np.zeros((len(x), MASSES))
    x_all, y_all, m_all = (torch.tensor(values, dtype=torch.float32, device=device) for values in (x, y, 10**masses))
    for first in range(0, len(trials), size):
        number = torch.arange(first, first + size, device=device)
        place, mass = each[number.clamp(max=len(trials) - 1)].unbind(1)
        same = dataclasses.replace(draws.take(torch.zeros_like(number)), number=number)
        own = with_subhalos(same, lens_set, x_all[place, None], y_all[place, None], m_all[mass, None])
        counts = photograph(render(own, lens_set), own, lens_set.camera, simulator.key)
        seen = card.seen(counts[:, None])
        said = torch.cat([network(part).float() for part in seen.split(eval_batch(device, card.image_size))])
        there = _near(said[:, LOG_DENSITY].exp(), scale, x_all[place], y_all[place]) > threshold
        wanted = min(size, len(trials) - first)
        np.add.at(hits, (place[:wanted].cpu().numpy(), mass[:wanted].cpu().numpy()), there[:wanted].cpu().numpy())
    half = _half(x, y, masses, hits, STEP * scale.seen_pixel)
    return SensitivityMap(x, y, half, _limit(draws, lens_set, x, y), masses, hits / NOISES)


def masses_of(lens_set: LensSet) -> tuple[float, float]:
    """The lightest and the heaviest subhalo of a set, Msun."""
    law = lens_set.subhalos.mass
    if isinstance(law, Equal) or bounds(law)[0] == bounds(law)[1]:
        raise InputError(f"--sensitivity-map: {lens_set.name} has subhalos of one mass: ask a run on another set")
    return bounds(law)


def _places(draws: Draws, lens_set: LensSet, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Places where light is near enough, (g,) arcsec each."""
    flux = render(draws, lens_set)[0]
    side, camera = flux.shape[0] // lens_set.camera.oversample, lens_set.camera
    flux = torch.nn.functional.avg_pool2d(flux[None], camera.oversample)
    wide = torch.nn.functional.max_pool2d(flux, 5, 1, 2)[0]
    bright = (wide > BRIGHT * flux.max()).cpu().numpy()
    step = STEP * scale.seen_pixel
    count = int(scale.half / step)
    axis = (np.arange(-count, count + 1)) * step
    y, x = (part.ravel() for part in np.meshgrid(axis, axis, indexing="ij"))
    inside = np.maximum(np.abs(x), np.abs(y)) < scale.half - step
    pixel = [np.clip(((at / camera.pixel_scale) + side / 2).astype(int), 0, side - 1) for at in (y, x)]
    chosen = inside & bright[pixel[0], pixel[1]]
    return x[chosen], y[chosen]


def _near(density: torch.Tensor, scale: Scale, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Expected number (B,) in the nine cells round a place of each image (B, h, w)."""
    cell = CELL * scale.seen_pixel
    summed = torch.nn.functional.avg_pool2d(density[:, None], 3, 1, 1, divisor_override=1)[:, 0]
    column, row = (((at + scale.half) / cell).long().clamp(0, density.shape[1] - 1) for at in (x, y))
    return summed[torch.arange(len(density), device=density.device), row, column]


def _half(x: np.ndarray, y: np.ndarray, masses: np.ndarray, hits: np.ndarray, step: float) -> np.ndarray:
    """log10 of the mass found half the time at each place, (g,), by a logistic law of what is found near it.

    Nothing is found for certain in a few photographs: the slope has a prior of one in 0.15 dex, the middle none but the
    range that was tried.
    """
    weight = np.exp(-0.5 * ((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / (NEAR * step) ** 2)
    counted = weight @ hits
    trials = weight.sum(1)[:, None] * NOISES
    found = np.full(len(x), np.inf)
    for place in range(len(x)):
        k, n = counted[place], trials[place]

        def loss(values: np.ndarray, k: np.ndarray = k, n: np.ndarray = n) -> float:
            z = (masses - values[0]) * np.exp(values[1])
            return float(-(k * special.log_expit(z) + (n - k) * special.log_expit(-z)).sum() + 2 * (values[1] - 2) ** 2)

        best = optimize.minimize(loss, np.array([masses.mean(), 2.0]), method="Nelder-Mead")
        if best.x[0] <= masses[-1]:
            found[place] = max(best.x[0], masses[0])
    return found


def _limit(draws: Draws, lens_set: LensSet, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """log10 of the mass that an observer who fits finds half the time, (g,): S = z(1 - a/n)."""
    try:
        family = Family(lens_set, draws.number.device)
    except InputError:
        return None
    vectors = family.vectors(draws)
    flux = predicted(family, vectors)
    observed = Observed(flux, weights(flux, family))
    places = [torch.tensor(part, dtype=torch.float32, device=flux.device) for part in (x, y)]
    scan = Scan(family, places)
    power = scan.power(observed, Fitted(vectors, vectors[:, 0].double(), vectors[:, :, None].double()))[0]
    square = stats.norm.isf(FPR / PLACES) / power.sqrt()
    mass = square / family.mass_to_square(draws.scalars)
    return np.asarray(mass.log10().double().cpu().numpy())
