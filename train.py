"""Train a classifier of strong-lens images: `accelerate launch train.py [PRESET] [--flag value ...]`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import parse_training
from deeplense.config import TrainConfig
from deeplense.errors import run_command

if TYPE_CHECKING:
    from accelerate import Accelerator


def main(config: TrainConfig) -> None:
    """A training run, alone or as one process of several."""
    # Here and not above: torch takes seconds to import, and --help and a wrong flag should not wait for it.
    from deeplense.training import session

    accelerator = session.make_accelerator(config)
    try:
        run(config, accelerator)
    finally:
        session.part(accelerator)


def run(config: TrainConfig, accelerator: Accelerator) -> None:
    """The story of a training run, from its settings to its honest test score."""
    from deeplense import runs
    from deeplense.data.split import check_split, split_images, write_split
    from deeplense.network.model import initialize
    from deeplense.tasks import make_task
    from deeplense.tracking.metrics_log import MetricsLog
    from deeplense.tracking.tracker import Tracker
    from deeplense.training import session
    from deeplense.training.checkpoint import load_newest
    from deeplense.training.finish import finish, show_images
    from deeplense.training.loop import Trainer
    from deeplense.training.stopping import StopRequest

    # May this run be?
    config = session.on_first(accelerator, lambda: runs.named(config, datetime.now()))
    goes_on = session.on_first(accelerator, lambda: runs.check_folder(config))
    folder = runs.run_folder(config)
    if goes_on and session.on_first(accelerator, lambda: runs.is_complete(config)):
        accelerator.print(f"{folder} is complete: nothing to do")
        return

    # Everything that can be refused is looked at before anything is written.
    images = session.load_on_all(accelerator, config)
    task = make_task(config, images.classes)
    task.look_at(images)
    split = split_images(images, config.split)
    checkpoint = load_newest(folder / "checkpoints") if goes_on else None
    network = task.network()
    initialization = session.on_first(
        accelerator, lambda: runs.first_initialization(folder) if checkpoint else initialize(network, config.model)
    )
    store, batches = session.make_batches(accelerator, config, task, images, split)
    session.prepare_network(accelerator, network, config)
    way = session.way_of(accelerator, config, batches)
    facts = session.facts_of(accelerator, images, store, initialization, way)

    # The record of the run is on disk before its first step.
    def write_down() -> runs.Record:
        if goes_on:
            runs.lengthen(config)
        else:
            runs.make_folder(config)
        written = (folder / "split.csv").exists()
        if written:
            check_split(folder / "split.csv", images, split)
        record = runs.Record(folder, facts)
        if not written:
            show_images(folder, task, images, split, store, batches)
            write_split(folder / "split.csv", images, split)
        return record

    with session.only_first(accelerator, write_down) or nullcontext():
        trainer = Trainer(config, accelerator, task, network, store, batches, images, split.val, folder, way)
        if checkpoint is not None:
            trainer.resume(checkpoint)
        log = session.only_first(accelerator, lambda: MetricsLog(folder / "metrics.jsonl", trainer.position.log_bytes))
        tracker = session.only_first(accelerator, lambda: Tracker(accelerator, config, folder, facts))
        if tracker is not None:
            session.announce(config, task, images, split, batches, network, facts, way, folder, tracker.where())

        stop = StopRequest()
        stop.listen()
        try:
            with session.keeping_touch(accelerator):
                trainer.fit(log, tracker, stop)
                finish(accelerator, trainer, images, split, folder, tracker)
        finally:
            if tracker is not None:
                tracker.leave()


if __name__ == "__main__":
    run_command(lambda: main(parse_training(sys.argv[1:], PRESETS, DESCRIPTIONS)))
