"""From images to logits, by one process or several; of an image as it is, or in its eight views."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from accelerate import Accelerator

from deeplense.data.batches import PixelStore, plain_batches
from deeplense.errors import TrainingError
from deeplense.machine.heap import keep_freed_memory
from deeplense.machine.precision import full_float32

EVAL_BATCH = {"cpu": 128, "cuda": 2048}
"""Images of 64 px at a time: on a CPU the activations of more do not fit its caches, and it is a third slower."""


def scoring_device() -> torch.device:
    """Where predictions are made that no training run goes with: a GPU, if there is one."""
    full_float32()
    if torch.cuda.is_available():
        return torch.device("cuda")
    keep_freed_memory()
    return torch.device("cpu")


def eval_batch(device: torch.device, size: int) -> int:
    """How many images of `size` pixels a side to predict at a time: fewer, where they are larger."""
    return max(1, round(EVAL_BATCH.get(device.type, 512) * min(1.0, (64 / size) ** 2)))


@torch.inference_mode()
def predict(
    model: torch.nn.Module,
    store: PixelStore,
    indices: np.ndarray,
    batch_size: int | None = None,
    accelerator: Accelerator | None = None,
    interrupt: Callable[[], None] = lambda: None,
    precision: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> torch.Tensor:
    """Logits (n, 1) or (n, K), float32 on the device, of the images `indices` in their order.

    Args:
        batch_size: images at a time; None: as many as suit the device.
        accelerator: of several processes; each predicts a share, and all get all.
        interrupt: called between batches; may raise.
        precision: what the network runs in, `accelerator.autocast`, say. Not the resample before it: in 16 bits it
            would lose faint light.
    """
    world, rank = (1, 0) if accelerator is None else (accelerator.num_processes, accelerator.process_index)
    share = -(-len(indices) // world)
    batch_size = batch_size or eval_batch(store.device, store.config.image_size)
    if store.device.type != "cpu" or getattr(model, "_compiled_call_impl", None) is not None:
        # Batches of one shape: another one would be compiled once more, or cuDNN would choose its convolutions anew.
        parts = -(-share // batch_size)
        batch_size = -(-share // parts) if parts else batch_size
        share = parts * batch_size
    # The shares are padded to one length with the first images again, and cut after gathering.
    padded = np.resize(indices, share * world) if share * world > len(indices) else indices
    model.eval()
    logits = []
    for images in plain_batches(store, padded[rank * share : (rank + 1) * share], batch_size):
        interrupt()
        with precision():
            logits.append(model(images).float())
    mine = torch.cat(logits)
    everything = mine if accelerator is None else accelerator.gather(mine)
    assert isinstance(everything, torch.Tensor)
    return everything[: len(indices)]


def only_numbers(outputs: torch.Tensor) -> None:
    """Look at what is to be scored, (n, ...). Validation would have noted it, but not every run has any.

    Raises:
        TrainingError: the network says what is no number.
    """
    bad = int((~outputs.flatten(1).isfinite()).any(1).sum())
    if bad:
        raise TrainingError(
            f"what the network says of {bad} of {len(outputs)} images is no finite number: its training has diverged: "
            "train again with a lower --lr"
        )
