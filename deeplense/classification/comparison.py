"""Which run is better: several on the same images, their differences with intervals, and seeds of one recipe."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from deeplense.classification.card import ModelCard
from deeplense.classification.predictions import predict_views
from deeplense.classification.recalibration import card_for
from deeplense.cli import flat
from deeplense.config import EvaluateConfig, RunConfig, TrackingConfig, TrainConfig
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.evaluation.foreign import Foreignness
from deeplense.evaluation.predict import scoring_device
from deeplense.evaluation.scored import common_images
from deeplense.figures.trust import plot_comparison
from deeplense.files import replacing, write_json
from deeplense.network.views import shown_views
from deeplense.scores.metrics import Auc, area, score
from deeplense.scores.symmetry import viewed_of
from deeplense.task import Trained

NOT_THE_RECIPE = {field.name for part in (RunConfig, TrackingConfig) for field in dataclasses.fields(part)} | {"preset"}
"""Settings in which runs of one recipe may differ: the seed, and where and how safely they ran."""

SUMMARISED = ("roc_auc", "average_precision", "accuracy", "log_loss", "tpr_at_fpr_0.01")
"""Scores of which the seeds of a recipe get mean and spread."""

COLUMNS = (
    "run", "recipe", "seed", "n", "roc_auc", "roc_auc_low", "roc_auc_high", "average_precision", "accuracy",
    "balanced_accuracy", "errors", "threshold", "tpr_at_fpr_0.01", "tpr_at_fpr_0.1", "log_loss", "brier", "ece",
    "minus_first", "minus_first_low", "minus_first_high", "minus_first_p",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A run, and what it says of the images."""

    name: str
    trained: TrainConfig
    card: ModelCard
    probabilities: np.ndarray
    """(n, K), calibrated."""

    @property
    def recipe(self) -> str:
        """The settings that make the result, but for the seed."""
        recipe = {name: value for name, value in flat(self.trained).items() if name not in NOT_THE_RECIPE}
        return json.dumps(recipe, sort_keys=True)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of two areas under ROC curves on the same images."""

    value: float
    low: float
    high: float
    """95 % interval."""
    p: float | None
    """Two-sided: how often equally good networks would differ as much. None where the images cannot tell."""


def difference(a: Auc, b: Auc) -> Difference:
    """`a` minus `b`, of the same images in the same order (DeLong, DeLong & Clarke-Pearson, Biometrics 44 (1988) 837).

    What moves both areas alike is no uncertainty of their difference, so the interval is that of the difference of
    the influences. Where both rank without a fault (or all the wrong way round) these are all zero, and the single
    intervals bound the difference.
    """
    value = a.value - b.value
    error = float(np.sqrt(((a.influence - b.influence) ** 2).sum()))
    if error > 0:
        half = stats.norm.ppf(0.975) * error
        return Difference(value, value - half, value + half, float(2 * stats.norm.sf(abs(value) / error)))
    if a.value in (0, 1):
        return Difference(value, a.low - b.high, a.high - b.low, None)
    return Difference(value, value, value, 1.0)  # one ranking twice


def compare(contestants: Sequence[Contestant], labels: np.ndarray) -> dict[str, Any]:
    """What `comparison.json` says of contestants on the same labels (n,).

    Differences are null where a class is missing. The p-values are those of single pairs: of many pairs, some
    will be small by chance.
    """
    classes = contestants[0].card.classes
    complete = len(np.unique(labels)) == len(classes)
    recipes = list(dict.fromkeys(contestant.recipe for contestant in contestants))
    runs = [
        {
            "run": contestant.name,
            "recipe": recipes.index(contestant.recipe),
            "seed": contestant.trained.run.seed,
            **score(labels, contestant.probabilities, classes, contestant.card.decides_at),
            "threshold_from": contestant.card.decided_by,
            "temperature": contestant.card.temperature,
        }
        for contestant in contestants
    ]
    pairs = []
    if complete:
        areas = [area(labels, contestant.probabilities) for contestant in contestants]
        pairs = [
            {
                "first": contestants[i].name,
                "second": contestants[j].name,
                "second_minus_first": dataclasses.asdict(difference(areas[j], areas[i])),
            }
            for i, j in combinations(range(len(contestants)), 2)
        ]
    comparison: dict[str, Any] = {
        "n": len(labels),
        "classes": list(classes),
        "runs": runs,
        "pairs": pairs,
        "recipes": [_summary(place, runs) for place in range(len(recipes))],
    }
    if not complete:
        comparison["undefined"] = runs[0]["undefined"]
    return comparison


def _summary(place: int, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over the runs of one recipe. A copy of a run is not a second seed."""
    members: list[dict[str, Any]] = []
    copies: list[dict[str, Any]] = []
    seen: set[tuple[Any, ...]] = set()
    for run in runs:
        if run["recipe"] == place:
            same = tuple(run[name] for name in ("seed", *SUMMARISED))
            (copies if same in seen else members).append(run)
            seen.add(same)
    summary: dict[str, Any] = {
        "recipe": place,
        "runs": [run["run"] for run in members],
        "seeds": [run["seed"] for run in members],
        "copies": [run["run"] for run in copies],
    }
    for name in SUMMARISED:
        values = [run[name] for run in members]
        known = None not in values
        summary[name] = {
            "mean": float(np.mean(values)) if known else None,
            "std": float(np.std(values, ddof=1)) if known and len(values) > 1 else None,
            "min": min(values) if known else None,
            "max": max(values) if known else None,
        }
    return summary


