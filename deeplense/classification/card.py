"""What is kept beside the weights of a classifier."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from deeplense.classification.outputs import probabilities
from deeplense.evaluation.card import Card
from deeplense.scores.calibration import LIKELIEST


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelCard(Card):
    """`best/model.json` of a classifier: how logits become probabilities, and probabilities decisions."""

    threshold: float | None
    """On the calibrated probability of label 1, for two classes; None: nothing chose one."""
    val_roc_auc: float | None
    temperature: float | None = None
    """By which logits are divided before they become probabilities; None: nothing fitted one."""
    threshold_from: str | None = None
    """How the threshold was chosen."""
    adapted_to: str | None = None
    """The unlabelled images that the weights were made fit for; None: those of the run."""

    def probabilities(self, logits: torch.Tensor) -> np.ndarray:
        """Calibrated probability of each class (n, K) float64 from logits (n, 1) or (n, K)."""
        return probabilities(logits, self.temperature or 1.0).cpu().numpy()

    @property
    def decides_at(self) -> float:
        """The threshold that is used."""
        return 0.5 if self.threshold is None else self.threshold

    @property
    def decided_by(self) -> str:
        """How `decides_at` came about."""
        if self.threshold_from is not None:
            return self.threshold_from
        return LIKELIEST if len(self.classes) > 2 else "nothing was chosen on validation images"

    @property
    def why_uncalibrated(self) -> str | None:
        """None if it is calibrated."""
        if self.temperature is not None:
            return None
        if self.adapted_to is not None:
            return (
                f"the run was adapted to {self.adapted_to}, whose classes nobody knows: its probabilities are its own"
            )
        missing = "no validation images" if self.val_roc_auc is None else "no temperature in its model.json"
        return f"the run has {missing}: probabilities are as the network gives them"
