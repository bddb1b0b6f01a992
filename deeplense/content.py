"""What an image is, whatever its file is called: the hash of its pixels."""

from __future__ import annotations

import hashlib

import numpy as np


def content_hash(image: np.ndarray) -> str:
    """SHA-256 of the pixels of `image` (C, H, W) or (H, W), which is what the split knows an image by.

    It covers shape, kind and values, and neither name nor container: a JPEG and a PNG made of it are one image.
    Integers of 8 and 16 bits are hashed as they are, all else as little-endian float32.
    """
    image = image[None] if image.ndim == 2 else image
    kind = image.dtype.name if image.dtype.name in ("uint8", "uint16") else "float32"
    pixels = np.ascontiguousarray(image, dtype=np.dtype(kind).newbyteorder("<"))
    header = "x".join(str(side) for side in image.shape) + ":" + kind
    return hashlib.sha256(header.encode() + pixels.tobytes()).hexdigest()
