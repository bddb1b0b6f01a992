"""The validation images of a localiser, of which promises are made after its training."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from deeplense.config import EvaluateConfig
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.evaluation.predict import predict
from deeplense.evaluation.scored import own_images
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.truth import Scale, TrueSubhalos, read_truth
from deeplense.task import Trained


@dataclasses.dataclass(frozen=True)
class Validation:
    """n of a run's validation images and their truth."""

    images: ImageSet
    indices: np.ndarray
    truth: TrueSubhalos
    scale: Scale

    def words(self, network: torch.nn.Module, card: LocaliserCard, batch_size: int | None = None) -> torch.Tensor:
        """What `network` says of them, (n, 6, h, w), on its device."""
        store = card.store(self.images, next(network.parameters()).device)
        return card.words(predict(network, store, self.indices, batch_size))


def validation_of(
    trained: Trained, flag: str, asked: EvaluateConfig | None = None, most: int | None = None
) -> Validation:
    """The first `most` of them, by the split that the run wrote down.

    Args:
        flag: that needs them.

    Raises:
        InputError: they are not what or where they were, or there are none.
    """
    card = trained.card
    assert isinstance(card, LocaliserCard)
    try:
        images, indices = own_images(trained.folder, card, trained.config, "val", asked)
    except InputError as error:
        raise InputError(f"{flag} needs the validation images of {trained.folder}: {error}") from None
    indices = indices[:most]
    scale = card.lengths(images)
    truth = read_truth(images, trained.config.data.data).take(indices).seen(scale.half)
    return Validation(images, indices, truth, scale)
