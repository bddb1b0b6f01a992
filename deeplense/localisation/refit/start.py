"""Where fits start: a small network that says the smooth lens of an image at a glance, taught on lenses drawn just now.

It needs to be right to the width of the likelihood's valley and no more, some hundredths of an arcsec: a minute's work.
What it gets wrong is tried again from lenses near by (`smooth.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from deeplense.localisation.refit.parameters import Family
from deeplense.simulation.sets import find_classes
from deeplense.simulation.simulator import Simulator

IMAGES = 16_000
"""That it learns from, half of them with substructure: its traces must not lead it astray."""
ROUNDS = 3
BATCH = 64


class Glance(torch.nn.Module):
    """Flux in units of the background's noise (B, 1, S, S) to the coordinates of a smooth lens."""

    def __init__(self, size: int, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        widths, layers, inside = (32, 64, 128), [], 1
        self.bins = max(size // 40, 1)
        for width in widths:
            layers += [torch.nn.Conv2d(inside, width, 3, stride=2, padding=1), torch.nn.BatchNorm2d(width)]
            layers += [torch.nn.ReLU(), torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.ReLU()]
            inside = width
        side = size // self.bins
        for _ in widths:
            side = (side + 1) // 2
        head = [torch.nn.Linear(inside * side * side, 256), torch.nn.ReLU(), torch.nn.Linear(256, len(mean))]
        self.layers = torch.nn.Sequential(*layers, torch.nn.Flatten(), *head)
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def forward(self, flux: Tensor) -> Tensor:
        binned = torch.nn.functional.avg_pool2d(flux, self.bins)
        return self.mean + self.spread * self.layers(0.3 * torch.asinh(binned))


def learn(family: Family, seed: int = 0, images: int = IMAGES) -> tuple[Glance, Tensor]:
    """A network for a family, and its root-mean-square errors on images that it has not seen, (N,).

    Args:
        seed: of its weights and of the lenses, which are of a purpose of their own.
    """
    lens_set, device = family.lens_set, family.device
    simulator = Simulator(lens_set, find_classes(), seed, device, "stream")
    pictures, vectors = [], []
    for first in range(0, images, 1024):
        number = torch.arange(first, min(first + 1024, images), device=device)
        counts, draws = simulator.make(number)
        pictures.append(in_noise(counts, family).half())
        vectors.append(family.vectors(draws))
    picture, vector = torch.cat(pictures)[:, None], torch.cat(vectors)
    spread, mean = torch.std_mean(vector, 0)
    held = max(images // 16, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Glance(lens_set.camera.pixels, mean, spread).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
        steps = ROUNDS * ((images - held) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
        for _ in range(ROUNDS):
            order = (held + torch.randperm(images - held)).to(device)
            for rows in order[: (images - held) // BATCH * BATCH].split(BATCH):
                error = (network(picture[rows].float()) - vector[rows]) / spread
                loss = torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.2)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
    network.eval()
    error = glance(network, picture[:held]) - vector[:held]
    return network, (error**2).mean(0).sqrt()


@torch.no_grad()
def glance(network: Glance, pictures: Tensor) -> Tensor:
    """Coordinates (n, N) of pictures (n, 1, S, S)."""
    return torch.cat([network(part.float()) for part in pictures.split(256)])


def in_noise(counts: Tensor, family: Family) -> Tensor:
    """Stored counts (n, S, S) in units of the background's noise."""
    return flux_of(counts, family) / family.lens_set.camera.background_rms


def flux_of(counts: Tensor, family: Family) -> Tensor:
    """Stored counts for a unit of exposure."""
    return counts * ((family.lens_set.camera.unit_counts or 1.0) / family.exposure)
