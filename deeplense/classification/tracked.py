"""What W&B gets of a classifier's scores, beside the figures: curves, a confusion matrix, and a table of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import roc_curve

from deeplense.classification.card import ModelCard
from deeplense.data.batches import plain_batches
from deeplense.figures.style import to_display
from deeplense.scores.familiarity import Look
from deeplense.scores.metrics import predict_labels
from deeplense.task import Scored
from deeplense.tracking.tracker import Tracker

SHOWN = 64
"""Images of each kind in the table of predictions."""


def track_scores(
    tracker: Tracker, part: str, scores: dict[str, Any], labels: np.ndarray, probabilities: np.ndarray, step: int
) -> None:
    """The scores of a part, its ROC curves and its confusion matrix."""
    if tracker.run is None:
        return
    import wandb

    classes = scores["classes"]
    curves = {}
    for label in range(len(classes)) if len(classes) > 2 else [1]:
        false, true, _ = roc_curve(labels == label, probabilities[:, label])
        curves[classes[label]] = (false.tolist(), true.tolist())
    # Our own points: wandb.plot.roc_curve needs pandas, and thins them out at random.
    roc = wandb.plot.line_series(
        xs=[false for false, _ in curves.values()],
        ys=[true for _, true in curves.values()],
        keys=list(curves),
        title=f"ROC ({part})",
        xname="false-positive rate",
    )
    confusion = wandb.plot.confusion_matrix(
        y_true=labels.tolist(),
        probs=probabilities.tolist(),
        class_names=classes,
        title=f"Confusion ({part})",
    )
    tracker.log_numbers(part, scores, step)
    tracker.log({f"{part}/roc": roc, f"{part}/confusion": confusion}, step)


def prediction_table(
    scored: Scored, probabilities: np.ndarray, card: ModelCard, look: Look | None = None
) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows of a table of images with what is predicted of them, the most telling first."""
    images, indices = scored.images, scored.indices
    assert images.labels is not None
    labels, predicted = images.labels[indices], predict_labels(probabilities, card.decides_at)
    shown = telling_images(labels, probabilities, predicted)
    pixels = next(plain_batches(scored.store, indices[shown], len(shown))).cpu().numpy()
    rows = []
    for image, row in zip(pixels, shown, strict=True):
        picture = (255 * to_display(image)).astype(np.uint8)  # (C, H, W)
        picture = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
        names = [card.classes[labels[row]], card.classes[predicted[row]]]
        numbers = probabilities[row].tolist() + ([float(look.familiarity[row])] if look else [])
        rows.append([picture, images.paths[indices[row]], *names, *numbers])
    columns = ["image", "path", "label", "predicted", *(f"p_{name}" for name in card.classes)]
    return columns + (["familiarity"] if look else []), rows


def telling_images(labels: np.ndarray, probabilities: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Places of the images that a table of predictions shows, the most telling first.

    All of a large test part would take W&B minutes and gigabytes, so: the most confident mistakes, the images with
    the least certain class, and a fixed random sample of the others, `SHOWN` of each.
    """
    own = probabilities[np.arange(len(labels)), labels]
    wrong = np.flatnonzero(predicted != labels)
    ranked = [
        wrong[np.argsort(own[wrong], kind="stable")],
        np.argsort(probabilities.max(1), kind="stable"),
        np.random.default_rng(0).permutation(len(labels)),
    ]
    chosen: list[int] = []
    for places in ranked:
        new = places[~np.isin(places, chosen)]
        chosen.extend(new[:SHOWN])
    return np.array(chosen)
