"""From stored pixels to what the network sees: one affine resample an image, on the device.

Rotation, flips and the change of size are one map from the pixels of the result to places in the stored image, so
an image is interpolated once and not three times. Angle and flips are drawn for each image, not for the batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

MEAN, STD = 0.5, 0.5
"""The network sees (x - MEAN) / STD of pixels in [0, 1], as in the DeepLense common-task report, unless each image has
mean and spread of its own."""

LOG_STRETCH = 100.0
"""How much brighter than 1 the logarithm takes light to be; what is fainter than 1 / LOG_STRETCH stays linear."""

FLAT = 1e-6
"""The least spread, of pixels in [0, 1], that an image is divided by: one without any light stays dark."""


def to_unit(
    stored: torch.Tensor,
    channels: int,
    white: float | torch.Tensor,
    rgb: bool | torch.Tensor = False,
    bands: tuple[int, ...] = (),
) -> torch.Tensor:
    """Pixels of any stored kind to [0, 1], as uint8 where that loses nothing, else as float16.

    Args:
        stored: (B, C, H, W) uint8, uint16, float16 or float32.
        channels: of the result. Several become one by luminance (ITU-R BT.601) if they are colours for the eye, else
            by their mean; one becomes several by copying.
        white: the number that becomes 1, for all images or (B,) for each. NaN: each image's own largest, and its
            smallest becomes 0.
        rgb: whether three channels are colours for the eye, for all images or (B,) for each.
        bands: which of the C are taken; none: all.

    Returns:
        (B, channels, H, W): uint8 that stands for value / 255, or float16 in [0, 1].
    """
    if bands:
        stored = stored[:, list(bands)]
    as_bytes = stored.dtype == torch.uint8 and not isinstance(white, torch.Tensor) and white == 255
    if as_bytes and stored.shape[1] == channels:
        return stored
    pixels = _reduced(stored.float(), channels, rgb)
    if as_bytes:
        return pixels.expand(-1, channels, -1, -1).round().to(torch.uint8)
    if not isinstance(white, torch.Tensor):
        pixels = _by_own_range(pixels) if math.isnan(white) else pixels if white == 1 else pixels / white
    else:
        each = white[:, None, None, None]
        pixels = torch.where(each.isnan(), _by_own_range(pixels), pixels / each)
    return pixels.expand(-1, channels, -1, -1).to(torch.float16)


def _reduced(pixels: torch.Tensor, channels: int, rgb: bool | torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) to one channel, if that is what is wanted."""
    if pixels.shape[1] <= channels:
        return pixels
    mean = pixels.mean(1, keepdim=True)
    if pixels.shape[1] != 3:
        return mean
    luminance = 0.299 * pixels[:, :1] + 0.587 * pixels[:, 1:2] + 0.114 * pixels[:, 2:]
    if isinstance(rgb, torch.Tensor):
        return torch.where(rgb[:, None, None, None], luminance, mean)
    return luminance if rgb else mean


def _by_own_range(pixels: torch.Tensor) -> torch.Tensor:
    low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
    return (pixels - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)


def affine(draws: torch.Tensor, rotation: float, flips: bool) -> torch.Tensor:
    """The maps from result to source, in coordinates from -1 to 1 across the image.

    Args:
        draws: (B, 3) uniform on [0, 1), for angle, left-right and up-down.
        rotation: largest angle either way, degrees.
        flips: whether half of the images are mirrored, each way.

    Returns:
        (B, 2, 3) float32, as `torch.nn.functional.affine_grid` takes them. They have orthonormal rows.
    """
    angle = (2 * draws[:, 0] - 1) * (rotation * torch.pi / 180)
    mirror = torch.where((draws[:, 1:] < 0.5) & flips, -1.0, 1.0)  # (B, 2)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [cos * mirror[:, 0], -sin * mirror[:, 1], zero, sin * mirror[:, 0], cos * mirror[:, 1], zero]
    return torch.stack(rows, 1).view(-1, 2, 3)


