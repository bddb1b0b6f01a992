"""Predict, score, and write an evaluation folder; what training ends with and `evaluate.py` does again."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from deeplense import plots
from deeplense.config import DataConfig
from deeplense.data.augment import MEAN, STD
from deeplense.data.batches import PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.thumbnails import Thumbnails
from deeplense.errors import InputError
from deeplense.files import replaced_name, replacing, write_json
from deeplense.metrics import predict_labels, score
from deeplense.model import build_model
from deeplense.report import reporting

EVAL_BATCH = 512


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """`best/model.json`: all that is needed to use the weights beside it."""

    classes: tuple[str, ...]
    image_size: int
    channels: int
    normalize: str
    threshold: float | None
    """On the probability of label 1, for two classes."""
    epoch: int
    val_roc_auc: float | None
    architecture: str = "resnet18"
    mean: float = MEAN
    std: float = STD
    format: int = 1


@torch.inference_mode()
def predict(
    model: torch.nn.Module,
    store: PixelStore,
    indices: np.ndarray,
    batch_size: int = EVAL_BATCH,
    accelerator: Accelerator | None = None,
    interrupt: Callable[[], None] = lambda: None,
    precision: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> torch.Tensor:
    """Logits (n, 1) or (n, K), float32 on the device, of the images `indices` in their order.

    Args:
        accelerator: of several processes; each predicts a share, and all get all.
        interrupt: called between batches; may raise.
        precision: what the network runs in, `accelerator.autocast`, say. Not the resample before it: a grid of
            coordinates in 16 bits distorts the image.
    """
    world, rank = (1, 0) if accelerator is None else (accelerator.num_processes, accelerator.process_index)
    share = -(-len(indices) // world)
    # The shares are padded to one length with the first image again, and cut after gathering.
    padded = np.resize(indices, share * world) if share * world > len(indices) else indices
    model.eval()
    logits = []
    for images in plain_batches(store, padded[rank * share : (rank + 1) * share], batch_size):
        interrupt()
        with precision():
            logits.append(model(images).float())
    mine = torch.cat(logits)
    everything = mine if accelerator is None else accelerator.gather(mine)
    assert isinstance(everything, torch.Tensor)
    return everything[: len(indices)]


def write_evaluation(
    folder: Path,
    images: ImageSet,
    store: PixelStore,
    indices: np.ndarray,
    probabilities: np.ndarray,
    card: ModelCard,
    title: str,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `predictions.csv`, for labelled images `metrics.json` and the figures, and `report.html` of it all.

    Args:
        folder: takes the place of an earlier evaluation of the same name, whole.
        images: whose labels, if any, are those of `card.classes`.
        store: their pixels.
        indices: (n,) the images that were scored.
        probabilities: (n, K).
        title: of the figures.
        about: what else `metrics.json` is to say.

    Returns:
        The scores; empty without labels.
    """
    threshold = 0.5 if card.threshold is None else card.threshold
    predicted = predict_labels(probabilities, threshold)
    labels = None if images.labels is None else images.labels[indices]
    with replacing(folder) as aside, reporting(aside, folder.parent.parent, Thumbnails(store, indices), title):
        with (aside / "predictions.csv").open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerow(["path", "label", "predicted", *(f"p_{name}" for name in card.classes)])
            for row, index in enumerate(indices):
                label = "" if labels is None else card.classes[labels[row]]
                chances = [f"{chance:.9g}" for chance in probabilities[row]]
                writer.writerow([images.paths[index], label, card.classes[predicted[row]], *chances])
        if labels is None:
            return {}
        scores = score(labels, probabilities, card.classes, threshold)
        write_json(aside / "metrics.json", {**scores, **(about or {})})
        if scores["roc_auc"] is not None:
            plots.plot_roc(aside / "roc.png", labels, probabilities, scores, title)
            plots.plot_precision_recall(aside / "precision_recall.png", labels, probabilities, scores, title)
        plots.plot_confusion(aside / "confusion.png", scores, title)
        plots.plot_scores(aside / "scores.png", labels, probabilities, scores, title)
        _show_wrong(aside / "misclassified.png", store, indices, labels, predicted, probabilities, card.classes)
        return scores


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
        plots.plot_samples(file, images, names, "misclassified, the most confident first")


def load_best(run: Path) -> tuple[torch.nn.Module, ModelCard]:
    """The best weights of a run, on the CPU in evaluation mode, and their card.

    Raises:
        InputError: there are none, or they are damaged.
    """
    folder = run / "best"
    if not folder.is_dir() and replaced_name(folder).is_dir():
        folder = replaced_name(folder)  # a crash between two renames
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{run} has no weights (best/model.safetensors): give the folder of a run that has validated")
    try:
        content = json.loads((folder / "model.json").read_text())
        card = ModelCard(**{**content, "classes": tuple(content["classes"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'model.json'} is damaged ({error}): restore it") from None
    model = build_model(len(card.classes), card.channels)
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / 'model.safetensors'} is damaged ({reason}): restore it") from None
    return model.eval(), card


def store_for(images: ImageSet, card: ModelCard, device: torch.device) -> PixelStore:
    """The pixels of `images`, treated as the images that the weights of `card` were trained on."""
    treatment = DataConfig(image_size=card.image_size, channels=card.channels, normalize=card.normalize)  # type: ignore[arg-type]
    return PixelStore(images, treatment, device)


def say(scores: dict[str, Any]) -> str:
    """The scores in one line."""
    if scores["roc_auc"] is None:
        return f"accuracy {scores['accuracy']:.4f}, {scores['n']} images; {scores['undefined']}"
    return (
        f"ROC AUC {scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, {scores['roc_auc_high']:.5f}], "
        f"accuracy {scores['accuracy']:.4f}, {scores['errors']} of {scores['n']} images wrong"
    )
