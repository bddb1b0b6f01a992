"""What a localiser says, in units of the image: one function for whoever uses weights without this program."""

from __future__ import annotations

import torch

from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.network import CELL, DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA

CHANNELS = ("expected_number", "x", "y", "sigma", "log10_mass", "log10_mass_sigma")


def physical(outputs: torch.Tensor, card: LocaliserCard, side: int) -> torch.Tensor:
    """The network's words (B, 6, h, w) as `CHANNELS`, corrected by what the run promises.

    Lengths are from the centre of the image, x along the rows to the right and y along the columns downwards, in arcsec
    where the run knows the size of a pixel, else in stored pixels.

    Args:
        side: stored pixels along a side of the image.
    """
    outputs = card.with_masses(outputs)
    half = 0.5 * side * (card.pixel_scale or 1.0) * card.crop
    cell = CELL * 2 * half / card.image_size
    height, width = outputs.shape[2:]
    column = torch.arange(width, device=outputs.device) + 0.5
    row = torch.arange(height, device=outputs.device)[:, None] + 0.5
    channels = (
        card.number_factor * outputs[:, LOG_DENSITY].exp(),
        (column + outputs[:, DX]) * cell - half,
        (row + outputs[:, DY]) * cell - half,
        card.position_factor * cell * outputs[:, LOG_SIGMA].exp(),
        outputs[:, LOG_MASS],
        card.mass_factor * outputs[:, LOG_MASS_SIGMA].exp(),
    )
    return torch.stack(channels, 1)
