"""What fits and network together promise: probabilities that come true, by two logistic laws of validation images.

The log of a candidate's evidence would be its log-odds, but for the prior, for what is not Gaussian in the likelihood,
and for fits that end in the wrong valley; the network's word is of the same pixels, and yet knows these. So the
log-odds are a sum of both, whose slopes the validation images choose.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import optimize, special

from deeplense.localisation.detections import Detections
from deeplense.localisation.matching import match
from deeplense.localisation.promise import sigma_factor
from deeplense.localisation.refit.refit import Refitted
from deeplense.localisation.scores import DEX, Findings, pairs
from deeplense.localisation.truth import Scale, TrueSubhalos

LEAST, MOST = -8.0, 30.0
"""Logs of evidence beyond which one is as good as another."""
FAINTEST = 1e-5
"""Expected numbers below which one is as good as another."""

Law = tuple[float, float, float]
"""Offset, slope of the evidence, slope of the network's log-odds."""


@dataclasses.dataclass(frozen=True)
class Weighing:
    """How fits become probabilities; kept with the run."""

    single: bool
    """Whether an image has one subhalo at most: then its candidates compete."""
    any_law: Law
    detection_law: Law
    position_factor: float
    mass_factor: float
    """By which the fit's sigmas are too small."""
    unseen: dict[str, float]
    """Subhalos of each half dex, by its lower edge, that no detection of an image stands for: their mean number."""

    def findings(self, refitted: Refitted, network: Findings, density: np.ndarray, scale: Scale) -> Findings:
        """What is promised of n images.

        Args:
            refitted: of them.
            network: what it says of them by itself.
            density: (n, h, w) expected numbers in the cells.
        """
        detections, evidence, word = _candidates(refitted, density, scale)
        number = len(network.expected)
        of_one = evidence - _of_others(evidence, detections.image, number) if self.single else evidence
        probability = _law(self.detection_law, of_one, word)
        order = np.lexsort((-probability, detections.image))
        probability = probability[order]
        detections = dataclasses.replace(
            detections,
            expected=probability,
            x_sigma=detections.x_sigma * self.position_factor,
            y_sigma=detections.y_sigma * self.position_factor,
            log10_mass_sigma=detections.log10_mass_sigma * self.mass_factor,
        )
        # Sorted after the sigmas were made, with the probabilities that are sorted already.
        detections = dataclasses.replace(detections.take(order), expected=probability)
        p_any = _law(self.any_law, _of_image(evidence, refitted.image, number), _log_odds(network.p_any))
        seen = np.bincount(detections.image, probability, number)
        unseen = self._unseen_in(network.edges)
        shares = _in_bins(detections, network.edges) * probability[:, None]
        expected_in = np.stack([np.bincount(detections.image, column, number) for column in shares.T], 1)
        if self.single:
            rest = np.clip(p_any - seen, 0, None)
            expected, scale_rest = p_any, rest / max(float(unseen.sum()), 1e-9)
        else:
            expected, scale_rest = seen + unseen.sum(), np.ones(number)
        expected_in = expected_in + scale_rest[:, None] * unseen
        return Findings(expected, p_any, detections, probability, network.edges, expected_in)

    def _unseen_in(self, edges: np.ndarray) -> np.ndarray:
        """(b,) of the bins of `edges`; what is lighter or heavier is in the outermost."""
        numbers = np.zeros(len(edges) - 1)
        for low, number in self.unseen.items():
            numbers[np.clip(np.searchsorted(edges, float(low) + DEX / 2) - 1, 0, len(numbers) - 1)] += number
        return numbers

    @staticmethod
    def fitted(
        refitted: Refitted, network: Findings, density: np.ndarray, truth: TrueSubhalos, scale: Scale, single: bool
    ) -> Weighing:
        """The one that fits validation images."""
        detections, evidence, word = _candidates(refitted, density, scale)
        number = len(network.expected)
        true = match(detections, truth, scale).subhalo >= 0
        of_one = evidence - _of_others(evidence, detections.image, number) if single else evidence
        of_image = _of_image(evidence, refitted.image, number)
        plain = Weighing(
            single=single,
            any_law=_fit_law(of_image, _log_odds(network.p_any), truth.present),
            detection_law=_fit_law(of_one, word, true),
            position_factor=1.0,
            mass_factor=1.0,
            unseen={},
        )
        findings = plain.findings(refitted, network, density, scale)
        matches = match(findings.detections, truth, scale)
        which, row, place = pairs(findings, truth, matches)
        own = findings.detections.take(which)
        dx = (own.x - scale.to_cells(truth.x[row, place])) / own.x_sigma
        dy = (own.y - scale.to_cells(truth.y[row, place])) / own.y_sigma
        dm = own.log10_mass - np.log10(truth.mass[row, place]) if len(row) else np.zeros(0)
        return dataclasses.replace(
            plain,
            position_factor=sigma_factor(np.concatenate([dx, dy]), np.ones(2 * len(dx))),
            mass_factor=sigma_factor(dm, own.log10_mass_sigma),
            unseen=_unseen(findings, truth),
        )


