"""Lenses have no up: a set whose images are turned and mirrored, each in a way that its content fixes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from deeplense.data.mixed import Mixed
from deeplense.data.store import Pixels, PixelStore
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
            InputError: an image is not square, and a quarter turn would give it another shape.
        """
        forms = [shape for _, shape in store.host.forms] if isinstance(store.host, Mixed) else [store.host.shape[1:]]
        for _, height, width in forms:
            if height != width:
                raise InputError(
                    f"--turn-test: images have {height} x {width} pixels: give square ones, or leave it out"
                )
        vars(self).update(vars(store))
        self.views = torch.tensor([int(sha256[:8], 16) % len(ALL) for sha256 in hashes])

    def batches(self, index: np.ndarray, places: Iterable[slice]) -> Iterator[Pixels]:
        places = list(places)
        for place, pixels in zip(places, super().batches(index, places), strict=True):
            views = self.views[torch.from_numpy(index[place])].to(self.device)
            if isinstance(pixels, torch.Tensor):
                yield _turned(pixels, views)
            else:
                parts = [(rows, _turned(some, views[rows])) for rows, some in pixels.parts]
                yield dataclasses.replace(pixels, parts=parts)


def _turned(pixels: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """(B, C, S, S), each in its own view of `views` (B,)."""
    out = torch.empty_like(pixels)
    for view in ALL:
        own = views == view
        out[own] = view_of(pixels[own], view)
    return out
