"""What a run shows before its first step, and what it leaves after its last one."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from deeplense import plots
from deeplense.data.batches import Batches, PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.evaluation import load_best, predict, say, write_evaluation
from deeplense.files import write_json
from deeplense.model import probabilities
from deeplense.tracking import Tracker
from deeplense.training import Trainer

SAMPLES = 8
"""Images of each class in a figure."""


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
    logits = predict(model, trainer.store, split.test, accelerator=accelerator)
    if tracker is None:
        return {}
    chances = probabilities(logits).cpu().numpy()
    title = f"{folder.name}, test part"
    target = folder / "evaluation" / "test"
    scores = write_evaluation(target, images, trainer.store, split.test, chances, card, title)
    assert images.labels is not None
    tracker.log_scores("test", scores, images.labels[split.test], chances, trainer.position.step)
    return scores


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held: on a GPU there, else in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
