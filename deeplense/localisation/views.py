"""A localiser asked in the eight views of an image, whose words are one word: `evaluate.py RUN --tta`."""

from __future__ import annotations

import math
import sys

import torch

from deeplense.config import EvaluateConfig
from deeplense.data.split import read_split
from deeplense.errors import InputError
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.network import CELL, DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA
from deeplense.localisation.validation import validation_of
from deeplense.network.views import view_of
from deeplense.scores.symmetry import ALL
from deeplense.task import Trained


class AllViews(torch.nn.Module):
    """A localiser that looks at all views of each image, (B, C, S, S) to (B, 6, S/2, S/2), as it does at one."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return together(torch.stack([brought_back(self.network(view_of(images, view)), view) for view in ALL]))


def brought_back(maps: torch.Tensor, view: int) -> torch.Tensor:
    """What is said of a view, (B, 6, h, w), as it is said of the image that the view is of."""
    mirrored, turns = divmod(view, 4)
    words = list(maps.rot90(-turns, (2, 3)).unbind(1))
    for _ in range(turns):
        words[DX], words[DY] = -words[DY], words[DX]
    if mirrored:
        words = [word.flip(2) for word in words]
        words[DX] = -words[DX]
    return torch.stack(words, 1)


def together(words: torch.Tensor) -> torch.Tensor:
    """One word (B, 6, h, w) for several, (V, B, 6, h, w): the mean density, and of each cell's Gaussians the mixture's
    mean and spread."""
    density, dx, dy, sigma, mass, mass_sigma = words.unbind(2)
    share = density.softmax(0)  # of each view in what is expected in a cell

    def mean(values: torch.Tensor) -> torch.Tensor:
        return (share * values).sum(0)

    place = mean(dx), mean(dy)
    apart = 0.5 * ((dx - place[0]) ** 2 + (dy - place[1]) ** 2)  # along one axis
    parts = {
        LOG_DENSITY: density.logsumexp(0) - math.log(len(words)),
        DX: place[0],
        DY: place[1],
        LOG_SIGMA: 0.5 * mean((2 * sigma).exp() + apart).log(),
        LOG_MASS: mean(mass),
        LOG_MASS_SIGMA: 0.5 * mean((2 * mass_sigma).exp() + (mass - mean(mass)) ** 2).log(),
    }
    return torch.stack([parts[channel] for channel in range(len(parts))], 1)


def card_in_views(trained: Trained, asked: EvaluateConfig) -> LocaliserCard:
    """The run's card with promises for all views together, of its own validation images; the run stays as it is.

    Raises:
        InputError: they are not there; or the network sees an odd number of pixels, so that a cell is none when the
            image is turned.
    """
    card = trained.card
    assert isinstance(card, LocaliserCard)
    if card.image_size % CELL:
        raise InputError(
            f"--tta: {trained.folder} sees {card.image_size} px, an odd number, whose cells do not turn into each "
            "other: leave it out"
        )
    if not any(row["split"] == "val" for row in read_split(trained.folder / "split.csv")):
        return card
    held_out = validation_of(trained, "--tta", asked)
    print(f"promises for all views together, of {len(held_out.indices)} validation images", file=sys.stderr)
    words = held_out.words(AllViews(trained.network), card, asked.batch_size)
    return card.calibrated(words, held_out.truth, held_out.scale)
