"""Score a classifier: predict, calibrate, write the folder, and hand the scores to W&B."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from deeplense.classification.attribution import explain_with
from deeplense.classification.card import ModelCard
from deeplense.classification.predictions import predict_views
from deeplense.classification.recalibration import card_for
from deeplense.classification.tracked import prediction_table, track_scores
from deeplense.classification.write import say, write_evaluation
from deeplense.config import EvaluateConfig
from deeplense.network.views import shown_views
from deeplense.scores.symmetry import viewed_of
from deeplense.task import Evaluation, Scored, Trained
from deeplense.tracking.tracker import Tracker


@dataclasses.dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """Scores of a classifier, and what they are of."""

    scores: dict[str, Any]
    scored: Scored
    card: ModelCard
    logits: torch.Tensor
    """(n, L)."""

    def said(self) -> str:
        return say(self.scores) if self.scores else f"predicted {len(self.scored.indices)} images without labels"

    def track(self, tracker: Tracker, part: str, step: int) -> None:
        """Numbers, ROC curves, confusion matrix, and a table of the most telling images."""
        labels, chances = self.scored.images.labels, self.card.probabilities(self.logits)
        assert labels is not None
        track_scores(tracker, part, self.scores, labels[self.scored.indices], chances, step)
        tracker.log_table(f"{part}/predictions", *prediction_table(self.scored, chances, self.card), step)


def evaluate(
    trained: Trained,
    scored: Scored,
    folder: Path,
    accelerator: Accelerator | None = None,
    asked: EvaluateConfig | None = None,
) -> ClassEvaluation | None:
    """See `Task.evaluate`. In float32, in all views of some labelled images; with attribution maps where asked for."""
    card, network, store, indices = trained.card, trained.network, scored.store, scored.indices
    assert isinstance(card, ModelCard)
    tta, about, batch_size, explain = False, scored.about, None, None
    if asked is not None:
        card = card_for(trained, card, asked)
        tta, about, batch_size = asked.tta, {**about, "tta": asked.tta}, asked.batch_size
        explain = explain_with(network, card, scored.images, store, indices, scored.title, asked.attribution_images)
    viewed = viewed_of(len(indices)) if scored.images.labels is not None else np.arange(0)
    shown = shown_views(trained.config.augment)
    predictions = predict_views(network, store, indices, viewed, shown, tta, batch_size, accelerator)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    scores = write_evaluation(folder, scored.images, store, indices, predictions, card, scored.title, about, explain)
    return ClassEvaluation(scores, scored, card, predictions.logits)
