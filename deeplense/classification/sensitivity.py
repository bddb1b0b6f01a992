"""How light a subhalo does a run still see? `python evaluate.py RUN --sensitivity`.

Lenses with one subhalo each are simulated, and counted as detected where the run's odds of substructure exceed those of
all but 1 % (or 10 %) of smooth lenses. The same is asked of the set's own lenses, with all their subhalos, against the
heaviest of them and against their share of the lens's mass.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from deeplense.classification.outputs import log_odds
from deeplense.config import EvaluateConfig
from deeplense.data.names import is_smooth
from deeplense.data.packed import is_packed, read_about
from deeplense.errors import InputError
from deeplense.evaluation.card import Card
from deeplense.evaluation.predict import eval_batch, scoring_device
from deeplense.evaluation.scored import name_of
from deeplense.figures.sensitivity import plot_sensitivity
from deeplense.files import replacing, write_json
from deeplense.scores.detection import Rate, Threshold, crossing, detection_rate, threshold_at
from deeplense.simulation.draw import Draws
from deeplense.simulation.priors import LogUniform
from deeplense.simulation.sets import KINDS, SETS, LensSet, find_classes
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.variants import with_one_subhalo
from deeplense.task import Trained

MASS_EDGES = tuple(10 ** (7 + k / 2) for k in range(8))
"""Msun: half decades from 10^7 to 10^10.5."""
FALSE_POSITIVE_RATES = (0.01, 0.1)
SMOOTH_PER_BIN = 5
"""Smooth images for each one of a bin: of n that set the threshold, only n/100 are false positives at 1 %."""
POPULATION_PER_BIN = 2
PARTS = 8
"""Parts of equal count that distances, exposures and populations are cut into."""
_CHUNK = 512
"""Images at a time."""
_ROOM = 1 << 20
"""Numbers between the first images of two bins, so that no image depends on how many there are."""

Columns = dict[str, np.ndarray]
"""(n,) each: `score`, the log-odds of substructure, and the truth by the names of `AXES`."""

AXES = {
    "mass": "Msun, of the one subhalo",
    "distance": "arcsec, from the centre to the one subhalo, less the Einstein radius",
    "exposure": "counts for a unit of flux",
    "heaviest": "Msun, of the heaviest subhalo",
    "share": "of the lens's mass inside its Einstein radius that is in subhalos",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """The true-positive rate in a part of an axis."""

    images: str
    """`one subhalo` or `population`."""
    axis: str
    low: float
    high: float
    median: float
    """Of the images in the part."""
    mass_low: float | None
    """Msun: which images of one subhalo were counted; None: all, or a population."""
    mass_high: float | None
    fpr: float
    rate: Rate

    def as_json(self) -> dict[str, Any]:
        """Flat, as the table has it."""
        own = {name: value for name, value in vars(self).items() if name != "rate"}
        rate = self.rate
        return own | {"n": rate.n, "detected": rate.hits, "tpr": rate.value, "tpr_low": rate.low, "tpr_high": rate.high}


def measure(config: EvaluateConfig, trained: Trained) -> Path:
    """Simulate, score, count, write `sensitivity.json`, `.csv` and `.png`, and say the result.

    Args:
        config: whose `data` names the set; None: the one that the run was trained on.
        trained: the run, with its best weights.

    Returns:
        The folder.

    Raises:
        InputError: there is no simulated set to ask about, or its classes or pixels are not the run's.
    """
    card = trained.card
    lens_set = find_lens_set(config, card, trained.config.data.data)
    name = name_of(config)
    device = scoring_device()
    scorer = _scorer(trained.network.to(device), card)
    smooth, single, population = simulate_and_score(lens_set, scorer, config, device)
    thresholds = [threshold_at(smooth["score"], fpr) for fpr in FALSE_POSITIVE_RATES]
    rows = count(single, population, thresholds)
    about = {
        "run": str(config.run),
        "set": lens_set.name,
        "set_version": lens_set.version,
        "seed": config.simulation_seed,
        "images": {
            "smooth": len(smooth["score"]),
            "one_subhalo": len(single["score"]),
            "population": len(population["score"]),
            "none_was_trained_on": "their random key says «sensitivity», that of training images does not",
        },
        "axes": AXES,
        "intervals": "95 %; counted images and those that set the threshold are finite: deeplense/scores/detection.py",
        "thresholds": [dataclasses.asdict(threshold) for threshold in thresholds],
        "mass_of_half": [half_mass(rows, fpr) for fpr in FALSE_POSITIVE_RATES],
    }
    folder = config.run / "evaluation" / name
    with replacing(folder) as aside:
        _write_table(aside / "sensitivity.csv", rows)
        write_json(aside / "sensitivity.json", {**about, "rates": [row.as_json() for row in rows]})
        plot_sensitivity(aside / "sensitivity.png", [row.as_json() for row in rows], about, config.run.resolve().name)
    print(f"{say_sensitivity(about)}\nall of it is in {folder}")
    return folder


def say_sensitivity(about: dict[str, Any]) -> str:
    """The result in a line, from what `sensitivity.json` says."""
    said = []
    for half in about["mass_of_half"]:
        mass = (
            "none of these masses is seen half the time" if half["mass"] is None else f"10^{np.log10(half['mass']):.2f}"
        )
        said.append(f"{mass} Msun at {half['fpr']:.0%} false positives")
    return f"{about['set']}: a single subhalo is seen half the time from {', '.join(said)}"


def find_lens_set(config: EvaluateConfig, card: Card, trained_on: str) -> LensSet:
    """The set to ask about. Raises `InputError` where there is none, or where it does not fit the run."""
    where = config.data or trained_on
    folder = Path(where).expanduser()
    name = str(read_about(folder).get("name")) if is_packed(folder) else where
    known = ", ".join(SETS)
    if name not in SETS and config.data is None:
        raise InputError(
            f"--sensitivity: {config.run} was trained on {where}, whose lenses nobody knows: "
            f"simulate others with --data SET ({known})"
        )
    if name not in SETS:
        raise InputError(f"--sensitivity simulates its images, and --data {where} is no simulated set: give {known}")
    if not is_smooth(card.classes[0]) or not {"sub", "cdm"} & set(card.classes):
        raise InputError(
            f"--sensitivity asks for smooth lenses and subhalos, and the classes of {config.run} are "
            f"{', '.join(card.classes)}: give a run with no_sub and sub (or cdm)"
        )
    if card.normalize == "range":
        raise InputError(
            f"--sensitivity: {config.run} was trained with --normalize range, and simulated counts have none: "
            "give a run with --normalize auto or minmax"
        )
    return SETS[name]


def simulate_and_score(
    lens_set: LensSet, scorer: Callable[[torch.Tensor], np.ndarray], config: EvaluateConfig, device: torch.device
) -> tuple[Columns, Columns, Columns]:
    """Smooth images, those with one subhalo, and the set's own population."""
    each, seed = config.sensitivity_count, config.simulation_seed
    own = Simulator(lens_set, find_classes(["no_sub", "cdm"]), seed, device, "sensitivity")
    singles = [
        Simulator(with_one_subhalo(lens_set, LogUniform(*edges)), find_classes(["cdm"]), seed, device, "sensitivity")
        for edges in pairwise(MASS_EDGES)
    ]
    total = each * (SMOOTH_PER_BIN + POPULATION_PER_BIN + len(singles))
    with tqdm(desc=f"{lens_set.name}: simulating and scoring", total=total, unit="image", disable=None) as bar:

        def run(simulator: Simulator, label: int, count: int, first: int = 0) -> Columns:
            return _join(_score(simulator, scorer, label, first, count, bar))

        smooth = run(own, 0, each * SMOOTH_PER_BIN)
        single = _join(run(simulator, 0, each, place * _ROOM) for place, simulator in enumerate(singles))
        population = run(own, 1, each * POPULATION_PER_BIN)
    return smooth, single, population


