"""Which run finds more: several on the same images, with the intervals of their differences.

Runs that locate are compared by what they find and place; a classifier of two classes may stand beside them for the
area under the ROC curve of "is there any". Differences have intervals of a bootstrap over the images, smooth ones and
others each by themselves, thresholds and all: what moves both runs alike is no uncertainty of their difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.config import EvaluateConfig
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.evaluation.predict import predict, scoring_device
from deeplense.evaluation.scored import common_images
from deeplense.files import replacing, write_json
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.scores import RATES, bin_of, heaviest, mass_edges, placed, score
from deeplense.localisation.truth import TrueSubhalos, read_truth
from deeplense.scores.detection import threshold_at
from deeplense.scores.metrics import auc_delong
from deeplense.task import Trained

RESAMPLED = 500
"""Bootstrap samples."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A run, and what it says of n images."""

    name: str
    expected: np.ndarray
    """(n,) that ranks the images: an expected number, or a classifier's log-odds."""
    placed: np.ndarray | None = None
    """(n,) whether its strongest detection is at the heaviest subhalo; None: it is a classifier."""
    scores: dict[str, Any] = dataclasses.field(default_factory=dict)
    """As in `metrics.json`."""


def compare_runs(runs: Sequence[Trained], asked: EvaluateConfig) -> None:
    """The story of finding out which run finds more.

    Raises:
        InputError: the runs share no images, or one of them tells other classes apart.
    """
    if asked.tta:
        raise InputError("--tta: runs that locate are compared by what they say of images as they are: leave it out")
    first = runs[0]
    folders = [run.folder for run in runs]
    images, indices, left_out = common_images(folders, first.card, first.config, asked)
    truth = read_truth(images, asked.data or first.config.data.data).take(indices)
    device = scoring_device()
    names = [run.folder.resolve().name for run in runs]
    contestants = []
    for run, name in zip(runs, names, strict=True):
        run.network.to(device)
        called = str(run.folder) if names.count(name) > 1 else name
        said = predict(run.network, run.card.store(images, device), indices, asked.batch_size)
        if isinstance(run.card, LocaliserCard):
            contestants.append(_located(called, run.card, said, images, truth))
            continue
        if said.shape[1] != 1:
            raise InputError(
                f"{run.folder} tells {len(run.card.classes)} classes apart: beside runs that locate, give one of two"
            )
        contestants.append(Contestant(called, said[:, 0].double().cpu().numpy()))
    comparison = compare(contestants, truth)
    about = {"images": asked.data or f"test images of {asked.run}", "left_out": left_out}
    folder = _write(asked, {**comparison, **about})
    print(f"{say(comparison)}\nall of it is in {folder}")


def _located(name: str, card: LocaliserCard, said: Any, images: ImageSet, truth: TrueSubhalos) -> Contestant:
    scale = card.lengths(images)
    seen = truth.seen(scale.half)
    findings = card.findings(card.words(said), mass_edges(truth))
    near = placed(findings.detections, seen, scale, len(findings.expected))
    return Contestant(name, findings.expected, near, score(findings, seen, scale))


def compare(contestants: Sequence[Contestant], truth: TrueSubhalos) -> dict[str, Any]:
    """Rates of each, and of each but the first its differences to the first.

    Args:
        truth: of the n images.

    Raises:
        InputError: there are not images of both kinds.
    """
    _, mass = heaviest(truth)
    smooth = np.flatnonzero(~np.isfinite(mass))
    others = np.flatnonzero(np.isfinite(mass))
    if not len(smooth) or not len(others):
        raise InputError("--data: a comparison of what is found needs smooth images and others: give both")
    edges = mass_edges(truth)
    bins = bin_of(mass[others], edges)
    own = [_rates(one, smooth, others, bins, len(edges) - 1) for one in contestants]
    random = np.random.default_rng(0)
    drawn: list[list[np.ndarray]] = [[] for _ in contestants]
    for _ in range(RESAMPLED):
        negative = random.choice(smooth, len(smooth))
        rows = random.integers(0, len(others), len(others))
        for place, one in enumerate(contestants):
            drawn[place].append(_rates(one, negative, others[rows], bins[rows], len(edges) - 1))
    runs = []
    for place, one in enumerate(contestants):
        minus = [None] * len(own[0]) if not place else _intervals(own[place] - own[0], drawn[place], drawn[0])
        auc = auc_delong(np.isfinite(mass), one.expected)
        runs.append(
            {
                "run": one.name,
                "roc_auc": {"value": auc.value, "low": auc.low, "high": auc.high, "minus_first": minus[0]},
                "by_mass": None if one.placed is None else _table(own[place], minus, edges, bins),
                "scores": {name: one.scores[name] for name in ("position", "mass", "false_detections")}
                if one.scores
                else None,
            }
        )
    return {"n": len(mass), "smooth": len(smooth), "runs": runs}


