"""The eight views of a square image: a network that looks at several, and one that sees the same in all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchvision.models import ResNet

from deeplense.config import AugmentConfig
from deeplense.scores.symmetry import ALL


class Views(torch.nn.Module):
    """A network that looks at several views of each image: (B, C, S, S) to logits (B, V L), view after view.

    Pixels only change places, so nothing is interpolated once more.
    """

    def __init__(self, network: torch.nn.Module, which: Sequence[int] = ALL) -> None:
        super().__init__()
        self.network = network
        self.which = which

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(view_of(images, view)) for view in self.which], 1)


class OrientedResNet(ResNet):
    """A ResNet whose answer is the same for all views of an image, since it is shown one of them: `oriented`."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(oriented(images))


def oriented(images: torch.Tensor) -> torch.Tensor:
    """Of each image (B, C, S, S) the view whose light lies to the right of the centre, and below, and less below.

    By the first moments of its light, which a mirror and a quarter turn change by their signs and their order. Where
    one of them is zero, or both are alike, two views are as good as each other; in images with noise that does not
    happen. Pixels only change places.
    """
    size = images.shape[-1]
    away = torch.arange(size, device=images.device, dtype=torch.float32) - (size - 1) / 2
    light = images.float().sum(1)
    right, down = (light.sum(side) @ away for side in (1, 2))  # (B,)
    for which, turned in (
        (right < 0, lambda seen: seen.flip(3)),
        (down < 0, lambda seen: seen.flip(2)),
        (down.abs() > right.abs(), lambda seen: seen.transpose(2, 3)),
    ):
        images = torch.where(which[:, None, None, None], turned(images), images)
    return images


def view_of(images: torch.Tensor, view: int) -> torch.Tensor:
    """A view of images (B, C, S, S)."""
    mirrored, turns = divmod(view, 4)
    return (images.flip(3) if mirrored else images).rot90(turns, (2, 3))


def shown_views(augment: AugmentConfig) -> tuple[int, ...]:
    """The views that training has shown: what a network makes of others is no evidence of what it has learned.

    Flips show the mirror images and the half turn that they make together, and with rotations of 90° all views; without
    flips it takes rotations of 180°.
    """
    if augment.rotation >= (90 if augment.flips else 180):
        turns: tuple[int, ...] = (0, 1, 2, 3)
    else:
        turns = (0, 2) if augment.flips else (0,)
    return turns + tuple(4 + turn for turn in turns) if augment.flips else turns


def average(views: torch.Tensor) -> torch.Tensor:
    """Logits (n, V, L) of views to one (n, L).

    The logits are averaged and not the probabilities: the result is a logit again, which one temperature
    calibrates, and it still ranks images that all views are sure of, whose probabilities round to 0 or 1.
    """
    return views.mean(1)
