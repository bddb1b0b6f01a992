"""What is kept beside the weights of a run, so that they can be used: `best/model.json`."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import torch

from deeplense.config import DataConfig, TrainConfig
from deeplense.data.augment import MEAN, STD, resample, to_unit
from deeplense.data.batches import PixelStore
from deeplense.data.imageset import ImageSet
from deeplense.data.opening import band_numbers
from deeplense.data.scale import Scale


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
    fit: str = "pad"
    bands: tuple[str, ...] = ()
    """These eight as in `DataConfig`, and `ImageSet` for the classes."""
    scale: Scale | None = None
    """What 0 and 1 stand for; None: what a set itself says."""
    stored: str = "float32"
    """Type of most of the run's images, as they are stored."""
    unit: str = "numbers"
    """What their numbers count: `decode.unit_of`."""
    rgb: bool = False
    """Whether their channels are colours for the eye."""
    shape: tuple[int, ...] = ()
    """Their channels, height and width."""
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
            fit=data.fit,
            bands=data.bands,
            mean=None if each else MEAN,
            std=None if each else STD,
            epoch=epoch,
            **own,
        )

    @classmethod
    def read(cls, content: dict[str, Any]) -> Self:
        """A card from what its JSON file says. Raises what dataclasses raise for what is missing or unknown."""
        scale = content.get("scale")
        own = {
            "classes": tuple(content["classes"]),
            "bands": tuple(content.get("bands", ())),
            "shape": tuple(content.get("shape", ())),
        }
        return cls(**{**content, **own, "scale": None if scale is None else Scale(**scale)})

    def for_pixels(self, store: PixelStore) -> Self:
        """The same with what the run's own pixels stand for."""
        return dataclasses.replace(self, scale=store.scale, **store.usual)

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the network sees of pixels as they are stored, (B, C, H, W) to (B, channels, size, size)."""
        scale = self.scale or Scale("type" if self.normalize == "range" else "image")
        stored = str(pixels.dtype).removeprefix("torch.")
        white = scale.white(self.unit if stored == self.stored else "numbers", stored)
        unit = to_unit(pixels, self.channels, white, self.rgb, band_numbers(self.bands))
        return resample(unit, None, self.image_size, self.stretch, self.crop, self.standardize, self.fit)

    def store(self, images: ImageSet, device: torch.device) -> PixelStore:
        """The pixels of `images`, treated as those that the weights were trained on."""
        treatment = DataConfig(
            image_size=self.image_size,
            channels=self.channels,
            normalize=self.normalize,  # type: ignore[arg-type]
            stretch=self.stretch,  # type: ignore[arg-type]
            crop=self.crop,
            standardize=self.standardize,
            fit=self.fit,  # type: ignore[arg-type]
            bands=self.bands,
        )
        return PixelStore(images, treatment, device, self.scale)
