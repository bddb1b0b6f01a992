"""What the images of a run look like, kept beside its weights: gathered at the end of training, read to be used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from deeplense.data.augment import standardized
from deeplense.data.batches import Batches, PixelStore, plain_batches
from deeplense.errors import InputError, TrainingError
from deeplense.evaluation.predict import eval_batch, predict
from deeplense.files import write_bytes
from deeplense.network.changes import CHANGES
from deeplense.network.features import PIXEL_FEATURES, Looks, Watched, widths
from deeplense.scores.familiarity import Familiarity, Look, arrays_of, fit

FILE = "familiarity.safetensors"
"""In the folder of the best weights."""
USUAL, CHANGED, KNOWN = 4000, 500, 2000
"""Training images that say what is usual, those of them that are changed, and validation images; at most."""


@torch.inference_mode()
def get_acquainted(
    network: torch.nn.Module, stages: Sequence[str], batches: Batches, store: PixelStore, validation: np.ndarray
) -> Familiarity | None:
    """What the images of a run look like to `network`; None if there are too few of them, or no stages.

    Args:
        network: in evaluation mode, on the device of `store`.
        stages: of it that are watched.
        batches: the training images.
        validation: (m,) places of validation images in `store`.
    """
    if not stages or not len(validation):
        return None
    size = eval_batch(store.device, store.config.image_size)
    looks = Looks(network, stages)
    random = torch.Generator().manual_seed(0)
    usual: list[torch.Tensor] = []
    changed: list[list[torch.Tensor]] = [[] for _ in CHANGES]
    left = CHANGED
    for images in batches.plain(USUAL, size):
        usual.append(looks(images))
        if left > 0:
            some = images[:left]
            left -= len(some)
            for change, own in zip(CHANGES.values(), changed, strict=True):
                noise = torch.randn(some.shape, generator=random).to(some)
                seen = change(some, noise)
                own.append(looks(standardized(seen) if store.config.standardize else seen))
    held_out = np.sort(np.random.default_rng(0).permutation(validation)[:KNOWN])
    known = [looks(images) for images in plain_batches(store, held_out, size)]
    (*_, last) = widths(network, stages, next(plain_batches(store, validation[:2], 2)))
    return fit(_array(usual), [_array(own) for own in changed], _array(known), PIXEL_FEATURES, last, tuple(stages))


def predict_and_look(
    network: torch.nn.Module,
    store: PixelStore,
    indices: np.ndarray,
    familiarity: Familiarity | None,
    batch_size: int | None = None,
    accelerator: Accelerator | None = None,
    call: torch.nn.Module | None = None,
) -> tuple[torch.Tensor, Look | None]:
    """What `predict` gives of the images `indices`, (n, L), and how they look to a run, from the same pass.

    Args:
        network: that of the run, whose stages are watched.
        familiarity: what the run keeps; None: nothing, and they are not looked at.
        call: what is asked in place of `network`, and asks it; see `Watched`.
    """
    asked = network if call is None else call
    if familiarity is None:
        return predict(asked, store, indices, batch_size, accelerator), None
    watched = Watched(network, familiarity.stages, asked)
    everything = predict(watched, store, indices, batch_size, accelerator)
    outputs, features = everything[:, : -familiarity.features], everything[:, -familiarity.features :]
    return outputs, familiarity.look(features.cpu().numpy())


def _array(parts: Sequence[torch.Tensor]) -> np.ndarray:
    return torch.cat(list(parts)).cpu().numpy() if parts else np.zeros((0, 0), dtype=np.float32)


def keep_familiarity(best: Path, familiarity: Familiarity) -> None:
    """Write it into the folder of the best weights, which stays whole.

    Raises:
        TrainingError: it could not be written.
    """
    try:
        write_bytes(best / FILE, to_bytes(dict(arrays_of(familiarity)), {"stages": json.dumps(familiarity.stages)}))
    except OSError as error:
        raise TrainingError(
            f"{best / FILE} cannot be written ({error.strerror}): make room and go on with --resume"
        ) from None


def read_familiarity(best: Path) -> Familiarity | None:
    """What is kept in the folder of the best weights; None: nothing is.

    Raises:
        InputError: it is damaged.
    """
    file = best / FILE
    if not file.is_file():
        return None
    try:
        with safe_open(file, "np") as kept:
            arrays = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 - it is no dict
            return Familiarity(tuple(json.loads(kept.metadata()["stages"])), **arrays)
    except Exception as error:  # safetensors raises many kinds
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} is damaged ({reason}): restore it, or remove it and do without") from None
