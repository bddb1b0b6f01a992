"""Use a localiser: predict, calibrate, find, score where there is truth, and write the folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from deeplense.config import EvaluateConfig
from deeplense.evaluation.familiar import predict_and_look
from deeplense.evaluation.foreign import Foreignness, Heed, look_up
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.limit import limit_of
from deeplense.localisation.network import CELL, LOG_DENSITY
from deeplense.localisation.scores import mass_edges, score
from deeplense.localisation.told import say
from deeplense.localisation.truth import Scale, TrueSubhalos, has_truth, read_truth
from deeplense.localisation.write import Located, write_evaluation
from deeplense.task import Evaluation, Scored, Trained
from deeplense.tracking.tracker import Tracker

MIN_PROBABILITY = 0.1
"""Of what is listed in `detections.csv`, unless `--min-probability` says otherwise."""


@dataclasses.dataclass(frozen=True)
class LocalisationEvaluation(Evaluation):
    """Scores of a localiser, and what they are of."""

    scores: dict[str, Any]
    located: Located

    def said(self) -> str:
        located = self.located
        lines = located.foreign.said() if located.foreign else []
        count = len(located.scored.indices)
        told = f"{count} images without truth: see detections.csv" if located.truth is None else say(self.scores)
        return "\n".join([*lines, told])

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
        InputError: `--foreign` forbids it, or the truth is not that of the images.
    """
    card, images, indices = trained.card, scored.images, scored.indices
    assert isinstance(card, LocaliserCard)
    lengths = card.lengths(images)
    truth = _truth(trained, scored, lengths, asked)
    heed: Heed = "say" if asked is None else asked.foreign
    known = look_up(trained.familiarity, trained.folder, heed, tell=accelerator is None)
    batch_size = None if asked is None else asked.batch_size
    flat = torch.nn.Sequential(trained.network, torch.nn.Flatten())
    words, look = predict_and_look(trained.network, scored.store, indices, known, batch_size, accelerator, call=flat)
    if accelerator is not None and not accelerator.is_main_process:
        return None
    foreign, paths = None, tuple(images.paths[index] for index in indices)
    if look is not None:
        foreign = Foreignness.of(look, heed, scored.title)
        kept = ~foreign.left_out
        words, look, indices = words[torch.from_numpy(kept).to(words.device)], look.take(kept), indices[kept]
        truth = None if truth is None else truth.take(kept)
    cells = (card.image_size + CELL - 1) // CELL
    outputs = words.unflatten(1, (-1, cells, cells))
    findings = card.findings(outputs, mass_edges(truth))
    least = MIN_PROBABILITY if asked is None or asked.min_probability is None else asked.min_probability
    scores: dict[str, Any] = {} if truth is None else score(findings, truth, lengths)
    limit = None if truth is None else limit_of(images, indices, truth, findings)
    if limit is not None:
        scores["limit"] = limit.summary
    if foreign is not None:
        scores |= foreign.summary()
    if scores:
        scores |= {"min_probability": least, **scored.about}
    scored = dataclasses.replace(scored, indices=indices)
    density = outputs[:, LOG_DENSITY].exp()
    located = Located(scored, findings, truth, lengths, scores, limit, density, least, look, foreign, paths)
    write_evaluation(folder, located)
    return LocalisationEvaluation(scores, located)


def _truth(trained: Trained, scored: Scored, lengths: Scale, asked: EvaluateConfig | None) -> TrueSubhalos | None:
    """Of the images that are scored, what the network sees of it; None where there is none."""
    if not has_truth(scored.images):
        return None
    where = trained.config.data.data if asked is None or asked.data is None else asked.data
    return read_truth(scored.images, where).take(scored.indices).seen(lengths.half)
