"""What a classifier says of some images: of each as it is, and of some in their eight views."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from accelerate import Accelerator

from deeplense.data.batches import PixelStore
from deeplense.evaluation.familiar import predict_and_look
from deeplense.network.views import Views, average
from deeplense.scores.familiarity import Familiarity, Look
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
    look: Look | None = None
    """What the images look like to the run; None: it does not know."""

    def take(self, keep: np.ndarray) -> Predictions:
        """Of the images that `keep` (n,) bool says."""
        place = np.cumsum(keep) - 1
        seen = keep[self.viewed]
        return dataclasses.replace(
            self,
            logits=self.logits[torch.from_numpy(np.flatnonzero(keep)).to(self.logits.device)],
            views=self.views[torch.from_numpy(np.flatnonzero(seen)).to(self.views.device)],
            viewed=place[self.viewed[seen]],
            look=self.look and self.look.take(np.flatnonzero(keep)),
        )


def predict_views(
    model: torch.nn.Module,
    store: PixelStore,
    indices: np.ndarray,
    viewed: np.ndarray,
    shown: tuple[int, ...],
    tta: bool = False,
    batch_size: int | None = None,
    accelerator: Accelerator | None = None,
    familiarity: Familiarity | None = None,
) -> Predictions:
    """Predict images, and some or all of them in their eight views.

    Args:
        indices: (n,) the images.
        viewed: (m,) places in `indices`, ascending: those to look at in all views.
        shown: the views that training has shown: `symmetry.shown_views`.
        tta: what is scored is the average over those, and not the image as it is.
        familiarity: by which images are looked at in the same pass, as they are.
    """

    def ask(some: np.ndarray, which: tuple[int, ...], known: Familiarity | None) -> tuple[torch.Tensor, Look | None]:
        views = Views(model, which)
        logits, look = predict_and_look(model, store, some, known, batch_size, accelerator, views)
        return logits.unflatten(1, (len(which), -1)), look

    scored = shown if tta else (0,)
    if len(viewed) == len(indices) or len(scored) == len(ALL):
        everything, look = ask(indices, ALL, familiarity)
        own, views = everything[:, list(scored)], everything[viewed]
    else:
        own, look = ask(indices, scored, familiarity)
        views = ask(indices[viewed], ALL, None)[0] if len(viewed) else torch.empty(0, len(ALL), 1)
    return Predictions(average(own), views, viewed, shown, look)
