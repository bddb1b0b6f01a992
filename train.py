"""Train a classifier of strong-lens images: `accelerate launch train.py [PRESET] [--flag value ...]`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import datetime

from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import parse_training
from deeplense.config import TrainConfig
from deeplense.errors import run_command


def main(config: TrainConfig) -> None:
    """The story of a training run, from its settings to its honest test score."""
    # Here and not above: torch takes seconds to import, and --help and a wrong flag should not wait for it.
    from deeplense import runs, session
    from deeplense.data.split import split_images, write_split
    from deeplense.finish import finish, show_images
    from deeplense.model import build_model, initialize
    from deeplense.stopping import StopRequest
    from deeplense.tracking import MetricsLog, Tracker
    from deeplense.training import Trainer

    # Who takes part, and may this run be?
    accelerator = session.make_accelerator(config)
    config = session.on_first(accelerator, lambda: runs.named(config, datetime.now()))
    goes_on = session.on_first(accelerator, lambda: runs.check_folder(config))
    if goes_on and (runs.run_folder(config) / "summary.json").exists():
        accelerator.print(f"{runs.run_folder(config)} is complete: nothing to do")
        return

    # Everything that can be refused is looked at before anything is written.
    images = session.load_on_all(accelerator, config)
    split = split_images(images, config.split)
    model = build_model(len(images.classes), config.data.channels)
    initialization = session.on_first(accelerator, lambda: initialize(model, config.model))
    store, batches = session.make_batches(accelerator, config, images, split)
    compiled = session.prepare_network(model, config, accelerator.device)
    facts = session.facts_of(accelerator, images, store, initialization, compiled)

    # The record of the run is on disk before its first step.
    folder = session.on_first(accelerator, lambda: runs.open_folder(config, goes_on))
    first = accelerator.is_main_process
    with runs.Record(folder, facts) if first else nullcontext():
        if first and not goes_on:
            write_split(folder / "split.csv", images, split)
            show_images(folder, images, split, store, batches)
        trainer = Trainer(config, accelerator, model, store, batches, images, split.val, folder)
        if goes_on and not trainer.resume() and first:
            print("there is no checkpoint yet: starting from the beginning")
        log = MetricsLog(folder / "metrics.jsonl", trainer.position.log_bytes) if first else None
        tracker = Tracker(accelerator, config, folder, facts)
        if first:
            session.announce(config, images, split, batches, model, facts, folder, tracker.where())

        stop = StopRequest()
        stop.listen()
        try:
            trainer.fit(log, tracker, stop)
            finish(accelerator, trainer, images, split, folder, tracker)
        finally:
            tracker.finish()


if __name__ == "__main__":
    run_command(lambda: main(parse_training(sys.argv[1:], PRESETS, DESCRIPTIONS)))
