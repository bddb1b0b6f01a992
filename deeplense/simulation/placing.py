"""Subhalos where somebody wants them, and not where a set draws them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from deeplense.simulation.draw import Draws
from deeplense.simulation.profiles import Surroundings
from deeplense.simulation.sets import LensSet


def with_subhalos(draws: Draws, lens_set: LensSet, x: Tensor, y: Tensor, mass: Tensor) -> Draws:
    """The lenses of `draws` (B) with other subhalos, of the set's profile at its median concentration.

    Args:
        x, y, mass: (B, K), arcsec and Msun; none is where the mass is 0.
    """
    scalars = draws.scalars
    square = lens_set.cosmology.mass_to_square(scalars["z_lens"], scalars["z_source"])[:, None]
    total, scale, concentration = mass, torch.zeros_like(mass), torch.full_like(mass, torch.nan)
    if lens_set.subhalos.profile is not None:
        around = Surroundings(
            lens_set.cosmology, scalars["z_lens"][:, None], square, scalars["einstein_radius"][:, None]
        )
        spread = lens_set.subhalos.profile.spread(mass, around, torch.full_like(mass, 0.5))
        there = mass > 0  # of no mass there is no concentration: c(M) has no end towards it
        total, scale = spread.total.where(there, 0.0), spread.scale.where(there, 0.0)
        if spread.concentration is not None:
            concentration = spread.concentration.where(there, torch.nan)
    radius = (total * square).sqrt()
    return replace(draws, x=x, y=y, mass=mass, radius=radius, scale=scale, concentration=concentration)
