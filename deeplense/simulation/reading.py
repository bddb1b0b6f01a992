"""Images from a folder of FITS, .npy or pictures, or from a HDF5 file as Galaxy10's. Nothing here imports torch.

What readers of data sets need (`data/decode`) lies above the simulation; this is the little that galaxies need.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deeplense.errors import InputError

_FITS, _HDF5 = (".fits", ".fit", ".fits.gz"), (".h5", ".hdf5")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_COMPANIONS = ("psf", "noise", "weight", "mask")
"""Words in the names of files that stand beside an image."""


def read_images(folder: Path, flag: str) -> Iterator[tuple[str, np.ndarray]]:
    """Name and pixels (C, H, W) float32, C 1 or 3, of each image of a folder, or of a HDF5 file, in order of name.

    Args:
        flag: what the folder was given as, for messages.

    Raises:
        InputError: no such folder, no image in it, or a file that cannot be read.
    """
    if not folder.exists():
        raise InputError(f"{flag} {folder}: does not exist: give a folder of FITS, .npy or pictures, or a HDF5 file")
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if _is_image(path))
    if not files:
        raise InputError(f"{flag} {folder}: has no image: give a folder of FITS, .npy or pictures, or a HDF5 file")
    for file in files:
        for number, array in enumerate(_arrays(file, flag)):
            yield f"{file.name}[{number}]", _planes(array, file, flag)


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    known = name.endswith((*_FITS, *_HDF5, *_PICTURES, ".npy"))
    return known and not name.startswith(".") and not any(word in path.stem.lower() for word in _COMPANIONS)


def _arrays(file: Path, flag: str) -> Iterator[np.ndarray]:
    name = file.name.lower()
    try:
        if name.endswith(_HDF5):
            yield from _of_hdf5(file, flag)
        elif name.endswith(_FITS):
            from astropy.io import fits  # here and below, since they take a while

            with fits.open(file, memmap=False) as parts:
                yield next(part.data for part in parts if part.is_image and part.data is not None)
        elif name.endswith(".npy"):
            array = np.load(file, allow_pickle=False)
            stacked = array.ndim == 4 or (array.ndim == 3 and not {1, 3} & {array.shape[0], array.shape[2]})
            yield from array if stacked else [array]
        else:
            from PIL import Image

            with Image.open(file) as picture:
                deep = picture.mode.startswith(("I", "F"))
                yield np.asarray(picture if deep else picture.convert("L" if picture.mode in ("1", "L") else "RGB"))
    except (OSError, ValueError, TypeError, EOFError, StopIteration) as error:
        raise InputError(f"{flag} {file}: cannot be read ({' '.join(str(error).split()) or 'no image'})") from None


def _of_hdf5(file: Path, flag: str) -> Iterator[np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{flag} {file}: reading it needs h5py: pip install 'deeplense[hdf5]'") from None
    with h5py.File(file, "r") as parts:
        images = parts.get("images")
        if images is None or images.ndim not in (3, 4):
            raise InputError(f"{flag} {file}: has no images (N, H, W) or (N, H, W, 3) of that name, as Galaxy10 has")
        for number in range(len(images)):
            yield images[number]


def _planes(array: np.ndarray, file: Path, flag: str) -> np.ndarray:
    """(C, H, W) float32."""
    array = np.asarray(array)
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[0] not in (1, 3):
        array = np.moveaxis(array, 2, 0)
    if array.ndim != 3 or array.shape[0] not in (1, 3) or array.dtype.kind not in "uif":
        raise InputError(f"{flag} {file}: has an array of shape {array.shape}: give (H, W), or three bands of it")
    return array.astype(np.float32)
