"""Score a classifier: predict, calibrate, write the folder, and hand the scores to W&B."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from deeplense.classification.attribution import explain_with
from deeplense.classification.card import ModelCard
from deeplense.classification.predictions import Predictions, predict_views
from deeplense.classification.recalibration import card_for
from deeplense.classification.tracked import prediction_table, track_scores
from deeplense.classification.write import say, write_evaluation
from deeplense.config import EvaluateConfig
from deeplense.data.turned import TurnedStore
from deeplense.evaluation.foreign import Foreignness, Heed, look_up
from deeplense.evaluation.predict import only_numbers
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
    predictions: Predictions
    foreign: Foreignness | None

    def said(self) -> str:
        labelled = self.scored.images.labels is not None
        scores = say(self.scores) if labelled else f"predicted {len(self.scored.indices)} images without labels"
        return "\n".join([*(self.foreign.said() if self.foreign else []), scores])

    def track(self, tracker: Tracker, part: str, step: int) -> None:
        """Numbers, ROC curves, confusion matrix, and a table of the most telling images."""
        labels, chances = self.scored.images.labels, self.card.probabilities(self.predictions.logits)
        assert labels is not None
        track_scores(tracker, part, self.scores, labels[self.scored.indices], chances, step)
        table = prediction_table(self.scored, chances, self.card, self.predictions.look)
        tracker.log_table(f"{part}/predictions", *table, step)


def evaluate(
    trained: Trained,
    scored: Scored,
    folder: Path,
    accelerator: Accelerator | None = None,
    asked: EvaluateConfig | None = None,
) -> ClassEvaluation | None:
    """See `Task.evaluate`. In float32, in all views of some labelled images; with attribution maps where asked for.

    Raises:
        InputError: `--foreign` forbids it, or the images cannot be turned.
        TrainingError: the network says what is no number.
    """
    card, network, store, indices = trained.card, trained.network, scored.store, scored.indices
    assert isinstance(card, ModelCard)
    tta, about, batch_size, counted = False, scored.about, None, 0
    heed: Heed = "say"
    if asked is not None:
        card = card_for(trained, card, asked)
        tta, about, batch_size = asked.tta, {**about, "tta": asked.tta}, asked.batch_size
        heed, counted = asked.foreign, asked.attribution_images
        if asked.turn_test:
            store = TurnedStore(store, scored.images.hashes)
            about, counted = {**about, "turned": True}, 0  # the maps would not fit what is known of the images
    known = look_up(trained.familiarity, trained.folder, heed, tell=accelerator is None)
    viewed = viewed_of(len(indices)) if scored.images.labels is not None else np.arange(0)
    shown = shown_views(trained.config.augment)
    predictions = predict_views(network, store, indices, viewed, shown, tta, batch_size, accelerator, known)
    only_numbers(predictions.logits)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    foreign = None
    if predictions.look is not None:
        foreign = Foreignness.of(predictions.look, heed, scored.title)
        predictions = predictions.take(~foreign.left_out)
    kept = indices if foreign is None else indices[~foreign.left_out]
    explain = explain_with(network, card, scored.images, store, kept, scored.title, counted)
    scores = write_evaluation(
        folder, scored.images, store, indices, predictions, card, scored.title, about, explain, foreign
    )
    return ClassEvaluation(scores, dataclasses.replace(scored, indices=kept, store=store), card, predictions, foreign)
