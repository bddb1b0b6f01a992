"""The command `python -m deeplense.adapt RUN --data UNLABELLED`."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from deeplense.adapt.settings import FEWEST, AdaptConfig
from deeplense.cli import parse
from deeplense.errors import InputError, run_command

if TYPE_CHECKING:
    import numpy as np
    import torch

    from deeplense.data.batches import TrainBatches
    from deeplense.data.imageset import ImageSet
    from deeplense.task import Trained

DESCRIPTION = """Make a run fit for other images, of which nobody knows the classes.

A new run folder gets weights that have learned from those images, by themselves, and from the run's own training images
where these are still there. The images are never scored: evaluate.py refuses them, as it does those of the training.
Keep some aside to score, and label those.
"""

HELD_OUT = 0.15
"""Part of the images that is not learned from: they say how familiar an image like those is."""


def main(config: AdaptConfig) -> None:
    """The story of an adaptation, from a run to the folder of another one."""
    import numpy as np
    from torchvision.models import ResNet

    from deeplense.adapt.learn import FIRST, Pupil
    from deeplense.adapt.write import adapted_card, new_folder, start_folder, write_summary
    from deeplense.classification.card import ModelCard
    from deeplense.config import ModelConfig
    from deeplense.data.batches import TrainBatches
    from deeplense.evaluation.best import keep_best
    from deeplense.evaluation.familiar import get_acquainted, keep_familiarity
    from deeplense.network.model import placed
    from deeplense.tasks import load_run
    from deeplense.tracking.metrics_log import MetricsLog
    from deeplense.training import session

    started = datetime.now()
    folder = new_folder(config)
    trained = load_run(config.run)
    if not isinstance(trained.card, ModelCard):
        raise InputError(f"{config.run} was trained to {trained.card.task}: only classifiers can be adapted")
    images = unlabelled(config, trained)
    shares = shares_of(config, trained)
    optimization = dataclasses.replace(trained.config.optimization, batch_size=config.batch_size, grad_accum=1)
    run = dataclasses.replace(trained.config.run, seed=config.seed)
    own_config = dataclasses.replace(trained.config, optimization=optimization, run=run, model=ModelConfig("random"))
    accelerator = session.make_accelerator(own_config)
    if accelerator.num_processes > 1:
        raise InputError("python -m deeplense.adapt is one process: start it without a launcher")

    order = np.random.default_rng(config.seed).permutation(len(images))
    held_out, indices = np.split(order, [round(HELD_OUT * len(order))])
    first = int(FIRST * len(indices))
    if config.rounds and config.batch_size > first:
        raise InputError(f"--batch-size {config.batch_size}: the first round learns from {first} images: lower it")
    store = trained.card.store(images, accelerator.device)
    own = labelled(config, trained, accelerator.device)
    start_folder(folder, config, images, order)
    network = placed(trained.network, accelerator.device, own_config.compute.channels_last)
    assert isinstance(network, ResNet)
    pupil = Pupil(config, accelerator, network, store, np.sort(indices), own, trained.config.augment, shares)
    pupil.adapt(MetricsLog(folder / "metrics.jsonl"))

    keep_best(folder, network, adapted_card(trained.card, config))
    looked = TrainBatches(store, lambda index, maps: index, np.sort(indices), trained.config.augment, 2, 1, 0)
    known = get_acquainted(network, trained.task.watched, looked, store, np.sort(held_out))
    if known is not None:
        keep_familiarity(folder / "best", known)
    write_summary(folder, config, started, shares, len(order))
    print(f"adapted to {len(order)} images of {config.data}; no score: of these nobody knows the classes\n"
          f"python evaluate.py {folder} --data LABELLED scores it on others")  # fmt: skip


def unlabelled(config: AdaptConfig, trained: Trained) -> ImageSet:
    """The images to adapt to, without their labels.

    Raises:
        InputError: they are too few, or the run is scored on some of them.
    """
    from deeplense.data.images import load_images
    from deeplense.data.opening import Opening, band_names, tell
    from deeplense.data.scale import mention_strangers, say_scale
    from deeplense.data.simulated import simulated
    from deeplense.data.split import read_split
    from deeplense.simulation.sets import SETS

    card, where = trained.card, config.data
    if where in SETS:
        images = simulated(where, config.count, card.classes, config.simulation_seed, "cpu")
    else:
        images = load_images(where, config.bad_images, False, Opening(bands=band_names(card.bands)))
    if images.labels is not None:
        tell(f"--data {where}: its classes are not looked at")
        images = dataclasses.replace(images, labels=None, classes=())
    scored = {row["sha256"] for row in read_split(config.run / "split.csv") if row["split"] == "test"}
    common = sum(sha256 in scored for sha256 in images.hashes)
    if common:
        raise InputError(f"--data {where}: {common} images are test images of {config.run}: adapt to others")
    if len(images) < FEWEST:
        raise InputError(f"--data {where}: {len(images)} images are too few to adapt to: give {FEWEST} at least")
    if card.scale is not None:
        tell(f"pixels: {say_scale(images, card.scale)}")
        mention_strangers(images, card.scale)
    return images


def shares_of(config: AdaptConfig, trained: Trained) -> np.ndarray:
    """The shares of the classes (K,): as asked for, or those of the run's training images."""
    import numpy as np

    from deeplense.data.split import read_split

    classes = trained.card.classes
    if config.shares:
        if len(config.shares) != len(classes):
            raise InputError(f"--shares: {len(config.shares)} are given, and the classes are {', '.join(classes)}")
        return np.array(config.shares) / sum(config.shares)
    rows = [row["class"] for row in read_split(config.run / "split.csv") if row["split"] == "train"]
    counts = np.array([max(rows.count(name), 1) for name in classes], dtype=float)
    return counts / counts.sum()


def labelled(config: AdaptConfig, trained: Trained, device: torch.device) -> TrainBatches | None:
    """Batches of the run's own training images; None, and said, where they are not there any more."""
    import torch

    from deeplense.data.batches import TrainBatches
    from deeplense.data.opening import tell
    from deeplense.evaluation.scored import own_images

    if trained.config.simulation.online:
        tell(f"{config.run} has learned from images that were simulated on the way: they are not looked at again")
        return None
    try:
        images, indices = own_images(config.run, trained.card, trained.config, "train", to_score=False)
    except InputError as error:
        tell(f"without the run's own images: {error}")
        return None
    assert images.labels is not None
    labels = torch.from_numpy(images.labels).to(device)
    own = trained.card.store(images, device)
    return TrainBatches(
        own, lambda index, maps: labels[index], indices, trained.config.augment, config.batch_size, 1, config.seed
    )


if __name__ == "__main__":
    run_command(lambda: main(parse(AdaptConfig, sys.argv[1:], DESCRIPTION)))