def _candidates(refitted: Refitted, density: np.ndarray, scale: Scale) -> tuple[Detections, np.ndarray, np.ndarray]:
    """The fits as detections of no probability yet, their evidence, and the network's log-odds at their places."""
    cell = 2 * scale.seen_pixel
    x_sigma, y_sigma, mass_sigma = np.sqrt(np.diagonal(refitted.covariance, axis1=1, axis2=2)).T
    x, y = scale.to_cells(refitted.x), scale.to_cells(refitted.y)
    detections = Detections(
        *(refitted.image, np.zeros(len(x)), x, y, x_sigma / cell, y_sigma / cell, refitted.log10_mass, mass_sigma)
    )
    evidence = refitted.evidence(1.0, 1.0)
    padded = np.pad(density, ((0, 0), (1, 1), (1, 1)))
    height, width = density.shape[1:]
    row, column = (np.clip(np.floor(at).astype(int), 0, side - 1) for at, side in ((y, height), (x, width)))
    near = sum(padded[refitted.image, row + i, column + j] for i in range(3) for j in range(3))
    return detections, evidence, _log_odds(np.asarray(near, dtype=np.float64))


def _of_others(evidence: np.ndarray, image: np.ndarray, number: int) -> np.ndarray:
    """(m,) log of 1 and the evidence of the other candidates of the same image, in sum."""
    table, place = _by_image(evidence, image, number)
    sums = np.zeros_like(table)
    for own in range(table.shape[1]):
        sums[:, own] = np.logaddexp.reduce(np.delete(table, own, axis=1), axis=1, initial=0.0)
    return np.asarray(sums[image, place])


def _of_image(evidence: np.ndarray, image: np.ndarray, number: int) -> np.ndarray:
    """(n,) log of the evidence of all candidates of an image."""
    table, _ = _by_image(evidence, image, number)
    return np.clip(np.logaddexp.reduce(table, axis=1, initial=LEAST), LEAST, MOST)


def _by_image(evidence: np.ndarray, image: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The evidence of each image's candidates side by side, (n, K), and the place of each candidate there."""
    place = np.arange(len(image)) - np.searchsorted(image, image)
    table = np.full((number, int(place.max(initial=0)) + 1), -np.inf)
    table[image, place] = evidence
    return table, place


def _log_odds(number: np.ndarray) -> np.ndarray:
    return np.asarray(special.logit(np.clip(number, FAINTEST, 1 - 1e-3)))


def _law(law: Law, evidence: np.ndarray, word: np.ndarray) -> np.ndarray:
    return np.asarray(special.expit(law[0] + law[1] * np.clip(evidence, LEAST, MOST) + law[2] * word))


def _fit_law(evidence: np.ndarray, word: np.ndarray, true: np.ndarray) -> Law:
    """The likeliest law, with a prior worth a few cases; more evidence is never less probable."""
    sign, evidence = np.where(true, 1.0, -1.0), np.clip(evidence, LEAST, MOST)

    def loss(values: np.ndarray) -> float:
        prior = 0.01 * values[0] ** 2 + 2 * (values[1] - 1) ** 2 + 2 * (values[2] - 0.5) ** 2
        return float(prior - special.log_expit(sign * (values[0] + values[1] * evidence + values[2] * word)).sum())

    found = optimize.minimize(loss, np.array([0.0, 1.0, 0.5]), method="L-BFGS-B", bounds=[(-30, 30), (0, 5), (0, 5)])
    offset, slope, other = (float(value) for value in found.x)
    return offset, slope, other


def _in_bins(detections: Detections, edges: np.ndarray) -> np.ndarray:
    """(m, b) share of each detection's mass in each bin, the outermost ones open."""
    inner = (edges[None, 1:-1] - detections.log10_mass[:, None]) / detections.log10_mass_sigma[:, None]
    below = special.ndtr(inner)
    ends = np.zeros((len(detections), 1)), np.ones((len(detections), 1))
    return np.diff(np.concatenate([ends[0], below, ends[1]], 1), axis=1)


def _unseen(findings: Findings, truth: TrueSubhalos) -> dict[str, float]:
    """What is there of each half dex less what detections stand for, an image."""
    there = truth.mass > 0
    masses = np.log10(truth.mass[there])
    if not len(masses):
        return {}
    edges = np.arange(np.floor(masses.min() / DEX + 1e-6), np.ceil(masses.max() / DEX - 1e-6) + 1) * DEX
    true = np.histogram(np.clip(masses, edges[0], edges[-1]), edges)[0]
    seen = (_in_bins(findings.detections, edges) * findings.probability[:, None]).sum(0)
    left = np.clip(true - seen, 0, None) / len(there)
    return {f"{low:g}": float(number) for low, number in zip(edges[:-1], left, strict=True)}
