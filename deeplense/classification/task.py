"""The task "is there substructure, and of which kind": a ResNet-18 with a logit for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deeplense.classification.card import ModelCard
from deeplense.classification.comparison import compare_runs
from deeplense.classification.evaluate import ClassEvaluation, evaluate
from deeplense.classification.outputs import loss_function, probabilities
from deeplense.config import EvaluateConfig, TrainConfig
from deeplense.data.batches import Targets
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.errors import InputError
from deeplense.network.model import build_model
from deeplense.scores.calibration import NOT_CALIBRATED, calibrate, refuse_rate
from deeplense.scores.metrics import score
from deeplense.task import Headline, Said, Scored, Task, Trained

if TYPE_CHECKING:
    from accelerate import Accelerator

    from deeplense.simulation.draw import Draws

RARE = 0.05
"""Share of the images below which a class is one to be found, and its average precision says more than ROC AUC."""

UNEVEN = 3
"""Ratio of the largest class to the smallest from which on it is said."""

VALIDATION_SCORES = ("roc_auc", "roc_auc_low", "roc_auc_high", "accuracy", "average_precision", "brier", "ece")
"""What `metrics.jsonl` has of each epoch beside the loss."""


class Classification(Task):
    """Tell the classes of a set apart."""

    name = "classify"
    headline = Headline("roc_auc", "ROC AUC", best=1.0)
    card_type = ModelCard
    watched = ("maxpool", "layer1")

    def __init__(self, config: TrainConfig, classes: tuple[str, ...]) -> None:
        super().__init__(config, classes)
        refuse_rate(config.calibration.fpr, classes)
        self.chosen_by: str = config.optimization.choose_by
        self.weights: torch.Tensor | None = None
        """(K,) of the images of each class in the loss."""

    def about(self, images: ImageSet, split: Split) -> dict[str, str]:
        """Which class a probability is of, and what becomes of classes of unequal size."""
        lines = {"positive class: ": self.classes[1]} if len(self.classes) == 2 else {}
        if images.labels is None or not len(split.train):
            return lines
        counts = np.bincount(images.labels[split.train], minlength=len(self.classes))
        ratio = counts.max() / max(counts.min(), 1)
        if ratio <= UNEVEN:
            return lines
        how = {
            "none": "learned from as they are (--balance batches draws them evenly)",
            "loss": "in the loss rare ones count more",
            "batches": "drawn evenly",
        }[self.config.optimization.balance]
        most, least = self.classes[counts.argmax()], self.classes[counts.argmin()]
        return {**lines, "balance": f"{ratio:.1f} images of {most} to 1 of {least}: {how}"}

    def network(self) -> torch.nn.Module:
        return build_model(len(self.classes), self.config.data.channels, self.config.model.orient)

    def targets(self, images: ImageSet, device: torch.device) -> Targets:
        """Labels, which no augmentation changes."""
        assert images.labels is not None
        labels = torch.from_numpy(images.labels).to(device)
        shares = np.bincount(images.labels, minlength=len(self.classes)) / len(images)
        if self.config.optimization.balance == "loss":
            # Of mean 1, so that the learning rate means what it meant.
            weights = 1 / (len(self.classes) * np.maximum(shares, 1 / len(images)))
            self.weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        rare = shares[1] if len(shares) == 2 else shares.min()
        if self.chosen_by == "auto":
            self.chosen_by = "average_precision" if rare < RARE else "roc_auc"
        return lambda index, maps: labels[index]

    def drawn_targets(self, draws: Draws, maps: torch.Tensor) -> torch.Tensor:
        return draws.label

    def loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        smoothing = self.config.optimization.label_smoothing
        return loss_function(len(self.classes), outputs, targets, smoothing, self.weights)

    def captions(self, targets: Any, count: int) -> list[str]:
        return [self.classes[label] for label in targets.tolist()]

    def scores(self, said: Said) -> dict[str, float]:
        assert said.images.labels is not None
        chances = probabilities(said.outputs).cpu().numpy()
        scores = score(said.images.labels[said.indices], chances, self.classes)
        return {name: scores[name] for name in VALIDATION_SCORES} | {"loss": scores["log_loss"]}

    def rank(self, scores: dict[str, float]) -> tuple[float, ...]:
        """By `--choose-by`: the area under the ROC curve; a small validation part is soon ranked without a fault, and
        then the loss still tells the better weights."""
        if self.chosen_by == "log_loss":
            return (-scores["loss"],)
        return scores["average_precision" if self.chosen_by == "average_precision" else "roc_auc"], -scores["loss"]

    def told(self, scores: dict[str, float]) -> str:
        precision = f", average precision {scores['average_precision']:.5f}"
        own = precision if self.chosen_by == "average_precision" else ""
        return f"ROC AUC {scores['roc_auc']:.5f}{own}, accuracy {scores['accuracy']:.4f}"

    def card(self, epoch: int, said: Said | None, scores: dict[str, float]) -> ModelCard:
        """With the temperature and the threshold that the validation images give."""
        fitted = NOT_CALIBRATED
        if said is not None:
            assert said.images.labels is not None
            labels = said.images.labels[said.indices]
            fitted = calibrate(said.outputs.cpu().numpy(), labels, self.config.calibration.fpr)
        auc = scores.get("roc_auc")
        return ModelCard.of(self.config, self.classes, epoch, val_roc_auc=auc, **dataclasses.asdict(fitted))

    def evaluate(
        self,
        trained: Trained,
        scored: Scored,
        folder: Path,
        accelerator: Accelerator | None = None,
        asked: EvaluateConfig | None = None,
    ) -> ClassEvaluation | None:
        return evaluate(trained, scored, folder, accelerator, asked)

    def study(self, trained: Trained, asked: EvaluateConfig) -> bool:
        """`--sensitivity`."""
        for flag, given in (("--refit", asked.refit), ("--sensitivity-map", asked.sensitivity_map)):
            if given:
                raise InputError(f"{flag}: {trained.folder} was trained to classify, and places nothing: leave it out")
        if asked.sensitivity:
            from deeplense.classification.sensitivity import measure  # here: it simulates, which few runs need

            measure(asked, trained)
        return asked.sensitivity

    def compare(self, runs: Sequence[Trained], asked: EvaluateConfig) -> None:
        compare_runs(runs, asked)
