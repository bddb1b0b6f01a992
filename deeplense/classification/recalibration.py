"""Temperature and threshold fitted anew, for an evaluation that predicts or decides otherwise than its run did."""

from __future__ import annotations

import dataclasses
import sys

from deeplense.classification.card import ModelCard
from deeplense.classification.predictions import predict_views
from deeplense.config import EvaluateConfig
from deeplense.data.split import read_split
from deeplense.errors import InputError
from deeplense.evaluation.scored import own_images
from deeplense.network.views import shown_views
from deeplense.scores.calibration import NOT_CALIBRATED, calibrate, refuse_rate
from deeplense.scores.symmetry import viewed_of
from deeplense.task import Trained


def card_for(trained: Trained, card: ModelCard, config: EvaluateConfig) -> ModelCard:
    """`card` for predictions as `config` asks for them; the one in the run folder stays as it is.

    Averaged logits want a temperature and a threshold of their own, and another false-positive rate another
    threshold: both come from the run's own validation images, never from those that are scored.

    Args:
        trained: the run, its network on the device to predict on.
        card: of its weights.

    Raises:
        InputError: the run's validation images are needed, and are not what or where they were; or a threshold is
            asked for that cannot be.
    """
    run, augment = trained.folder, trained.config.augment
    if config.fpr is None and not config.tta:
        return card
    asked = "--tta" if config.fpr is None else "--fpr"
    refuse_rate(config.fpr, card.classes)
    shown = shown_views(augment)
    if config.tta and len(shown) == 1:
        print(
            f"note: {run} was trained with --no-flips and --rotation {augment.rotation:g}: it knows one view "
            "of an image, and --tta changes nothing",
            file=sys.stderr,
        )
        if config.fpr is None:
            return card
    if not any(row["split"] == "val" for row in read_split(run / "split.csv")):
        if config.fpr is not None:
            raise InputError(f"--fpr: {run} has no validation images to choose a threshold on: leave it out")
        return dataclasses.replace(card, **dataclasses.asdict(NOT_CALIBRATED))
    try:
        images, indices = own_images(run, card, trained.config, "val", config)
    except InputError as error:
        raise InputError(f"{asked} needs the validation images of {run}: {error}") from None
    assert images.labels is not None
    print(f"fitting temperature and threshold on {len(indices)} validation images", file=sys.stderr)
    store = card.store(images, next(trained.network.parameters()).device)
    logits = predict_views(trained.network, store, indices, viewed_of(0), shown, config.tta, config.batch_size).logits
    return dataclasses.replace(
        card, **dataclasses.asdict(calibrate(logits.cpu().numpy(), images.labels[indices], config.fpr))
    )