def count(single: Columns, population: Columns, thresholds: list[Threshold]) -> list[Row]:
    """The rates in every part of every axis, at every threshold."""
    rows: list[Row] = []

    def add(images: str, columns: Columns, axis: str, edges: np.ndarray, masses: tuple[float, float] | None) -> None:
        values, (lightest, heaviest) = columns[axis], masses or (None, None)
        part = np.clip(np.searchsorted(edges, values, "right") - 1, 0, len(edges) - 2)
        for threshold in thresholds:
            for place in np.unique(part):
                own = part == place
                low, high = float(edges[place]), float(edges[place + 1])
                rate = detection_rate(columns["score"][own], threshold)
                median = float(np.median(values[own]))
                rows.append(Row(images, axis, low, high, median, lightest, heaviest, threshold.fpr, rate))

    add("one subhalo", single, "mass", np.array(MASS_EDGES), None)
    for axis in ("distance", "exposure"):
        edges = _equal_parts(single[axis])
        for low, high in pairwise(MASS_EDGES):
            own = (single["mass"] >= low) & (single["mass"] < high)
            add("one subhalo", {name: values[own] for name, values in single.items()}, axis, edges, (low, high))
    for axis in ("heaviest", "share"):
        add("population", population, axis, _equal_parts(population[axis]), None)
    return rows


