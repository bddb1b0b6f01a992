"""What an image looks like to the early stages of a network, in a few hundred numbers, from the pass that predicts it.

Late stages forget what does not matter for their task: of real lenses from another telescope the last layer of a
network sees nothing unusual. Early ones do; and the width of a point-spread function and the noise, which no stage is
asked to tell, stand in the spectrum of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

RINGS = 24
"""Into which the frequencies of an image are gathered, of equal width up to the highest along a side."""

PIXEL_FEATURES = RINGS + 4
"""Those of the pixels; they come first. The stages' follow in their order."""

FAINTEST = 1e-12
"""Power below which there is none: blank images have a spectrum, too."""


class Watched(torch.nn.Module):
    """A network that also tells what its images look like: (B, C, S, S) to (B, L + F), outputs and then features.

    They are one tensor, so that whatever gathers outputs over batches and processes gathers both. The features are the
    spectrum and the moments of the pixels, and mean and spread of each channel of each watched stage. Stages are read
    by hooks that are there during the pass alone: the network and its other users never know. It can be exported.
    """

    def __init__(self, network: torch.nn.Module, stages: Sequence[str], call: torch.nn.Module | None = None) -> None:
        """
        Args:
            network: whose stages are watched.
            stages: names of its submodules that give maps (B, K, H, W), in the order in which they are called.
            call: what is called in place of `network` and calls it, several times perhaps: the first time counts.
        """
        super().__init__()
        self.network = network
        self.call = call
        self.stages = tuple(stages)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with _watching(self.network, self.stages) as maps:
            outputs = (self.network if self.call is None else self.call)(images).flatten(1)
        return torch.cat([outputs.float(), _features(images, maps.values())], 1)


class Looks(torch.nn.Module):
    """The features of images alone, (B, C, S, S) to (B, F), of a pass that ends where the last watched stage does."""

    def __init__(self, network: torch.nn.Module, stages: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.stages = tuple(stages)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with _watching(self.network, self.stages, enough=True) as maps, suppress(_Enough):
            self.network(images)
        return _features(images, maps.values())


def widths(network: torch.nn.Module, stages: Sequence[str], images: torch.Tensor) -> list[int]:
    """How many features each stage has, asked with a few images (B, C, S, S)."""
    with _watching(network, stages) as maps:
        network(images)
    return [2 * maps[stage].shape[1] for stage in stages]


class _Enough(Exception):
    """All watched stages have been seen."""


@contextmanager
def _watching(
    network: torch.nn.Module, stages: Sequence[str], enough: bool = False
) -> Iterator[dict[str, torch.Tensor]]:
    """What the stages give while the block runs, the first time that they are called; if that is `enough`, the last
    one ends the pass."""
    maps: dict[str, torch.Tensor] = {}

    def watch(stage: str) -> torch.utils.hooks.RemovableHandle:
        def note(module: torch.nn.Module, given: Any, gives: torch.Tensor) -> None:
            maps.setdefault(stage, gives)
            if enough and len(maps) == len(stages):
                raise _Enough

        return network.get_submodule(stage).register_forward_hook(note)

    hooks = [watch(stage) for stage in stages]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _features(images: torch.Tensor, maps: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([spectrum(images), moments(images), *map(mean_and_spread, maps)], 1)


def spectrum(images: torch.Tensor) -> torch.Tensor:
    """Logarithm (base 10) of the mean power of images (B, C, S, S) in rings of frequency, (B, RINGS) float32.

    Of the cosine transform, which an image's edges do not disturb: it is that of the image beside its mirror images.
    Two products of matrices, which every exporter knows.
    """
    size = images.shape[-1]
    basis, rings = cosines(size, images.device), _rings(size, images.device)
    power = (basis @ images.float() @ basis.T).square().mean(1)  # (B, S, S)
    return (power.flatten(1) @ rings).clamp_min(FAINTEST).log10()


def cosines(size: int, device: torch.device) -> torch.Tensor:
    """The orthonormal basis (size, size) of the cosine transform (DCT-II), a row a frequency."""
    number = torch.arange(size, device=device)
    basis = torch.cos(math.pi / size * number[:, None] * (number + 0.5)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def frequencies(size: int, device: torch.device) -> torch.Tensor:
    """Length of the frequency of each coefficient, (size, size); `size` is half a cycle a pixel."""
    number = torch.arange(size, device=device, dtype=torch.float32)
    return (number[:, None].square() + number.square()).sqrt()  # ONNX knows no hypot


def _rings(size: int, device: torch.device) -> torch.Tensor:
    """The weight of each coefficient in the mean of each ring, (size^2, RINGS). The mean of the image is in none; what
    is beyond the highest frequency along a side is in the last."""
    ring = (frequencies(size, device).flatten() * (RINGS / size)).long().clamp(max=RINGS - 1)
    inside = (ring[:, None] == torch.arange(RINGS, device=device)).float()
    inside[0] = 0
    return inside / inside.sum(0)


def moments(images: torch.Tensor) -> torch.Tensor:
    """Mean, logarithm of the spread, skewness and logarithm of the kurtosis of the pixels (B, C, S, S): (B, 4)."""
    pixels = images.float().flatten(1)
    mean = pixels.mean(1, keepdim=True)
    away = pixels - mean
    spread = away.square().mean(1, keepdim=True).sqrt().clamp_min(math.sqrt(FAINTEST))
    unit = away / spread
    square = unit.square()
    skewness, kurtosis = (square * unit).mean(1, keepdim=True), square.square().mean(1, keepdim=True)
    return torch.cat([mean, spread.log10(), skewness, (kurtosis + 1).log10()], 1)


def mean_and_spread(maps: torch.Tensor) -> torch.Tensor:
    """Of each channel of (B, K, H, W) over its map: (B, 2 K)."""
    flat = maps.float().flatten(2)
    mean = flat.mean(2)
    spread = (flat.square().mean(2) - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, spread], 1)
