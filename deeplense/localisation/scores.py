"""How well subhalos are found, placed and weighed, and whether what is promised of them is so: from plain arrays.

`found` is a matter of images: one with a subhalo is found if its expected number is above that of all but 1 % (10 %) of
the smooth images. `placed` is found, and the most probable detection lies within two pixels of the subhalo; of several
subhalos one of the most probable detections, as many as there are subhalos, lies so near to the heaviest.
All else is a matter of single subhalos, matched to detections within two pixels (`matching`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from deeplense.localisation.detections import Detections
from deeplense.localisation.matching import ANGLES, TOLERANCE, Matches, distances, match, turned_truths
from deeplense.localisation.truth import Scale, TrueSubhalos
from deeplense.scores.calibration import reliability
from deeplense.scores.detection import LEVEL, detection_rate, proportion, threshold_at
from deeplense.scores.metrics import auc_delong, calibration_scores

RATES = (0.01, 0.1)
"""False-positive rates of images."""
DEX = 0.5
"""Width of a bin of mass."""
DECIDED = 0.5
"""Probability from which on a detection counts where one has to be chosen."""
HEAVY = 9.5
"""log10 of the mass from which on positions are told of apart: what a network of minutes should find."""
STEPS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Probabilities at which found is set against false."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a network says of n images, calibrated."""

    expected: np.ndarray
    """(n,) expected number of subhalos in the image."""
    p_any: np.ndarray
    """(n,) probability that there is one at all."""
    detections: Detections
    probability: np.ndarray
    """(m,) of the detections."""
    edges: np.ndarray
    """(b + 1,) of bins of log10 mass."""
    expected_in: np.ndarray
    """(n, b) expected number of subhalos with a mass in each bin."""


def mass_edges(truth: TrueSubhalos | None) -> np.ndarray:
    """Edges of half dex of log10 mass that hold all subhalos; of nothing one bin."""
    masses = np.empty(0) if truth is None else np.log10(truth.mass[truth.mass > 0])
    if not len(masses):
        return np.array([9.0, 9.5])
    first, last = np.floor(masses.min() / DEX + 1e-6), np.ceil(masses.max() / DEX - 1e-6)  # 10^8.5 as a float32
    return np.arange(first, max(last, first + 1) + 1) * DEX


def score(findings: Findings, truth: TrueSubhalos, scale: Scale) -> dict[str, Any]:
    """All scores of `metrics.json`; intervals are of 95 %. Shares need images of both kinds and are None without.

    Args:
        findings: of n images.
        truth: of the same, of what the network sees of them.
        scale: of its lengths.
    """
    there = truth.mass > 0
    matches = match(findings.detections, truth, scale)
    return {
        "n": len(findings.expected),
        "subhalos": int(there.sum()),
        "length_unit": scale.unit,
        "tolerance": TOLERANCE * scale.seen_pixel,
        **_any(findings, truth.present),
        "by_mass": _by_mass(findings, truth, scale),
        "froc": _froc(findings, truth, matches, scale),
        "false_detections": _false(findings, truth, matches),
        "position": _position(findings, truth, matches, scale),
        "mass": _mass(findings, truth, matches),
        "calibration": _calibration(findings, truth, matches),
    }


