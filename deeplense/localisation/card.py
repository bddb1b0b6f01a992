"""What is kept beside the weights of a localiser: what its numbers are worth, and how lengths are measured."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

import numpy as np
import torch

from deeplense.data.imageset import ImageSet
from deeplense.evaluation.card import Card
from deeplense.localisation.detections import Detections, detect
from deeplense.localisation.likelihood import expected_between
from deeplense.localisation.matching import match
from deeplense.localisation.network import CELL, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA
from deeplense.localisation.promise import Promise, sigma_factor, straight
from deeplense.localisation.scores import Findings, pairs
from deeplense.localisation.truth import Scale, TrueSubhalos, scale_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocaliserCard(Card):
    """`best/model.json` of a localiser."""

    architecture: str = "resnet18-pyramid"
    pixel_scale: float | None = None
    """arcsec of a stored pixel of the images that it was trained on; None: not known, and lengths are in pixels."""
    val_loss: float | None = None
    number_factor: float = 1.0
    """By which the network's expected numbers are too small."""
    any_promise: tuple[float, float, float] = (0.0, 1.0, 1.0)
    """From the expected number in an image to the probability of any: the fields of `Promise`."""
    detection_promise: tuple[float, float, float] = (0.0, 1.0, 1.0)
    """The same from the integral round a detection to its probability."""
    mass_law: tuple[float, float] = (0.0, 1.0)
    """Offset and slope from the network's log10 of masses to those that it is right for in the mean."""
    position_factor: float = 1.0
    mass_factor: float = 1.0
    """By which the sigmas are too small, those of masses after that law."""

    @classmethod
    def read(cls, content: dict[str, Any]) -> Self:
        """See `Card.read`."""
        laws = ("any_promise", "detection_promise", "mass_law")
        own = {name: tuple(content[name]) for name in laws if name in content}
        return super().read({**content, **own})

    @property
    def cells(self) -> int:
        """Cells along a side of what the network says, of which the last one is cut where pixels are odd."""
        return (self.image_size + CELL - 1) // CELL

    def words(self, said: torch.Tensor) -> torch.Tensor:
        """What `predict` gives, (n, ...), as the network says it: (n, 6, h, w)."""
        return said.reshape(len(said), -1, self.cells, self.cells)

    def lengths(self, images: ImageSet) -> Scale:
        """How lengths are measured in images, which may not be those of the run: by their own pixels."""
        return scale_of(images, self.crop, self.image_size)

    def findings(self, outputs: torch.Tensor, edges: np.ndarray) -> Findings:
        """What the network's words (n, 6, h, w) mean, in bins of log10 mass."""
        outputs = self.with_masses(outputs)
        expected = self.number_factor * outputs[:, LOG_DENSITY].exp().sum((1, 2)).double().cpu().numpy()
        detections = self._with_sigmas(detect(outputs))
        return Findings(
            expected=expected,
            p_any=Promise(*self.any_promise).probability(expected),
            detections=detections,
            probability=Promise(*self.detection_promise).probability(detections.expected),
            edges=edges,
            expected_in=self.number_factor * expected_between(outputs, edges),
        )

    def calibrated(self, outputs: torch.Tensor, truth: TrueSubhalos, scale: Scale) -> LocaliserCard:
        """With promises and factors that fit validation images, of whose subhalos `truth` has those in view."""
        there = truth.mass > 0
        total = float(outputs[:, LOG_DENSITY].exp().sum())
        number_factor = float(there.sum()) / total if there.any() else 1.0
        plain = dataclasses.replace(
            self, number_factor=number_factor, mass_law=(0.0, 1.0), position_factor=1.0, mass_factor=1.0
        )
        findings = plain.findings(outputs, np.array([0.0, 1.0]))
        matches = match(findings.detections, truth, scale)
        of_any = Promise.fitted(findings.expected, truth.present)
        of_detections = Promise.fitted(findings.detections.expected, matches.subhalo >= 0)
        likely = dataclasses.replace(findings, probability=of_detections.probability(findings.detections.expected))
        number, row, place = pairs(likely, truth, matches)
        own = findings.detections.take(number)
        dx = (own.x - scale.to_cells(truth.x[row, place])) / own.x_sigma
        dy = (own.y - scale.to_cells(truth.y[row, place])) / own.y_sigma
        true = np.log10(truth.mass[row, place]) if len(row) else np.zeros(0)
        law = straight(own.log10_mass, true)
        return dataclasses.replace(
            self,
            number_factor=number_factor,
            any_promise=dataclasses.astuple(of_any),
            detection_promise=dataclasses.astuple(of_detections),
            mass_law=law,
            position_factor=sigma_factor(np.concatenate([dx, dy]), np.ones(2 * len(dx))),
            mass_factor=sigma_factor(law[0] + law[1] * own.log10_mass - true, law[1] * own.log10_mass_sigma),
        )

    def with_masses(self, outputs: torch.Tensor) -> torch.Tensor:
        """The network's words (n, 6, h, w) with the masses that are right in the mean, and their spread."""
        offset, slope = self.mass_law
        parts = list(outputs.unbind(1))
        parts[LOG_MASS] = offset + slope * parts[LOG_MASS]
        parts[LOG_MASS_SIGMA] = parts[LOG_MASS_SIGMA] + math.log(slope)
        return torch.stack(parts, 1)

    def _with_sigmas(self, found: Detections) -> Detections:
        return dataclasses.replace(
            found,
            x_sigma=found.x_sigma * self.position_factor,
            y_sigma=found.y_sigma * self.position_factor,
            log10_mass_sigma=found.log10_mass_sigma * self.mass_factor,
        )
