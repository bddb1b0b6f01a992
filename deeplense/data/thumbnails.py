"""Images for the eye, made when they are asked for."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from deeplense.data.batches import PixelStore


@dataclasses.dataclass(frozen=True)
class Thumbnails:
    """The images that were scored, as an array that makes its rows when it is indexed with them."""

    store: PixelStore
    indices: np.ndarray
    """(n,) of the store."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """(m, H, W) or (m, 3, H, W) uint8 of `rows` (m,), in the size in which they are stored; where sizes differ, in
        that of the network.

        Each by its own range, and to the square root, as faint arcs stand beside bright lenses.
        """
        batch = next(self.store.batches(self.indices[rows], [slice(None)]))
        pixels = batch.float() if isinstance(batch, torch.Tensor) else self.store.light(batch)  # (m, C, H, W)
        if pixels.shape[1] not in (1, 3):
            pixels = pixels.mean(1, keepdim=True)
        low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
        unit = ((pixels - low) / (high - low).clamp_min(1e-9)).sqrt()
        images = (unit * 255).round().byte().cpu().numpy()
        return images[:, 0] if images.shape[1] == 1 else images