def bin_of(log_mass: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each mass, the outermost edges given some room for rounding."""
    return np.clip(np.searchsorted(edges, log_mass, side="right") - 1, 0, len(edges) - 2)


def heaviest(truth: TrueSubhalos) -> tuple[np.ndarray, np.ndarray]:
    """Place among its image's and log10 mass of the heaviest subhalo of each image, (n,); -inf without any."""
    place = truth.mass.argmax(1)
    with np.errstate(divide="ignore"):
        return place, np.log10(truth.mass[np.arange(len(place)), place])


def placed(detections: Detections, truth: TrueSubhalos, scale: Scale, count: int) -> np.ndarray:
    """(n,) whether one of the most probable detections of each image, as many as it has subhalos, is at the place of
    its heaviest one."""
    place, _ = heaviest(truth)
    rank = np.arange(len(detections)) - np.searchsorted(detections.image, detections.image)
    likely = detections.take(rank < (truth.mass > 0).sum(1)[detections.image])
    rows = likely.image
    apart = distances(likely, truth, scale)[np.arange(len(rows)), place[rows]]
    return np.bincount(rows[apart < TOLERANCE], minlength=count) > 0


def _any(findings: Findings, positive: np.ndarray) -> dict[str, Any]:
    """Is there one at all: the area under the ROC curve, and what the probabilities are worth."""
    names = ("roc_auc", "roc_auc_low", "roc_auc_high")
    if positive.all() or not positive.any():
        return dict.fromkeys(names)
    auc = auc_delong(positive, findings.expected)
    chances = np.stack([1 - findings.p_any, findings.p_any], 1)
    return dict(zip(names, (auc.value, auc.low, auc.high), strict=True)) | calibration_scores(
        positive.astype(np.int64), chances
    )


def _by_mass(findings: Findings, truth: TrueSubhalos, scale: Scale) -> list[dict[str, Any]]:
    """For each half dex of the heaviest subhalo: found and placed, with what chance would place."""
    count = len(findings.expected)
    _, mass = heaviest(truth)
    smooth, edges = ~np.isfinite(mass), findings.edges
    if smooth.all() or not smooth.any():
        return []
    near = placed(findings.detections, truth, scale, count)
    by_chance = np.mean([placed(findings.detections, turned, scale, count) for turned in turned_truths(truth)], 0)
    rows = []
    for place, low in enumerate(edges[:-1]):
        own = ~smooth & (bin_of(mass, edges) == place)
        if not own.any():
            continue
        row: dict[str, Any] = {"from": float(low), "to": float(edges[place + 1]), "n": int(own.sum())}
        for fpr in RATES:
            threshold = threshold_at(findings.expected[smooth], fpr)
            scores = findings.expected[own]
            found = scores > threshold.value
            at_place = np.where(near[own], scores, -np.inf)
            row[f"fpr_{fpr:g}"] = {
                "found": detection_rate(scores, threshold).as_json(),
                "placed": detection_rate(at_place, threshold).as_json(),
                "placed_by_chance": float((found * by_chance[own]).mean()),
                "placed_of_found": proportion(int((found & near[own]).sum()), int(found.sum())).as_json()
                if found.any()
                else None,
            }
        rows.append(row)
    return rows


def _froc(findings: Findings, truth: TrueSubhalos, matches: Matches, scale: Scale) -> list[dict[str, Any]]:
    """Free-response ROC: subhalos found against false detections an image, over the probability asked for."""
    count, there = len(findings.expected), truth.mass > 0
    if not there.any():
        return []
    p = findings.probability
    own = np.where(matches.detection >= 0, p[matches.detection] if len(p) else 0.0, -1.0)  # (n, K)
    bins = bin_of(np.log10(np.where(there, truth.mass, 1.0)), findings.edges)
    chance = [
        np.where(found >= 0, p[found] if len(p) else 0.0, -1.0)[there]
        for found in (
            match(findings.detections, turned, scale).detection for turned in turned_truths(truth, ANGLES // 6)
        )
    ]
    rows = []
    for step in STEPS:
        false = int(((matches.subhalo < 0) & (p >= step)).sum())
        found = own >= step
        rows.append(
            {
                "probability": step,
                "found": proportion(int(found[there].sum()), int(there.sum())).as_json(),
                "found_by_chance": float(np.mean([(turned >= step).mean() for turned in chance])),
                "found_by_mass": [
                    proportion(int(found[mine].sum()), int(mine.sum())).as_json() if mine.any() else None
                    for mine in (there & (bins == place) for place in range(len(findings.edges) - 1))
                ],
                "false_an_image": counted(false, count),
            }
        )
    return rows


def counted(number: int, of: int, each: float = 1.0) -> dict[str, float]:
    """A number of rare things per `each` of `of`, with Garwood's interval (Biometrika 28, 1936, 437)."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if number == 0 else float(stats.chi2.ppf(tail, 2 * number)) / 2
    high = float(stats.chi2.ppf(1 - tail, 2 * number + 2)) / 2
    return {"count": number, "rate": each * number / of, "low": each * low / of, "high": each * high / of}


def _false(findings: Findings, truth: TrueSubhalos, matches: Matches) -> dict[str, Any]:
    """Detections that are none, of a probability of `DECIDED` or more."""
    smooth = ~truth.present
    wrong = (matches.subhalo < 0) & (findings.probability >= DECIDED)
    in_smooth = int((wrong & smooth[findings.detections.image]).sum())
    return {
        "probability": DECIDED,
        "per_100_smooth": counted(in_smooth, int(smooth.sum()), 100.0) if smooth.any() else None,
        "per_100_images": counted(int(wrong.sum()), len(smooth), 100.0),
    }


def pairs(findings: Findings, truth: TrueSubhalos, matches: Matches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of a probability of `DECIDED` or more that are subhalos: their numbers, images, and places there."""
    number = np.flatnonzero((matches.subhalo >= 0) & (findings.probability >= DECIDED))
    return number, findings.detections.image[number], matches.subhalo[number]


def _position(findings: Findings, truth: TrueSubhalos, matches: Matches, scale: Scale) -> dict[str, Any]:
    """How far off, in the unit of lengths, and in their own sigmas."""
    number, row, place = pairs(findings, truth, matches)
    own = findings.detections.take(number)
    dx = own.x - scale.to_cells(truth.x[row, place])
    dy = own.y - scale.to_cells(truth.y[row, place])
    error = np.hypot(dx, dy) * 2 * scale.seen_pixel
    heavy = np.log10(truth.mass[row, place]) >= HEAVY if len(row) else np.zeros(0, dtype=bool)
    return {
        "median": median(error),
        "median_above_9.5": median(error[heavy]),
        "pulls": pulls(np.concatenate([dx / own.x_sigma, dy / own.y_sigma])),
    }


def _mass(findings: Findings, truth: TrueSubhalos, matches: Matches) -> dict[str, Any]:
    """How far off in dex, said less true."""
    number, row, place = pairs(findings, truth, matches)
    own = findings.detections.take(number)
    if not len(number):
        return {"bias": None, "scatter": None, "pulls": pulls(np.zeros(0))}
    error = own.log10_mass - np.log10(truth.mass[row, place])
    low, high = np.quantile(error, [0.16, 0.84])
    half = float(stats.norm.ppf(0.975)) * float(error.std()) / np.sqrt(len(error))
    return {
        "bias": {
            "n": len(error),
            "value": float(error.mean()),
            "low": error.mean() - half,
            "high": error.mean() + half,
        },
        "scatter": float(high - low) / 2,
        "pulls": pulls(error / own.log10_mass_sigma),
    }


def median(values: np.ndarray) -> dict[str, Any] | None:
    """The median with its exact interval by order statistics; None of nothing."""
    n = len(values)
    if not n:
        return None
    ordered, law = np.sort(values), stats.binom(n, 0.5)
    below = max(int(law.ppf((1 - LEVEL) / 2)) - 1, 0)
    above = min(int(law.ppf(1 - (1 - LEVEL) / 2)) + 1, n - 1)
    return {"n": n, "value": float(np.median(values)), "low": float(ordered[below]), "high": float(ordered[above])}


def pulls(values: np.ndarray) -> dict[str, Any] | None:
    """Shares of errors within one and two of their own sigmas, that should be 0.683 and 0.954; None of nothing."""
    if not len(values):
        return None
    within = {size: proportion(int((np.abs(values) < size).sum()), len(values)) for size in (1, 2)}
    return {"within_1_sigma": within[1].as_json(), "within_2_sigma": within[2].as_json(), "std": float(values.std())}


def _calibration(findings: Findings, truth: TrueSubhalos, matches: Matches) -> dict[str, Any]:
    """Do expected numbers sum to what is there, and do probabilities come true?"""
    there, edges = truth.mass > 0, findings.edges
    bins = np.where(there, bin_of(np.log10(np.where(there, truth.mass, 1.0)), edges), -1)
    numbers = [_sums(findings.expected, there.sum(1)) | {"from": None, "to": None}]
    for place in range(len(edges) - 1):
        own = _sums(findings.expected_in[:, place], (bins == place).sum(1))
        numbers.append(own | {"from": float(edges[place]), "to": float(edges[place + 1])})
    detections = None
    if len(findings.probability):
        true = (matches.subhalo >= 0).astype(np.int64)
        chances = np.stack([1 - findings.probability, findings.probability], 1)
        detections = calibration_scores(true, chances) | {
            "bins": [dataclasses.asdict(own) for own in reliability(true, chances)]
        }
    return {"expected_numbers": numbers, "detections": detections}


def _sums(expected: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Expected and true numbers of n images, summed, and their ratio with the interval that the images' scatter
    gives."""
    total, wanted, n = float(expected.sum()), int(true.sum()), len(true)
    half = float(stats.norm.ppf(0.975) * (expected - true).std() * np.sqrt(n))
    ratio = None if not wanted else total / wanted
    edges = (None, None) if not wanted else ((total - half) / wanted, (total + half) / wanted)
    return {"expected": total, "true": wanted, "ratio": ratio, "low": edges[0], "high": edges[1]}
