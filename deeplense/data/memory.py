"""Images that a program has at hand, arrays or paths, as an `ImageSet` in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.content import content_hash
from deeplense.data.decode import AS_IT_IS, BadImage, Decoded, Reading, open_images, unit_of
from deeplense.data.decode.pixels import MIN_SIDE, MISSING, canonical, mended
from deeplense.data.images import load_images
from deeplense.data.imageset import ImageSet, Light
from deeplense.data.mixed import Form, Mixed
from deeplense.data.opening import Opening, tell, tell_mended
from deeplense.data.setfile import holds_set
from deeplense.errors import InputError

Images = ImageSet | np.ndarray | str | Path | Sequence[Any]
"""See `as_images`."""


def as_images(images: Images, how: Opening, bad_images: str = "error") -> ImageSet:
    """The images as a set, without labels if nothing says them.

    Args:
        images: a set; an array (H, W), (H, W, C), (N, H, W), (N, C, H, W) or (N, H, W, C); a folder, a packed set, a
            file of one image or of a set; or a list of files or of arrays (H, W), (C, H, W) or (H, W, C), which may
            differ in size. What NumPy takes for an array is one: tensors, pictures of Pillow.
        how: what to do where there is a choice.
        bad_images: `error` or `skip`, for those that cannot be used.

    Raises:
        InputError: one of them cannot be used.
    """
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str | Path):
        place = Path(images).expanduser()
        if not place.is_file() or holds_set(place):
            return load_images(str(images), bad_images, False, how)
        images = [images]
    if _is_array(images):
        images = np.asarray(images)
    if isinstance(images, np.ndarray):
        if images.ndim not in (2, 3, 4):
            raise InputError(f"images of shape {images.shape}: give (H, W), (N, H, W), (N, C, H, W) or (N, H, W, C)")
        one = images.ndim == 2 or (images.ndim == 3 and images.shape[2] < MIN_SIDE)  # (H, W, 3)
        images = list(images[None] if one else images)
    decoded: list[Decoded] = []
    paths: list[str] = []
    for number, one in enumerate(images):
        path = str(one) if isinstance(one, str | Path) else f"image {number}"
        try:
            own = _decoded(one, path, how)
        except BadImage as error:
            remedy = "give bad_pixels='zero' or 'median'" if MISSING in str(error) else "give another"
            if bad_images == "error":
                raise InputError(f"{path} {error}: {remedy}") from None
            tell(f"left out {path}: {error}", "warning")
            continue
        decoded += own
        paths += [path] if len(own) == 1 else [f"{path}/{place}" for place in range(len(own))]
    if not decoded:
        raise InputError("no images were given, or none that can be used: give one at least")
    tell_mended(sum(one.mended for one in decoded), sum(one.mended > 0 for one in decoded), how.bad_pixels)
    return image_set(decoded, paths)


def image_set(decoded: Sequence[Decoded], paths: list[str]) -> ImageSet:
    """Decoded images as a set in memory."""
    forms: list[Form] = [(one.pixels.dtype.name, one.pixels.shape) for one in decoded]
    if len(set(forms)) == 1:
        pixels: np.ndarray | Mixed = np.stack([one.pixels for one in decoded])
    else:
        raw = b"".join(one.pixels.tobytes() for one in decoded)
        pixels = Mixed.of(np.frombuffer(raw, np.uint8), forms)
    return ImageSet(
        pixels=pixels,
        labels=None,
        classes=(),
        paths=paths,
        hashes=[content_hash(one.pixels) for one in decoded],
        light=Light(
            unit=np.array([one.unit for one in decoded]),
            high=np.array([one.high for one in decoded]),
            rgb=np.array([one.rgb for one in decoded]),
        ),
    )


def _is_array(one: Any) -> bool:
    """Whether NumPy takes it for one: a tensor has the first of these, a picture of Pillow the second."""
    return hasattr(one, "__array__") or hasattr(one, "__array_interface__")


def _decoded(one: Any, path: str, how: Opening) -> list[Decoded]:
    if _is_array(one):
        return [_of_array(np.asarray(one), how.reading)]
    if not isinstance(one, str | Path):
        raise InputError(f"{path} is of type {type(one).__name__}: give an array or the path of a file")
    if how.bands:
        raise InputError(
            f"{path}: the run's images have bands in files of their own ({', '.join(how.bands)}): give the folder that "
            "they lie in, or arrays (C, H, W)"
        )
    return _of_file(one, how.reading)


def _of_array(array: np.ndarray, reading: Reading) -> Decoded:
    pixels, count = mended(canonical(np.asarray(array)), reading.bad_pixels)
    rgb = pixels.dtype == np.uint8 and len(pixels) == 3
    return Decoded(pixels, unit_of(pixels, picture=False), rgb, None, count, float(pixels.max()))


def _of_file(file: str | Path, reading: Reading = AS_IT_IS) -> list[Decoded]:
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"{file}: there is no such file")
    return open_images(path, reading)