def half_mass(rows: list[Row], fpr: float) -> dict[str, float | None]:
    """The mass of the one subhalo from which on more than half are seen, and between which masses it may lie.

    Read off the rates, and off their limits, by straight lines in the logarithm of the mass.
    """
    own = [row for row in rows if row.axis == "mass" and row.fpr == fpr]
    middle = np.array([np.log10(row.low * row.high) / 2 for row in own])

    def where(rates: list[float]) -> float | None:
        place = crossing(middle, np.array(rates), 0.5)
        return None if place is None else 10**place

    return {
        "fpr": fpr,
        "mass": where([row.rate.value for row in own]),
        "low": where([row.rate.high for row in own]),
        "high": where([row.rate.low for row in own]),
    }


def _scorer(model: torch.nn.Module, card: Card) -> Callable[[torch.Tensor], np.ndarray]:
    """From counts (B, H, W) to log-odds (B,): the images are treated as those of training were."""

    @torch.inference_mode()
    def score(counts: torch.Tensor) -> np.ndarray:
        images = card.seen(counts[:, None])
        logits = [model(part) for part in images.split(eval_batch(images.device, card.image_size))]
        return log_odds(torch.cat(logits).double()).cpu().numpy()

    return score


def _score(
    simulator: Simulator, scorer: Callable[[torch.Tensor], np.ndarray], label: int, first: int, count: int, bar: Any
) -> Iterator[Columns]:
    """Images `first` to `first + count` of a class, a chunk at a time."""
    for start in range(first, first + count, _CHUNK):
        number = torch.arange(start, min(start + _CHUNK, first + count), device=simulator.device)
        counts, draws = simulator.make(number, torch.full_like(number, label))
        yield {"score": scorer(counts), **_truth(draws)}
        bar.update(len(number))


def _truth(draws: Draws) -> Columns:
    """The axes. Squared Einstein radii are to one another as masses, so the share needs no cosmology."""
    ring, smooth = draws.scalars["einstein_radius"], draws.kind == KINDS.index("no_sub")
    heaviest, place = draws.mass.max(1)
    x, y = (part.gather(1, place[:, None])[:, 0] for part in (draws.x, draws.y))
    share = (draws.radius**2).sum(1) / ring**2
    distance = (torch.hypot(x, y) - ring).where(~smooth, torch.nan)
    columns = {
        "mass": heaviest,
        "distance": distance,
        "exposure": draws.scalars["exposure"],
        "heaviest": heaviest,
        "share": share,
    }
    return {name: values.double().cpu().numpy() for name, values in columns.items()}


def _join(parts: Iterator[Columns]) -> Columns:
    everything = list(parts)
    return {name: np.concatenate([part[name] for part in everything]) for name in everything[0]}


def _equal_parts(values: np.ndarray) -> np.ndarray:
    """Edges of parts of equal count; of one part where all values are the same but for rounding."""
    if np.ptp(values) <= 1e-5 * np.abs(values).max():
        return np.array([values.min(), values.max()])
    return np.unique(np.quantile(values, np.linspace(0, 1, PARTS + 1)))


def _write_table(file: Path, rows: list[Row]) -> None:
    flat = [row.as_json() for row in rows]
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
