"""Use a localiser: predict, calibrate, find, score where there is truth, and write the folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from deeplense.config import EvaluateConfig
from deeplense.evaluation.predict import predict
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.limit import limit_of
from deeplense.localisation.scores import Findings, mass_edges, score
from deeplense.localisation.told import say
from deeplense.localisation.truth import TrueSubhalos, has_truth, read_truth
from deeplense.localisation.write import Located, write_evaluation
from deeplense.task import Evaluation, Scored, Trained
from deeplense.tracking.tracker import Tracker

MIN_PROBABILITY = 0.1
"""Of what is listed in `detections.csv`, unless `--min-probability` says otherwise."""


@dataclasses.dataclass(frozen=True)
class LocalisationEvaluation(Evaluation):
    """Scores of a localiser, and what they are of."""

    scores: dict[str, Any]
    scored: Scored
    findings: Findings

    def said(self) -> str:
        count = len(self.scored.indices)
        return say(self.scores) if self.scores else f"{count} images without truth: see detections.csv"

    def track(self, tracker: Tracker, part: str, step: int) -> None:
        """Numbers, and the table by mass."""
        tracker.log_numbers(part, self.scores, step)
        columns = [
            "from",
            "to",
            "n",
            "found at FPR 1 %",
            "placed at FPR 1 %",
            "found at FPR 10 %",
            "placed at FPR 10 %",
        ]
        rows = [
            [row["from"], row["to"], row["n"]]
            + [row[rate][what]["rate"] for rate in ("fpr_0.01", "fpr_0.1") for what in ("found", "placed")]
            for row in self.scores.get("by_mass", [])
        ]
        tracker.log_table(f"{part}/by_mass", columns, rows, step)


def evaluate(
    trained: Trained,
    scored: Scored,
    folder: Path,
    accelerator: Accelerator | None = None,
    asked: EvaluateConfig | None = None,
) -> LocalisationEvaluation | None:
    """See `Task.evaluate`. In float32; scores, figures and the limit where there is truth."""
    card, images, indices = trained.card, scored.images, scored.indices
    assert isinstance(card, LocaliserCard)
    scale = card.lengths(images)
    truth: TrueSubhalos | None = None
    if has_truth(images):
        truth = read_truth(images, trained.config.data.data if asked is None else str(asked.data)).take(indices)
        truth = truth.seen(scale.half)
    batch_size = None if asked is None else asked.batch_size
    outputs = predict(trained.network, scored.store, indices, batch_size, accelerator)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    findings = card.findings(outputs, mass_edges(truth) if truth is not None else mass_edges_of(outputs))
    scores: dict[str, Any] = {}
    limit = None
    if truth is not None:
        scores = score(findings, truth, scale)
        limit = limit_of(images, indices, truth, findings)
        if limit is not None:
            scores["limit"] = limit.summary
    least = asked.min_probability if asked is not None and asked.min_probability is not None else MIN_PROBABILITY
    located = Located(scored, findings, truth, scale, scores, limit, outputs[:, 0].exp(), least)
    write_evaluation(folder, located)
    return LocalisationEvaluation(scores, scored, findings)


def mass_edges_of(outputs: torch.Tensor) -> Any:
    """Bins of masses where nobody knows any: all that the network says in one."""
    return mass_edges(TrueSubhalos(*(torch.zeros(1, 1).numpy() for _ in range(3))))
