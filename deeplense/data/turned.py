"""Lenses have no up: a set whose images are turned and mirrored, each in a way that its content fixes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from deeplense.data.batches import PixelStore
from deeplense.errors import InputError
from deeplense.network.views import view_of
from deeplense.scores.symmetry import ALL


class TurnedStore(PixelStore):
    """The pixels of another store, each image in one of its eight views: of its own, whoever asks and whenever."""

    def __init__(self, store: PixelStore, hashes: Sequence[str]) -> None:
        """
        Args:
            hashes: of the images of `store`, which choose their views.

        Raises:
            InputError: the images are not square, and a quarter turn would give them another shape.
        """
        height, width = store.host.shape[2:]
        if height != width:
            raise InputError(
                f"--turn-test: the images have {height} x {width} pixels: give square ones, or leave it out"
            )
        vars(self).update(vars(store))
        self.views = np.array([int(sha256[:8], 16) % len(ALL) for sha256 in hashes])

    def batches(self, index: np.ndarray, places: Iterable[slice]) -> Iterator[torch.Tensor]:
        places = list(places)
        for place, pixels in zip(places, super().batches(index, places), strict=True):
            views = torch.from_numpy(self.views[index[place]]).to(pixels.device)
            turned = torch.empty_like(pixels)
            for view in ALL:
                own = views == view
                turned[own] = view_of(pixels[own], view)
            yield turned
