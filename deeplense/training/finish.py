"""What a run shows before its first step, and what it leaves after its last one."""

from __future__ import annotations

import dataclasses
import resource
from collections import Counter
from pathlib import Path

import torch
from accelerate import Accelerator

from deeplense.data.batches import Batches, PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split, write_looks
from deeplense.evaluation.familiar import get_acquainted, keep_familiarity
from deeplense.figures.curves import plot_curves
from deeplense.figures.samples import plot_samples
from deeplense.files import write_json
from deeplense.scores.familiarity import Familiarity
from deeplense.task import Scored, Task, Trained, load_trained
from deeplense.tracking.tracker import Tracker
from deeplense.training.loop import Trainer
from deeplense.training.session import on_first, only_first

SAMPLES = 8
"""Images of each kind in a figure."""


def show_images(folder: Path, task: Task, images: ImageSet, split: Split, store: PixelStore, batches: Batches) -> None:
    """Figures of training images of each kind, and of the first batch as the network will see it."""
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    some, names = images.some_of_each(split.train if len(split.train) else split.val, SAMPLES)
    pixels = next(plain_batches(store, some, len(some))).cpu().numpy()
    plot_samples(figures / "samples.png", pixels, names, "samples of each class")
    augmented, targets = next(batches.epoch(0))
    captions = task.captions(targets, len(augmented))
    first: list[int] = []
    shown: Counter[str] = Counter()
    for row in sorted(range(len(captions)), key=lambda row: captions[row]):  # stable
        if shown[captions[row]] < SAMPLES:
            first.append(row)
        shown[captions[row]] += 1
    pixels = augmented[first].cpu().numpy()
    plot_samples(figures / "first_batch.png", pixels, [captions[row] for row in first], "first batch, augmented")


def finish(
    accelerator: Accelerator, trainer: Trainer, images: ImageSet, split: Split, folder: Path, tracker: Tracker | None
) -> None:
    """Keep what the images look like, score the test part once, with the best weights, and write the summary."""
    loaded = only_first(accelerator, lambda: best_of(trainer, folder))
    # All get it from the first process: on another machine the file may not be seen yet.
    known = on_first(accelerator, lambda: remember_images(trainer, loaded, split))
    evaluation = None
    if len(split.test):
        trained = dataclasses.replace(loaded or best_of(trainer, folder), familiarity=known)
        scored = Scored(images, split.test, trainer.store, f"{folder.name}, test part")
        # In float32, as `evaluate.py` does it.
        evaluation = trained.task.evaluate(trained, scored, folder / "evaluation" / "test", accelerator)
    if tracker is None:  # not the first process
        return
    position, headline = trainer.position, trainer.task.headline
    if evaluation is not None:
        evaluation.track(tracker, "test", position.step)
    (folder / "figures").mkdir(exist_ok=True)
    figure, score = folder / "figures" / "curves.png", dataclasses.astuple(headline)
    plot_curves(figure, folder / "metrics.jsonl", f"run {folder.name}", *score)
    summary = {
        "best_epoch": position.best_epoch,
        f"val_{headline.name}": position.best_scores.get(headline.name),
        "test": evaluation.scores if evaluation else None,
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
    write_looks(folder, images, split)
    write_json(folder / "summary.json", summary)  # last: it says that nothing is left to do
    best = f"best of {position.epoch} epochs: {position.best_epoch}"
    print(f"{best}\ntest: {evaluation.said()}" if evaluation else f"{best}\nno test part, so no score", flush=True)
    print(f"all of it is in {folder}", flush=True)


def best_of(trainer: Trainer, folder: Path) -> Trained:
    """The run with its best weights, on the device."""
    trained = load_trained(folder, trainer.config, type(trainer.task))
    trained.network.to(trainer.store.device)
    return trained


def remember_images(trainer: Trainer, trained: Trained | None, split: Split) -> Familiarity | None:
    """Keep beside the best weights what training and validation images look like to them, if they are enough."""
    assert trained is not None
    found = get_acquainted(trained.network, trained.task.watched, trainer.batches, trainer.store, split.val)
    if found is not None:
        keep_familiarity(trained.folder / "best", found)
    return found


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held: on a GPU there, else in main memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
