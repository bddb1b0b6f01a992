"""What is kept beside the weights of a run, so that they can be used: `best/model.json`."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch

from deeplense.config import DataConfig, TrainConfig
from deeplense.data.augment import MEAN, STD, resample, to_unit
from deeplense.data.batches import PixelStore
from deeplense.data.imageset import ImageSet


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What weights of any task need: how images are to be treated, and what they were trained for."""

    task: str = "classify"
    classes: tuple[str, ...]
    image_size: int
    channels: int
    normalize: str
    stretch: str = "none"
    crop: float = 1.0
    standardize: bool = False
    """These six as in `DataConfig`, and `ImageSet` for the classes."""
    mean: float | None = MEAN
    std: float | None = STD
    """None: each image has its own."""
    epoch: int
    """After which the weights were the best."""
    architecture: str = "resnet18"
    format: int = 1

    @classmethod
    def of(cls, config: TrainConfig, classes: tuple[str, ...], epoch: int, **own: Any) -> Self:
        """The card of a run after `epoch` epochs; `own` is what its task adds."""
        data = config.data
        each = data.standardize
        return cls(
            task=config.task,
            classes=classes,
            image_size=data.image_size,
            channels=data.channels,
            normalize=data.normalize,
            stretch=data.stretch,
            crop=data.crop,
            standardize=each,
            mean=None if each else MEAN,
            std=None if each else STD,
            epoch=epoch,
            **own,
        )

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the network sees of pixels as they are stored, (B, C, H, W) to (B, channels, size, size)."""
        unit = to_unit(pixels, self.channels, self.normalize)
        return resample(unit, None, self.image_size, self.stretch, self.crop, self.standardize)

    def store(self, images: ImageSet, device: torch.device) -> PixelStore:
        """The pixels of `images`, treated as those that the weights were trained on."""
        treatment = DataConfig(
            image_size=self.image_size,
            channels=self.channels,  # type: ignore[arg-type]
            normalize=self.normalize,  # type: ignore[arg-type]
            stretch=self.stretch,  # type: ignore[arg-type]
            crop=self.crop,
            standardize=self.standardize,
        )
        return PixelStore(images, treatment, device)
