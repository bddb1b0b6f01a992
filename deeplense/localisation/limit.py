"""What the image allows at all: the observer who fits lens and source (`simulation.limit`), beside the network.

Knowing the place, such an observer finds a subhalo of signal-to-noise ratio S at false-positive rate a with probability
Phi(S - z(1 - a)); not knowing it among n independent ones, at about Phi(S - z(1 - a/n)).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np
import torch
from scipy import stats

from deeplense.data.imageset import ImageSet
from deeplense.localisation.scores import RATES, Findings, bin_of, heaviest
from deeplense.localisation.truth import TrueSubhalos, about_set, has_truth, read_truth, truth_folder
from deeplense.scores.detection import detection_rate, threshold_at
from deeplense.simulation.draw import Draws
from deeplense.simulation.limit import signal_to_noise
from deeplense.simulation.sets import SETS, find_classes
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.write import describe

PLACES = 60
"""Independent places in an image, about: the ring's area in beams that a subhalo's arcs take."""
MOST = 200
"""Images in each half dex of mass that it is worked out for; each takes some thirty renderings: 0.5 s with clumps."""

DISTANCES = (-np.inf, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, np.inf)
"""arcsec from the ring, inwards and outwards."""


@dataclasses.dataclass(frozen=True)
class Limit:
    """The best that could be done, for some of n images."""

    rows: np.ndarray
    """(m,) of the n images, those with a subhalo."""
    snr: np.ndarray
    """(m,)."""
    distance: np.ndarray
    """(m,) of the subhalo from the ring, outwards, in arcsec: its distance from the centre less the Einstein radius."""
    summary: dict[str, Any]
    """For `metrics.json`."""


def limit_of(images: ImageSet, indices: np.ndarray, truth: TrueSubhalos, findings: Findings) -> Limit | None:
    """The limit of simulated images whose parameters can be drawn again; None for others.

    Args:
        indices: (n,) images of the set.
        truth: of those.
        findings: of those, to be held against it.
    """
    simulator = _simulator_of(images)
    if simulator is None:
        return None
    _, mass = heaviest(truth)
    if np.isfinite(mass).all() or not np.isfinite(mass).any():
        return None
    bins = np.where(np.isfinite(mass), bin_of(mass, findings.edges), -1)
    rows = np.sort(np.concatenate([np.flatnonzero(bins == own)[:MOST] for own in range(len(findings.edges) - 1)]))
    draws = _draws_again(simulator, images, indices[rows], truth.take(rows))
    if draws is None:
        return None
    snr = signal_to_noise(draws, simulator.lens_set, each=False).whole.cpu().numpy()
    place, _ = heaviest(truth)
    from_centre = np.hypot(truth.x[rows, place[rows]], truth.y[rows, place[rows]])
    distance = from_centre - draws.scalars["einstein_radius"].cpu().numpy()
    return Limit(rows, snr, distance, _against(findings, mass, rows, snr, distance))


def found_at(snr: np.ndarray, fpr: float) -> np.ndarray:
    """Probability that a subhalo of that signal-to-noise ratio is found at an image's false-positive rate `fpr`."""
    return stats.norm.cdf(snr - stats.norm.isf(fpr / PLACES))


def draws_of(images: ImageSet, indices: np.ndarray) -> Draws | None:
    """The parameters (on the CPU) of some of the images of a simulated set; None: they cannot be drawn again."""
    simulator = _simulator_of(images) if has_truth(images) else None
    if simulator is None:
        return None
    return _draws_again(simulator, images, indices, read_truth(images, str(images.folder)).take(indices))


def _simulator_of(images: ImageSet) -> Simulator | None:
    """What has made a set, if it still makes the same, and the limit is known for it."""
    folder = truth_folder(images)
    about = {} if folder is None else about_set(folder)
    lens_set = SETS.get(about.get("name", ""))
    if lens_set is None or about.get("version") != lens_set.version or not isinstance(about.get("seed"), int):
        return None
    classes = find_classes(about["classes"])
    # A variant (`--psf`, `--share`) bears the name of its set; as JSON, since that is how the file has it.
    own = json.loads(json.dumps(describe(lens_set, classes, about["seed"])["parameters"]))
    if about.get("parameters") != own:
        return None
    return Simulator(lens_set, classes, about["seed"], "cpu")


def _draws_again(simulator: Simulator, images: ImageSet, indices: np.ndarray, truth: TrueSubhalos) -> Draws | None:
    """The parameters of stored images; None if they do not have the subhalos that stand in the file."""
    numbers = [images.paths[index].rpartition("/")[2] for index in indices]
    if not all(name.isdigit() for name in numbers):
        return None
    ways = len(simulator.classes.names)
    index = torch.tensor([int(name) for name in numbers])
    draws = simulator.draw(index // ways, index % ways)
    place, _ = heaviest(truth)
    rows = np.arange(len(indices))
    largest = draws.mass.argmax(1)[:, None]
    for drawn, written in ((draws.x, truth.x), (draws.y, truth.y), (draws.mass, truth.mass)):
        there = truth.mass[rows, place] > 0
        own = np.where(there, drawn.gather(1, largest)[:, 0].numpy(), 0.0)
        if not np.allclose(own, np.where(there, written[rows, place], 0.0), rtol=1e-5, atol=1e-6):
            return None
    return draws


def _against(
    findings: Findings, mass: np.ndarray, rows: np.ndarray, snr: np.ndarray, distance: np.ndarray
) -> dict[str, Any]:
    """The limit's rates and the network's on the same images: by mass, by signal-to-noise ratio, and by mass and
    distance from the ring."""
    smooth = ~np.isfinite(mass)
    by_mass, by_snr, by_distance = [], [], []
    for place, low in enumerate(findings.edges[:-1]):
        own = bin_of(mass[rows], findings.edges) == place
        if own.any():
            ends = {"from": float(low), "to": float(findings.edges[place + 1])}
            by_mass.append(ends | _rates(findings, smooth, rows[own], snr[own]))
        for inner, outer in itertools.pairwise(DISTANCES):
            here = own & (distance >= inner) & (distance < outer)
            if here.any():
                median = {"median_distance": float(np.median(distance[here]))}
                by_distance.append(ends | median | _rates(findings, smooth, rows[here], snr[here]))
    edges = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 11.0, 16.0, 24.0, np.inf]
    for low, high in itertools.pairwise(edges):
        own = (snr >= low) & (snr < high)
        if own.any():
            reach = {"from": low, "to": None if np.isinf(high) else high}
            by_snr.append(reach | _rates(findings, smooth, rows[own], snr[own]))
    return {"places": PLACES, "n": len(rows), "by_mass": by_mass, "by_snr": by_snr, "by_distance": by_distance}


def _rates(findings: Findings, smooth: np.ndarray, rows: np.ndarray, snr: np.ndarray) -> dict[str, Any]:
    told: dict[str, Any] = {"n": len(rows), "median_snr": float(np.median(snr))}
    for fpr in RATES:
        chance = found_at(snr, fpr)
        half = float(stats.norm.ppf(0.975) * chance.std() / np.sqrt(len(rows)))
        best = float(chance.mean())
        found = detection_rate(findings.expected[rows], threshold_at(findings.expected[smooth], fpr))
        told[f"fpr_{fpr:g}"] = {
            "limit": {"rate": best, "low": max(0.0, best - half), "high": min(1.0, best + half)},
            "found": found.as_json(),
            "ratio": found.value / best if best > 0 else None,
        }
    return told