def compare_runs(runs: Sequence[Trained], asked: EvaluateConfig) -> None:
    """The story of finding out which run is better.

    Raises:
        InputError: the runs tell different classes apart, or share no images that none has learned from.
    """
    refuse_other_classes(runs)
    first = runs[0]
    folders = [run.folder for run in runs]
    images, indices, left_out = common_images(folders, first.card, first.config, asked)
    assert images.labels is not None
    device = scoring_device()
    contestants, told = [], list[str]()
    for run, name in zip(runs, names_of(folders), strict=True):
        network = run.network.to(device)
        assert isinstance(run.card, ModelCard)
        card = card_for(run, run.card, asked)
        store, shown = card.store(images, device), shown_views(run.config.augment)
        predictions = predict_views(
            network, store, indices, viewed_of(0), shown, asked.tta, asked.batch_size, familiarity=run.familiarity
        )
        contestants.append(Contestant(name, run.config, card, card.probabilities(predictions.logits)))
        if predictions.look is not None:
            told += [f"{name}: {line}" for line in Foreignness.of(predictions.look, "say", name).said()]
    comparison = compare(contestants, images.labels[indices])
    about = {"images": asked.data or f"test images of {asked.run}", "left_out": left_out, "tta": asked.tta}
    folder = write_comparison(asked, comparison, contestants, images, indices, about)
    print("\n".join([*told, say(comparison), f"all of it is in {folder}"]))


def refuse_other_classes(runs: Sequence[Trained]) -> None:
    """Raise `InputError` unless all runs tell the same classes apart."""
    first = runs[0]
    for run in runs:
        if run.card.classes != first.card.classes:
            raise InputError(
                f"{run.folder} tells {', '.join(run.card.classes)} apart, and {first.folder} "
                f"{', '.join(first.card.classes)}: compare runs of the same classes"
            )


