"""What another telescope would make of an image, done to what the network sees of it.

Rough, on purpose: the network is never shown these. They tell in which direction features move when a point-spread
function is wider, noise is stronger, pixels are larger or smaller, or the sky is turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from deeplense.network.features import cosines, frequencies

Change = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Of images (B, C, S, S), given noise of unit spread of the same shape."""


def blurred(width: float) -> Change:
    """By a Gaussian of this deviation in pixels, before the noise: what the image had of that, it keeps."""

    def change(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        size = images.shape[-1]
        basis = cosines(size, images.device)
        kept = torch.exp(-0.5 * (math.pi * width / size * frequencies(size, images.device)) ** 2)
        power = basis @ images @ basis.T
        again = noise_of(images) * (1 - kept.square()).sqrt() * noise
        return basis.T @ (power * kept + again) @ basis

    return change


def noisier(times: float, of_light: bool = False) -> Change:
    """With noise of this many times the spread, everywhere or as photons have it: more, where there is more light."""

    def change(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        spread = noise_of(images) * math.sqrt(times**2 - 1)
        if of_light:
            light = images - images.amin((2, 3), keepdim=True)
            spread = spread * (light / light.mean((2, 3), keepdim=True).clamp_min(1e-6)).sqrt()
        return images + spread * noise

    return change


def rescaled(scale: float) -> Change:
    """With pixels of this many times the size; beyond the edges are mirror images."""

    def change(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        maps = torch.tensor([[scale, 0.0, 0.0], [0.0, scale, 0.0]], device=images.device).expand(len(images), -1, -1)
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)

    return change


def turned(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """By a quarter turn."""
    return images.rot90(1, (2, 3))


CHANGES: dict[str, Change] = {
    "wider": blurred(0.5),
    "much wider": blurred(1.0),
    "noisier": noisier(2.0),
    "noisier light": noisier(2.0, of_light=True),
    "smaller pixels": rescaled(1 / 1.2),
    "larger pixels": rescaled(1.2),
    "turned": turned,
}


def noise_of(images: torch.Tensor) -> torch.Tensor:
    """Spread of the noise of each pixel of images (B, C, S, S), from their highest frequencies: (B, C, 1, 1)."""
    size = images.shape[-1]
    basis, frequency = cosines(size, images.device), frequencies(size, images.device)
    high = ((frequency > 0.75 * size) & (frequency <= size)).float()
    power = (basis @ images @ basis.T).square() * high
    return (power.sum((2, 3), keepdim=True) / high.sum()).sqrt()