def _rates(one: Contestant, smooth: np.ndarray, others: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """The area under the ROC curve; then, of each false-positive rate and bin, the shares found, and found and placed;
    NaN of no images, and of what a classifier does not say."""
    scores = np.concatenate([one.expected[smooth], one.expected[others]])
    positive = np.arange(len(scores)) >= len(smooth)
    values = [auc_delong(positive, scores).value]
    per_bin = np.maximum(np.bincount(bins, minlength=count), 1e-9)
    for fpr in RATES:
        found = one.expected[others] > threshold_at(one.expected[smooth], fpr).value
        near = np.full(len(others), np.nan) if one.placed is None else one.placed[others]
        for hits in (found.astype(float), found * near):
            sums = np.bincount(bins, hits, count) / per_bin
            values += np.where(np.bincount(bins, minlength=count) > 0, sums, np.nan).tolist()
    return np.array(values)


def _intervals(value: np.ndarray, mine: list[np.ndarray], first: list[np.ndarray]) -> list[dict[str, float] | None]:
    """Each difference with its 95 % interval; None where there is none."""
    differences = np.array(mine) - np.array(first)  # (RESAMPLED, m)
    found: list[dict[str, float] | None] = []
    for own, column in zip(value, differences.T, strict=True):
        known = column[np.isfinite(column)]
        if np.isfinite(own) and len(known):
            low, high = np.quantile(known, [0.025, 0.975])
            found.append({"value": float(own), "low": float(low), "high": float(high)})
        else:
            found.append(None)
    return found


def _table(own: np.ndarray, minus: Sequence[Any], edges: np.ndarray, bins: np.ndarray) -> list[dict[str, Any]]:
    """A row a bin of mass, as `by_mass` in `metrics.json`."""
    count, rows = len(edges) - 1, []
    for place in range(count):
        number = int((bins == place).sum())
        if not number:
            continue
        row: dict[str, Any] = {"from": float(edges[place]), "to": float(edges[place + 1]), "n": number}
        for turn, fpr in enumerate(RATES):
            at = [1 + (2 * turn + what) * count + place for what in (0, 1)]
            row[f"fpr_{fpr:g}"] = {
                name: {"rate": float(own[where]), "minus_first": minus[where]}
                for name, where in zip(("found", "placed"), at, strict=True)
            }
        rows.append(row)
    return rows


def _write(asked: EvaluateConfig, comparison: dict[str, Any]) -> Path:
    others = f"{len(asked.runs) - 1}-others" if len(asked.runs) > 2 else asked.runs[1].resolve().name
    name = asked.name or f"{asked.run.resolve().name}-vs-{others}"
    folder = asked.run.resolve().parent / "comparison" / name
    try:
        with replacing(folder) as aside:
            write_json(aside / "comparison.json", comparison)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): copy the first run elsewhere") from None
    return folder


def say(comparison: dict[str, Any]) -> str:
    """The comparison in a few lines."""
    lines = []
    for run in comparison["runs"]:
        auc = run["roc_auc"]
        lines.append(
            f"{run['run']}: any subhalo, ROC AUC {auc['value']:.4f} [{auc['low']:.4f}, {auc['high']:.4f}]"
            f"{_minus(auc['minus_first'], 1, '.4f')}"
        )
        for row in run["by_mass"] or []:
            own = row["fpr_0.01"]
            parts = [
                f"{100 * own[what]['rate']:.0f} %{_minus(own[what]['minus_first'], 100, '.1f')} {what}"
                for what in ("found", "placed")
            ]
            lines.append(f"  10^{row['from']:g} to 10^{row['to']:g} Msun, FPR 1 %: {', '.join(parts)}")
    return "\n".join(lines)


def _minus(difference: dict[str, float] | None, unit: float, digits: str) -> str:
    if difference is None:
        return ""
    value, low, high = (format(unit * difference[name], f"+{digits}") for name in ("value", "low", "high"))
    return f" ({value} [{low}, {high}] to the first)"
