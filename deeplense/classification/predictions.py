"""What a classifier says of some images: of each as it is, and of some in their eight views."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from accelerate import Accelerator

from deeplense.data.batches import PixelStore
from deeplense.evaluation.predict import predict
from deeplense.network.views import Views, average
from deeplense.scores.symmetry import ALL


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a network says of some images."""

    logits: torch.Tensor
    """(n, L) float32: what is scored."""
    views: torch.Tensor
    """(m, 8, L), of the images `viewed` alone."""
    viewed: np.ndarray
    """(m,) which of the n images were looked at in all eight views."""
    shown: tuple[int, ...]
    """The views that training has shown, which averages are over."""


def predict_views(
    model: torch.nn.Module,
    store: PixelStore,
    indices: np.ndarray,
    viewed: np.ndarray,
    shown: tuple[int, ...],
    tta: bool = False,
    batch_size: int | None = None,
    accelerator: Accelerator | None = None,
) -> Predictions:
    """Predict images, and some or all of them in their eight views.

    Args:
        indices: (n,) the images.
        viewed: (m,) places in `indices`, ascending: those to look at in all views.
        shown: the views that training has shown: `symmetry.shown_views`.
        tta: what is scored is the average over those, and not the image as it is.
    """

    def look(some: np.ndarray, which: tuple[int, ...]) -> torch.Tensor:
        return predict(Views(model, which), store, some, batch_size, accelerator).unflatten(1, (len(which), -1))

    scored = shown if tta else (0,)
    if len(viewed) == len(indices) or len(scored) == len(ALL):
        everything = look(indices, ALL)
        own, views = everything[:, list(scored)], everything[viewed]
    else:
        own = look(indices, scored)
        views = look(indices[viewed], ALL) if len(viewed) else torch.empty(0, len(ALL), 1)
    return Predictions(average(own), views, viewed, shown)