def names_of(runs: Sequence[Path]) -> list[str]:
    """What to call the runs: by their folders, with the path where two are called alike."""
    names = [run.resolve().name for run in runs]
    return [str(run) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def write_comparison(
    config: EvaluateConfig,
    comparison: dict[str, Any],
    contestants: Sequence[Contestant],
    images: ImageSet,
    indices: np.ndarray,
    about: dict[str, Any],
) -> Path:
    """Write `comparison.json`, `comparison.csv`, `predictions.csv` and `roc.png`; returns their folder.

    Raises:
        InputError: it cannot be written.
    """
    assert images.labels is not None
    others = f"{len(config.runs) - 1}-others" if len(config.runs) > 2 else config.runs[1].resolve().name
    name = config.name or f"{config.run.resolve().name}-vs-{others}"
    folder = config.run.resolve().parent / "comparison" / name
    labels = images.labels[indices]
    try:
        with replacing(folder) as aside:
            write_json(aside / "comparison.json", {**comparison, **about})
            _write_table(aside / "comparison.csv", comparison)
            _write_predictions(aside / "predictions.csv", contestants, images, indices)
            if comparison["pairs"]:
                curves = {contestant.name: contestant.probabilities for contestant in contestants}
                plot_comparison(aside / "roc.png", labels, curves, comparison)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): copy the first run elsewhere") from None
    return folder


def _write_table(file: Path, comparison: dict[str, Any]) -> None:
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for run in comparison["runs"]:
            ahead = _minus_first(comparison, run["run"])
            columns = {} if ahead is None else {f"minus_first_{name}": value for name, value in ahead.items()}
            columns["minus_first"] = columns.pop("minus_first_value", None)
            writer.writerow({**run, **columns})


def _write_predictions(file: Path, contestants: Sequence[Contestant], images: ImageSet, indices: np.ndarray) -> None:
    """path,label, and for each run the probability of each class."""
    assert images.labels is not None
    classes = contestants[0].card.classes
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        names = [f"{contestant.name}: p_{name}" for contestant in contestants for name in classes]
        writer.writerow(["path", "label", *names])
        chances = np.concatenate([contestant.probabilities for contestant in contestants], axis=1)
        for row, index in enumerate(indices):
            own = [f"{chance:.9g}" for chance in chances[row]]
            writer.writerow([images.paths[index], classes[images.labels[index]], *own])


def _minus_first(comparison: dict[str, Any], run: str) -> dict[str, Any] | None:
    """How far a run is ahead of the first one; None for that itself."""
    first = comparison["runs"][0]["run"]
    found = [pair for pair in comparison["pairs"] if (pair["first"], pair["second"]) == (first, run)]
    return found[0]["second_minus_first"] if found else None


def say(comparison: dict[str, Any]) -> str:
    """The table, and the recipes of which there are several seeds."""
    rows = [("run", "seed", "ROC AUC, 95 % interval", "accuracy", "log loss", "minus the first, 95 % interval", "p")]
    for run in comparison["runs"]:
        ahead = _minus_first(comparison, run["run"])
        rows.append(
            (
                run["run"],
                str(run["seed"]),
                "undefined"
                if run["roc_auc"] is None
                else f"{run['roc_auc']:.5f} [{run['roc_auc_low']:.5f}, {run['roc_auc_high']:.5f}]",
                f"{run['accuracy']:.4f}",
                f"{run['log_loss']:.5f}",
                "" if ahead is None else f"{ahead['value']:+.5f} [{ahead['low']:+.5f}, {ahead['high']:+.5f}]",
                "" if ahead is None or ahead["p"] is None else f"{ahead['p']:.2g}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for recipe in comparison["recipes"]:
        area = recipe["roc_auc"]
        if area["std"] is not None:
            lines.append(
                f"{', '.join(recipe['runs'])} are seeds {', '.join(map(str, recipe['seeds']))} of one recipe: "
                f"ROC AUC {area['mean']:.5f} ± {area['std']:.5f} (standard deviation), "
                f"accuracy {recipe['accuracy']['mean']:.4f} ± {recipe['accuracy']['std']:.4f}"
            )
        if recipe["copies"]:
            lines.append(f"{', '.join(recipe['copies'])}: a copy of another run, and no seed of its own")
    if "undefined" in comparison:
        lines.append(comparison["undefined"])
    return "\n".join([f"{comparison['n']} images", *lines])
