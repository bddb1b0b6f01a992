"""Score, and write an evaluation folder; what training ends with and `evaluate.py` does again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.classification.card import ModelCard
from deeplense.classification.outputs import probabilities
from deeplense.classification.predictions import Predictions
from deeplense.data.batches import PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.thumbnails import Thumbnails
from deeplense.evaluation.foreign import Foreignness
from deeplense.figures import familiarity as figures_of_looks
from deeplense.figures import scores as figures
from deeplense.figures import trust
from deeplense.figures.samples import plot_samples
from deeplense.files import replacing, write_json
from deeplense.network.views import average
from deeplense.report import reporting
from deeplense.scores.calibration import reliability
from deeplense.scores.familiarity import Look, split_scores
from deeplense.scores.metrics import calibration_scores, predict_labels, score
from deeplense.scores.symmetry import Symmetry


def write_evaluation(
    folder: Path,
    images: ImageSet,
    store: PixelStore,
    indices: np.ndarray,
    predictions: Predictions,
    card: ModelCard,
    title: str,
    about: dict[str, Any] | None = None,
    explain: Callable[[Path, np.ndarray], dict[str, Any] | None] | None = None,
    foreign: Foreignness | None = None,
) -> dict[str, Any]:
    """Write `predictions.csv`, `metrics.json`, for labelled images the figures, and `report.html` of it all.

    Args:
        folder: takes the place of an earlier evaluation of the same name, whole.
        images: whose labels, if any, are those of `card.classes`.
        store: their pixels.
        indices: (n,) the images.
        predictions: of them, with views of some where there are labels; without those that `foreign` leaves out.
        card: whose temperature and threshold were fitted for predictions of this kind.
        title: of the figures.
        about: what else `metrics.json` is to say.
        explain: given the folder and the probabilities (n, K), adds figures of what the network looks at, and returns
            what `metrics.json` is to say of it. For labelled images.
        foreign: how the n images look to the run, if it knows.

    Returns:
        What `metrics.json` has; empty, and no such file, if nothing is known of the images.
    """
    about, paths, look = dict(about or {}), [images.paths[index] for index in indices], predictions.look
    if foreign is not None:
        about |= foreign.summary()
        indices = indices[~foreign.left_out]
    chances = card.probabilities(predictions.logits)
    predicted = predict_labels(chances, card.decides_at)
    labels = None if images.labels is None else images.labels[indices]
    with replacing(folder) as aside, reporting(aside, folder.parent.parent, Thumbnails(store, indices), title):
        if foreign is not None:
            foreign.write_left_out(aside / "foreign.csv", paths)
        with (aside / "predictions.csv").open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            names = [*(f"p_{name}" for name in card.classes), *(["familiarity"] if look else [])]
            writer.writerow(["path", "label", "predicted", *names])
            for row, index in enumerate(indices):
                label = "" if labels is None else card.classes[labels[row]]
                numbers = [*(f"{p:.9g}" for p in chances[row]), *([f"{look.familiarity[row]:.6g}"] if look else [])]
                writer.writerow([images.paths[index], label, card.classes[predicted[row]], *numbers])
        if look is not None:
            _show_strange(aside / "familiarity.png", store, indices, look, title)
        if labels is None:
            if foreign is not None:
                about = {"n": len(indices), "classes": list(card.classes), **about}
                write_json(aside / "metrics.json", about)
            return about if foreign is not None else {}
        raw = probabilities(predictions.logits).cpu().numpy()
        scores = score(labels, chances, card.classes, card.decides_at)
        scores["threshold_from"] = card.decided_by
        scores["calibration"] = _calibration(labels, raw, chances, card)
        trust.plot_reliability(
            aside / "reliability.png", reliability(labels, raw), reliability(labels, chances), scores, title
        )
        symmetry = _symmetry(predictions, card)
        scores["symmetry"] = symmetry.summary(labels[symmetry.rows])
        trust.plot_symmetry(aside / "symmetry.png", symmetry, labels[symmetry.rows], scores, title)
        if explain is not None and (attribution := explain(aside, chances)) is not None:
            scores["attribution"] = attribution
        if look is not None:
            about["familiarity"] |= split_scores(look, lambda rows: _scores(labels[rows], chances[rows], card), APART)
        scores |= {name: value for name, value in about.items() if name in ("unfamiliar", "familiarity")}
        write_json(aside / "metrics.json", {**scores, **about})
        if scores["roc_auc"] is not None:
            figures.plot_roc(aside / "roc.png", labels, chances, scores, title)
            figures.plot_precision_recall(aside / "precision_recall.png", labels, chances, scores, title)
        figures.plot_confusion(aside / "confusion.png", scores, title)
        figures.plot_scores(aside / "scores.png", labels, chances, scores, title)
        _show_wrong(aside / "misclassified.png", store, indices, labels, predicted, chances, card.classes)
        return scores


def _calibration(labels: np.ndarray, raw: np.ndarray, chances: np.ndarray, card: ModelCard) -> dict[str, Any]:
    """What `metrics.json` says of the temperature; without one there is no after, but a reason."""
    about: dict[str, Any] = {"temperature": card.temperature, "before": calibration_scores(labels, raw)}
    if card.why_uncalibrated is not None:
        return about | {"after": None, "reason": card.why_uncalibrated}
    return about | {"after": calibration_scores(labels, chances)}


def _symmetry(predictions: Predictions, card: ModelCard) -> Symmetry:
    chances = card.probabilities(predictions.views.flatten(0, 1)).reshape(*predictions.views.shape[:2], -1)
    averaged = card.probabilities(average(predictions.views[:, list(predictions.shown)]))
    return Symmetry(predictions.viewed, chances, averaged, predictions.shown, card.decides_at)


APART = ("n", "roc_auc", "roc_auc_low", "roc_auc_high", "accuracy", "log_loss", "ece")
"""Scores of familiar and of foreign images that stand side by side."""


def _scores(labels: np.ndarray, chances: np.ndarray, card: ModelCard) -> dict[str, Any]:
    return score(labels, chances, card.classes, card.decides_at)


def _show_strange(file: Path, store: PixelStore, indices: np.ndarray, look: Look, title: str) -> None:
    """A figure of how strange the images are, and of the strangest."""
    rows = look.strangest(figures_of_looks.SHOWN)
    images = next(plain_batches(store, indices[rows], len(rows))).cpu().numpy()
    figures_of_looks.plot_familiarity(file, look, images, rows, title)


def _show_wrong(
    file: Path,
    store: PixelStore,
    indices: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """A figure of wrong images, the most confident mistakes of each class first."""
    rows: list[int] = []
    for label in range(len(classes)):
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        rows.extend(wrong[np.argsort(probabilities[wrong, label])][:8])
    if rows:
        images = next(plain_batches(store, indices[rows], len(rows))).cpu().numpy()
        names = [f"{classes[labels[row]]} as {classes[predicted[row]]}" for row in rows]
        plot_samples(file, images, names, "misclassified, the most confident first")


def say(scores: dict[str, Any]) -> str:
    """The scores in a few lines."""
    if scores["roc_auc"] is None:
        first = f"accuracy {scores['accuracy']:.4f}, {scores['n']} images; {scores['undefined']}"
    else:
        first = (
            f"ROC AUC {scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, {scores['roc_auc_high']:.5f}], "
            f"accuracy {scores['accuracy']:.4f}, {scores['errors']} of {scores['n']} images wrong"
        )
    lines = [first, scores["few"]] if "few" in scores else [first]
    calibration, symmetry = scores["calibration"], scores["symmetry"]
    if calibration["after"] is None:
        lines.append(f"not calibrated: {calibration['reason']}")
    else:
        lines.append(
            f"temperature {calibration['temperature']:.3f}: calibration error {calibration['before']['ece']:.4f} "
            f"before, {calibration['after']['ece']:.4f} after"
        )
    if scores["threshold"] is not None:
        lines.append(f"threshold {scores['threshold']:.4g}: {scores['threshold_from']}")
    lines.append(
        f"turned and mirrored, {symmetry['class_changes']} of {symmetry['n']} images change class, and probabilities "
        f"vary by {symmetry['probability_std_mean']:.4f} in the mean, {symmetry['probability_std_max']:.3f} at most"
    )
    views, averaged = symmetry["roc_auc_of_views"], symmetry["roc_auc_of_average"]
    if views is not None:
        lines.append(f"the views rank from {min(views):.5f} to {max(views):.5f}, their average {averaged:.5f}")
    return "\n".join(lines)
