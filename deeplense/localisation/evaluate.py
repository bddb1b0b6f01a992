"""Use a localiser: predict, calibrate, find, score where there is truth, and write the folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from deeplense.config import EvaluateConfig
from deeplense.data.imageset import ImageSet
from deeplense.evaluation.familiar import predict_and_look
from deeplense.evaluation.foreign import Foreignness, Heed, look_up
from deeplense.evaluation.predict import only_numbers
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.limit import limit_of
from deeplense.localisation.located import Located
from deeplense.localisation.network import LOG_DENSITY
from deeplense.localisation.refit.refit import Refitted
from deeplense.localisation.refit.stage import Stage, family_set, how_well, stage_of
from deeplense.localisation.scores import Findings, mass_edges, score
from deeplense.localisation.told import say, say_fits
from deeplense.localisation.truth import TrueSubhalos, has_truth, read_truth
from deeplense.localisation.views import AllViews, card_in_views
from deeplense.localisation.write import write_evaluation
from deeplense.task import Evaluation, Scored, Trained
from deeplense.tracking.tracker import Tracker

ALONE = ("roc_auc", "roc_auc_low", "roc_auc_high", "by_mass", "false_detections", "position", "mass")
"""Scores of the network by itself that stand beside those of the second stage."""
MIN_PROBABILITY = 0.1
"""Of what is listed in `detections.csv`, unless `--min-probability` says otherwise."""


@dataclasses.dataclass(frozen=True)
class LocalisationEvaluation(Evaluation):
    """Scores of a localiser, and what they are of."""

    scores: dict[str, Any]
    scored: Scored
    findings: Findings
    foreign: Foreignness | None = None

    def said(self) -> str:
        count = len(self.scored.indices)
        known = "by_mass" in self.scores
        scores = say(self.scores) if known else f"{count} images without truth: see detections.csv"
        fits = [say_fits(self.scores["fits"])] if "fits" in self.scores else []
        return "\n".join([*(self.foreign.said() if self.foreign else []), *fits, scores])

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
    """See `Task.evaluate`. In float32; scores, figures and the limit where there is truth.

    Raises:
        InputError: `--foreign` forbids it.
        TrainingError: the network says what is no number.
    """
    card, images, indices = trained.card, scored.images, scored.indices
    assert isinstance(card, LocaliserCard)
    scale = card.lengths(images)
    heed: Heed = "say" if asked is None else asked.foreign
    known = look_up(trained.familiarity, trained.folder, heed, tell=accelerator is None)
    stage = stage_of(trained) if asked is not None and asked.refit else None
    views = None
    if asked is not None and asked.tta:
        card, views = card_in_views(trained, asked), AllViews(trained.network)
    truth: TrueSubhalos | None = None
    if has_truth(images):
        where = trained.config.data.data if asked is None or asked.data is None else asked.data
        truth = read_truth(images, where).take(indices).seen(scale.half)
    batch_size = None if asked is None else asked.batch_size
    said, look = predict_and_look(trained.network, scored.store, indices, known, batch_size, accelerator, views)
    only_numbers(said)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    outputs = card.words(said)
    foreign = None if look is None else Foreignness.of(look, heed, scored.title)
    if foreign is not None:
        rows = np.flatnonzero(~foreign.left_out)
        outputs, look = outputs[torch.from_numpy(rows).to(outputs.device)], foreign.look.take(rows)
        scored, truth = dataclasses.replace(scored, indices=indices[rows]), truth and truth.take(rows)
    network = card.findings(outputs, mass_edges(truth))
    findings, fits = network, None
    if stage is not None:
        findings, fits = _second(stage, images, scored.indices, network, outputs, card)
    scores: dict[str, Any] = {}
    limit = None
    if truth is not None:
        scores = score(findings, truth, scale)
        if findings is not network:
            alone = score(network, truth, scale)
            scores["network_alone"] = {name: alone[name] for name in ALONE if name in alone}
        limit = limit_of(images, scored.indices, truth, findings)
        if limit is not None:
            scores["limit"] = limit.summary
    least = asked.min_probability if asked is not None and asked.min_probability is not None else MIN_PROBABILITY
    about = {} if foreign is None else foreign.summary()
    if fits is not None:
        scores["fits"] = how_well(fits, findings is not network)
    density = outputs[:, LOG_DENSITY].exp()
    located = Located(scored, findings, truth, scale, scores, limit, density, least, foreign, look, fits)
    write_evaluation(folder, located, [images.paths[index] for index in indices])
    return LocalisationEvaluation(scores | about, scored, findings, foreign)


def _second(
    stage: Stage,
    images: ImageSet,
    indices: np.ndarray,
    network: Findings,
    outputs: torch.Tensor,
    card: LocaliserCard,
) -> tuple[Findings, Refitted]:
    """The findings of the second stage where the family of the images is the one that it fits, else the network's."""
    findings, fits = stage.findings(images, indices, network, outputs, card)
    return (findings if family_set(images) is stage.refit.family.lens_set else network), fits
