"""Where in one image a subhalo of which mass would be found: `python evaluate.py RUN --sensitivity-map --data IMAGE`.

Subhalos of several masses are put into the image's lens at the places of a grid, one at a time, photographed with fresh
noise, and looked for. One is found where the network expects more in the nine cells round its place than round any
detection of all but 1 % of the run's own smooth validation images. The mass of half is where a logistic law of
log-mass, of the place and its neighbours, crosses one half. Beside it stands the limit, of an observer who fits lens
and source (`refit/scan.py`), where such lenses can be fitted.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch
from scipy import optimize, special, stats

from deeplense.config import EvaluateConfig
from deeplense.data.imageset import ImageSet
from deeplense.data.names import is_smooth
from deeplense.errors import InputError
from deeplense.evaluation.predict import eval_batch, predict, scoring_device
from deeplense.evaluation.scored import choose_images, own_images
from deeplense.figures.localisation import plot_sensitivity_map
from deeplense.files import replacing, write_json
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.detections import detect
from deeplense.localisation.limit import PLACES, draws_of
from deeplense.localisation.network import CELL, LOG_DENSITY
from deeplense.localisation.refit.fit import Fitted, Observed, predicted
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.scan import Scan
from deeplense.localisation.refit.smooth import fit_smooth, weights
from deeplense.localisation.refit.stage import raw_pixels, set_of, stage_of
from deeplense.localisation.truth import Scale
from deeplense.scores.detection import threshold_at
from deeplense.simulation.camera import photograph
from deeplense.simulation.draw import Draws
from deeplense.simulation.placing import with_subhalos
from deeplense.simulation.priors import bounds
from deeplense.simulation.render import render
from deeplense.simulation.sets import LensSet, find_classes
from deeplense.simulation.simulator import Simulator, piece
from deeplense.simulation.substructure import Equal
from deeplense.task import Trained

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


def write_sensitivity_map(trained: Trained, asked: EvaluateConfig) -> Path:
    """Make the map of one image, and write `evaluation/NAME-sensitivity-map`.

    Raises:
        InputError: the lens of the image is not known and cannot be fitted.
    """
    device, card = scoring_device(), trained.card
    assert isinstance(card, LocaliserCard)
    lens_set = set_of(trained, "--sensitivity-map")
    _masses(lens_set)  # refused before anything is made
    trained.network.to(device)
    images, indices, _ = choose_images(trained.folder, card, trained.config, asked)
    if not 0 <= asked.image < len(indices):
        raise InputError(f"--image {asked.image}: there are {len(indices)} images, give 0 to {len(indices) - 1}")
    index = int(indices[asked.image])
    draws, how = _lens_of(trained, lens_set, images, index, asked.lens, device)
    print(f"{images.paths[index]}: its lens is {how}", file=sys.stderr)
    threshold = _threshold(trained, card, device)
    found = _map(trained.network, card, lens_set, draws, threshold, card.lengths(images))
    name = asked.name or f"{Path(asked.data or trained.config.data.data).name}-{asked.image}-sensitivity-map"
    folder = trained.folder / "evaluation" / name
    with replacing(folder) as aside:
        _write_table(aside / "sensitivity_map.csv", found)
        grid, edge = _as_grid(found)
        np.save(aside / "sensitivity_map.npy", grid.astype(np.float32))
        write_json(
            aside / "sensitivity_map.json",
            {
                "image": images.paths[index],
                "lens": {key: float(value[0]) for key, value in draws.scalars.items() if torch.isfinite(value[0])},
                "lens_is": how,
                "fpr": FPR,
                "threshold": threshold,
                "arcsec_of_a_place": _spacing(found),
                "extent": edge,
                "columns_of_npy": ["network", "limit"],
                **_summary(found),
            },
        )
        picture = np.asarray(images.pixels[index], dtype=np.float32)
        plot_sensitivity_map(
            aside / "sensitivity_map.png", picture, card.lengths(images).edge, grid, edge, f"{images.paths[index]}"
        )
    print(f"{_say(found)}\nall of it is in {folder}")
    return folder


def _lens_of(
    trained: Trained, lens_set: LensSet, images: ImageSet, index: int, given: str | None, device: torch.device
) -> tuple[Draws, str]:
    """The smooth lens of an image: given, drawn, or fitted; and which of these."""
    own = draws_of(images, np.array([index]))
    if given is not None:
        # What is not given is what a set has in the middle of its priors.
        drawn = Simulator(lens_set, find_classes(["no_sub"]), 0, "cpu").draw(torch.zeros(1, dtype=torch.int64))
        drawn = dataclasses.replace(drawn, scalars=drawn.scalars | _read_lens(given, drawn))
        return drawn.bare().to(device), "given"
    if own is not None:
        return own.bare().to(device), "its own, as it was drawn"
    stage = stage_of(trained)
    family = stage.refit.family
    counts = torch.from_numpy(raw_pixels(images, np.array([index]), family)).to(device)
    _, fitted = fit_smooth(family, stage.refit.network, stage.refit.errors, counts)
    chi2 = float(fitted.chi2[0]) / counts[0].numel()
    return family.draws(fitted.vectors), f"fitted, with a reduced chi^2 of {chi2:.3f}"


def _read_lens(file: str, draws: Draws) -> dict[str, torch.Tensor]:
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
        values = {str(name): torch.tensor([float(value)]) for name, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"--lens {file}: cannot be read ({error}): give JSON of numbers by name") from None
    known = [name for name in draws.scalars if not name.startswith(("vortex", "axion", "subhalos", "share"))]
    unknown = [name for name in values if name not in known]
    missing = [name for name in known if name not in values and not name.startswith(("z_", "exposure"))]
    if unknown or not values:
        raise InputError(f"--lens {file}: {', '.join(unknown) or 'nothing in it'} is no parameter: {', '.join(known)}")
    varied = [name for name in missing if name not in ("source_amplitude", "clump_share")]
    if varied:
        raise InputError(f"--lens {file}: has no {', '.join(varied)}: give all of the lens and its source")
    return values


def _threshold(trained: Trained, card: LocaliserCard, device: torch.device) -> float:
    """The expected number of a detection that 1 % of the smooth validation images exceed."""
    images, indices = own_images(trained.folder, card, trained.config, "val")
    smooth = [label for label, name in enumerate(images.classes) if is_smooth(name)]
    if images.labels is None or not smooth:
        raise InputError(f"--sensitivity-map: {trained.folder} has no smooth validation images for a threshold")
    indices = indices[np.isin(images.labels[indices], smooth)]
    cells = (card.image_size + CELL - 1) // CELL
    said = predict(trained.network, card.store(images, device), indices).reshape(len(indices), -1, cells, cells)
    strongest = np.zeros(len(indices))
    detections = detect(said)
    np.maximum.at(strongest, detections.image, detections.expected)
    return float(threshold_at(strongest, FPR).value)


@torch.inference_mode()
def _map(
    network: torch.nn.Module, card: LocaliserCard, lens_set: LensSet, draws: Draws, threshold: float, scale: Scale
) -> SensitivityMap:
    x, y = _places(draws, lens_set, scale)
    low, high = np.log10(_masses(lens_set))
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


def _masses(lens_set: LensSet) -> tuple[float, float]:
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


def _spacing(found: SensitivityMap) -> float:
    return float(np.diff(np.unique(np.round(found.x, 6))).min())


def _as_grid(found: SensitivityMap) -> tuple[np.ndarray, float]:
    """(2, h, w) maps of the network and of the limit, NaN where nothing was tried; half the width, arcsec."""
    step = _spacing(found)
    most = round(max(np.abs(found.x).max(), np.abs(found.y).max()) / step)
    grid = np.full((2, 2 * most + 1, 2 * most + 1), np.nan)
    row, column = (np.round(at / step).astype(int) + most for at in (found.y, found.x))
    grid[0, row, column] = found.half
    if found.limit is not None:
        grid[1, row, column] = found.limit
    return grid, (most + 0.5) * step


def _write_table(file: Path, found: SensitivityMap) -> None:
    names = [f"found_{mass:.2f}" for mass in found.masses]
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["x", "y", "log10_mass_of_half", "limit", *names])
        for place in range(len(found.x)):
            half = found.half[place]
            limit = "" if found.limit is None else f"{found.limit[place]:.3f}"
            row = [f"{found.x[place]:.4g}", f"{found.y[place]:.4g}", f"{half:.3f}" if np.isfinite(half) else "", limit]
            writer.writerow([*row, *(f"{share:.3g}" for share in found.found[place])])


def _summary(found: SensitivityMap) -> dict[str, float | int | None]:
    best = float(found.half.min())
    return {
        "places": len(found.x),
        "lightest": best if np.isfinite(best) else None,
        "share_of_places_with_any": float(np.isfinite(found.half).mean()),
        "lightest_of_limit": None if found.limit is None else float(found.limit.min()),
    }


def _say(found: SensitivityMap) -> str:
    told = _summary(found)
    if told["lightest"] is None:
        return f"none of {told['places']} places has a mass up to 10^{found.masses[-1]:.2f} Msun found half the time"
    limit = "" if found.limit is None else f"; the limit there is 10^{found.limit[found.half.argmin()]:.2f}"
    return (
        f"at its best place a subhalo of 10^{told['lightest']:.2f} Msun is found half the time at {FPR:.0%} false "
        f"positives{limit}; {100 * np.isfinite(found.half).mean():.0f} % of {told['places']} places find one of "
        f"10^{found.masses[-1]:.2f} Msun"
    )