def resample(
    pixels: torch.Tensor,
    maps: torch.Tensor | None,
    size: int,
    stretch: str = "none",
    crop: float = 1.0,
    standardize: bool = False,
    fit: str = "pad",
) -> torch.Tensor:
    """Interpolate the middle of each image once, at its own map, stretch, and normalise.

    Where the result is smaller than the source, the source is sampled that many times finer and averaged:
    bilinear interpolation alone would skip pixels, and with them most of the light that the noise is averaged over.
    Not to be called under autocast, which would take 16 bits for it.
    Outside the source it is dark, as with torchvision's transforms.

    Args:
        pixels: (B, C, H, W) uint8 or float16 from `to_unit`.
        maps: (B, 2, 3) from `affine`; None: the images stay as they are.
        size: pixels a side of the result.
        stretch: `none` or `log`, as in `DataConfig`; of the result, since light adds up as it is, not its logarithm.
        crop: part of each side of the source that the result shows; what turns into it from outside is the source's.
        standardize: by each result's own mean and spread, over its channels together, and not by MEAN and STD.
        fit: what of an image that is not square is seen, as in `DataConfig`.

    Returns:
        (B, C, size, size) float32, normalised.
    """
    scale = 1 / 255 if pixels.dtype == torch.uint8 else 1.0
    height, width = pixels.shape[2:]
    tall, wide = seen_part(height, width, fit)
    finer = max(1, round(crop * max(height * tall, width * wide) / size))
    if maps is None:
        rows, columns = (
            _weights(side, size, finer, crop * part, pixels.device) for side, part in ((height, tall), (width, wide))
        )
        images = rows @ (pixels.float() @ columns.T)
    else:
        maps = maps * crop
        if height != width:
            maps = maps * maps.new_tensor([wide, tall])[:, None]  # rows of a map give x and y
        grid = _grid(maps, size * finer)
        fine = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        images = F.avg_pool2d(fine, finer) if finer > 1 else fine  # (B, C, size, size)
    if stretch == "log":
        images, scale = torch.log1p(images * (LOG_STRETCH * scale)), 1 / math.log1p(LOG_STRETCH)
    return standardized(images, FLAT / scale) if standardize else images * (scale / STD) - MEAN / STD


def standardized(images: torch.Tensor, least: float = FLAT) -> torch.Tensor:
    """Each of (B, C, S, S) less its own mean, over its own spread, or `least` if that is more."""
    spread, mean = torch.std_mean(images, (1, 2, 3), keepdim=True)
    return (images - mean) / spread.clamp_min(least)


def seen_part(height: int, width: int, fit: str) -> tuple[float, float]:
    """How much of its height and its width the network sees of an image; more than 1: there is dark beside it."""
    if height == width or fit == "stretch":
        return 1.0, 1.0
    square = max(height, width) if fit == "pad" else min(height, width)
    return square / height, square / width


def _grid(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Where the pixels of the results lie in the sources: (B, size, size, 2), from -1 to 1 across the image.

    What `torch.nn.functional.affine_grid` gives, which multiplies long matrices of three columns for it: on two cores
    of an AMD EPYC that takes as long as the interpolation itself. Each coordinate lies together in memory, as
    vectorised code reads it.
    """
    centres = (2 * torch.arange(size, device=maps.device) + 1) / size - 1
    along = maps[:, :, 0, None] * centres  # (B, 2, size), of the columns
    down = maps[:, :, 1, None] * centres + maps[:, :, 2, None]
    return (along[:, :, None, :] + down[:, :, :, None]).permute(0, 2, 3, 1)


def _weights(side: int, size: int, finer: int, crop: float, device: torch.device) -> torch.Tensor:
    """The weights (size, side) of source pixels along one side in those of the result, if the image is not turned.

    Interpolation and average are then a product along each side. It takes half as long as with a grid, and what is
    exported needs no operator but that.
    """
    fine = size * finer
    centres = ((2 * torch.arange(fine, device=device) + 1) / fine - 1) * crop
    places = ((centres + 1) * side - 1) / 2  # in source pixels
    near = 1 - (places[:, None] - torch.arange(side, device=device)).abs()
    return near.clamp_min(0).view(size, finer, side).mean(1)
