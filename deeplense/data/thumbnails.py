"""Images for the eye, made when they are asked for."""

from __future__ import annotations

import dataclasses

import numpy as np

from deeplense.data.batches import PixelStore


@dataclasses.dataclass(frozen=True)
class Thumbnails:
    """The images that were scored, as an array that makes its rows when it is indexed with them."""

    store: PixelStore
    indices: np.ndarray
    """(n,) of the store."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """(m, H, W) or (m, 3, H, W) uint8 of `rows` (m,), in the size in which they are stored.

        Each by its own range, and to the square root, as faint arcs stand beside bright lenses.
        """
        pixels = next(self.store.batches(self.indices[rows], [slice(None)])).float()  # (m, C, H, W)
        low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
        unit = ((pixels - low) / (high - low).clamp_min(1e-9)).sqrt()
        images = (unit * 255).round().byte().cpu().numpy()
        return images[:, 0] if images.shape[1] == 1 else images
