"""JPEG, PNG, TIFF, WebP, BMP and GIF: what is made for the eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deeplense.data.decode.pixels import BadImage, Planes, Reading, check_sides

BITS_PER_SAMPLE = 258
"""The tag of a TIFF."""

PNG = b"\x89PNG\r\n\x1a\n"


def read(path: Path, reading: Reading) -> list[Planes]:
    """One picture. Several pages or frames are refused: which of them is meant nobody can tell."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(path)
    except UnidentifiedImageError:
        raise BadImage("is damaged, or of a kind that is not read: save it as PNG, .npy or FITS") from None
    with opened as picture:
        check_sides(picture.height, picture.width)  # before anything is unpacked
        frames = getattr(picture, "n_frames", 1)
        if frames > 1:
            raise BadImage(f"holds {frames} pages or frames: give one image a file")
        if _is_deep_colour_tiff(picture):
            raise BadImage(
                "is a TIFF of more than 8 bits with colour, of which no library here reads more than 8: save it as a "
                "PNG of 16 bits, or as .npy or FITS"
            )
        if _is_deep_colour_png(path):
            return [_deep_colour(path)]
        if picture.mode in ("1", "LA"):
            return [Planes(np.asarray(picture.convert("L")), picture=True)]
        if picture.mode in ("L", "F", "I") or picture.mode.startswith("I;16"):
            return [Planes(np.asarray(picture), picture=True)]
        return [Planes(np.asarray(picture.convert("RGB")), picture=True, rgb=True)]  # palettes, transparency, CMYK


def _is_deep_colour_tiff(picture: Any) -> bool:
    """Whether Pillow would keep the upper 8 of 16 bits, without a word: counts up to 3,000 become 12 grey levels."""
    bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, ())
    return isinstance(bits, tuple) and len(bits) > 1 and max(bits) > 8


def _is_deep_colour_png(path: Path) -> bool:
    """Whether this is a PNG of 16 bits with colour or transparency, of which Pillow keeps 8."""
    with path.open("rb") as file:
        header = file.read(26)
    return header.startswith(PNG) and header[24] == 16 and header[25] in (2, 4, 6)


def _deep_colour(path: Path) -> Planes:
    import torch  # here, since decoding processes import this module
    from torchvision.io import ImageReadMode, decode_png

    content = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    channels = decode_png(content, ImageReadMode.UNCHANGED).numpy()  # (2, 3 or 4, H, W), the last of 2 and 4 opaque
    if channels.dtype != np.uint16:
        raise BadImage("is a PNG of 16 bits that is read with 8")
    return Planes(channels[:3] if len(channels) > 2 else channels[:1], picture=True, rgb=len(channels) > 2)
