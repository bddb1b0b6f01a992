"""What a run shows before its first step, and what it leaves after its last one."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from deeplense.classification.predictions import predict_views
from deeplense.classification.write import ModelCard, load_best, say, write_evaluation
from deeplense.data.batches import Batches, PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.figures import plots
from deeplense.figures.style import to_display
from deeplense.files import write_json
from deeplense.network.views import shown_views
from deeplense.scores.metrics import predict_labels
from deeplense.scores.symmetry import viewed_of
from deeplense.tracking.tracker import Tracker
from deeplense.training.loop import Trainer

SAMPLES = 8
"""Images of each class in a figure."""

SHOWN = 64
"""Images of each kind in the table of predictions that W&B gets."""


def show_images(folder: Path, images: ImageSet, split: Split, store: PixelStore, batches: Batches) -> None:
    """Figures of training images of each class, and of the first batch as the network will see it."""
    assert images.labels is not None
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    shown = split.train if len(split.train) else split.val
    labels = images.labels[shown]
    some = np.concatenate([shown[labels == label][:SAMPLES] for label in range(len(images.classes))])
    pixels = next(plain_batches(store, some, len(some))).cpu().numpy()
    names = [images.classes[label] for label in images.labels[some]]
    plots.plot_samples(figures / "samples.png", pixels, names, "samples of each class")
    augmented, own = next(batches.epoch(0))
    first = torch.cat([(own == label).nonzero()[:SAMPLES, 0] for label in range(len(images.classes))])
    names = [images.classes[label] for label in own[first].tolist()]
    plots.plot_samples(figures / "first_batch.png", augmented[first].cpu().numpy(), names, "first batch, augmented")


def finish(
    accelerator: Accelerator, trainer: Trainer, images: ImageSet, split: Split, folder: Path, tracker: Tracker | None
) -> None:
    """Score the test part once, with the best weights, and write the summary."""
    scores = score_test(accelerator, trainer, images, split, folder, tracker)
    if tracker is None:  # not the first process
        return
    position = trainer.position
    (folder / "figures").mkdir(exist_ok=True)
    plots.plot_curves(folder / "figures" / "curves.png", folder / "metrics.jsonl", f"run {folder.name}")
    summary = {
        "best_epoch": position.best_epoch,
        "val_roc_auc": position.best_auc,
        "test": scores or None,
        "epochs": position.epoch,
        "images_per_second": round(position.images / position.train_seconds, 1),
        "wall_seconds": round(trainer.wall_seconds(), 1),
        "peak_memory_bytes": peak_memory(accelerator.device),
    }
    tracker.log_figures(
        sorted(folder.glob("figures/*.png")) + sorted(folder.glob("evaluation/test/*.png")), position.step
    )
    tracker.log_report("test", folder / "evaluation" / "test" / "report.html", position.step)
    tracker.log_weights(folder / "best")
    tracker.finish()
    write_json(folder / "summary.json", summary)  # last: it says that nothing is left to do
    best = f"best of {position.epoch} epochs: {position.best_epoch}"
    print(f"{best}\ntest: {say(scores)}" if scores else f"{best}\nno test part, so no score", flush=True)
    print(f"all of it is in {folder}", flush=True)


def score_test(
    accelerator: Accelerator, trainer: Trainer, images: ImageSet, split: Split, folder: Path, tracker: Tracker | None
) -> dict[str, Any]:
    """The scores of the test part, in float32, as `evaluate.py` gives them; empty if there is no test part."""
    if not len(split.test):
        return {}
    model, card = load_best(folder)
    model.to(accelerator.device)
    viewed, shown = viewed_of(len(split.test)), shown_views(trainer.config.augment)
    predictions = predict_views(model, trainer.store, split.test, viewed, shown, accelerator=accelerator)
    if tracker is None:
        return {}
    title = f"{folder.name}, test part"
    target = folder / "evaluation" / "test"
    scores = write_evaluation(target, images, trainer.store, split.test, predictions, card, title)
    assert images.labels is not None
    labels, chances = images.labels[split.test], card.probabilities(predictions.logits)
    step = trainer.position.step
    tracker.log_scores("test", scores, labels, chances, step)
    tracker.log_table("test/predictions", *prediction_table(images, trainer.store, split.test, chances, card), step)
    return scores


def prediction_table(
    images: ImageSet, store: PixelStore, indices: np.ndarray, probabilities: np.ndarray, card: ModelCard
) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows of a table of images with what is predicted of them, the most telling first."""
    assert images.labels is not None
    labels, predicted = images.labels[indices], predict_labels(probabilities, card.decides_at)
    shown = telling_images(labels, probabilities, predicted)
    pixels = next(plain_batches(store, indices[shown], len(shown))).cpu().numpy()
    rows = []
    for image, row in zip(pixels, shown, strict=True):
        picture = (255 * to_display(image)).astype(np.uint8)  # (C, H, W)
        picture = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
        names = [card.classes[labels[row]], card.classes[predicted[row]]]
        rows.append([picture, images.paths[indices[row]], *names, *probabilities[row].tolist()])
    return ["image", "path", "label", "predicted", *(f"p_{name}" for name in card.classes)], rows


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


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held: on a GPU there, else in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
