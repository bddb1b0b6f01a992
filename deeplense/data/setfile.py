"""One file that holds a whole set: HDF5 or `.npz` with `images` and `labels`, as Galaxy10 has them."""

from __future__ import annotations

import contextlib
import functools
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.content import content_hash
from deeplense.data.cache import Known, cache_folder, complain, key_of, pack_into
from deeplense.data.decode import BadImage, Decoded, Reading, hdf5, unit_of
from deeplense.data.decode.arrays import MAX_STACK, header_of
from deeplense.data.decode.pixels import canonical, check_shape, mended
from deeplense.data.imageset import ImageSet
from deeplense.data.layout import Listed
from deeplense.data.names import fold
from deeplense.data.near import look_of
from deeplense.data.opening import Opening, tell_mended
from deeplense.data.packed import is_packed, read_about, read_packed
from deeplense.errors import InputError

SET_SUFFIXES = (".h5", ".hdf5", ".npz")

IMAGE_NAMES = ("images", "image", "x", "data", "imgs")
LABEL_NAMES = ("labels", "label", "ans", "y", "targets", "target", "classes", "class")

DAMAGE = (BadImage, OSError, ValueError, KeyError, RuntimeError, MemoryError, EOFError, NotImplementedError, zlib.error,
          zipfile.BadZipFile, lzma.LZMAError, tokenize.TokenError)  # fmt: skip
"""What h5py and numpy raise for wild files."""

_AT_ONCE = 256


def read_set_file(file: Path, bad_images: str, how: Opening, labelled: bool = True) -> ImageSet:
    """The images of `file`, decoded once and kept in the cache.

    Raises:
        InputError: it has no such arrays, they do not fit each other, or it is damaged.
    """
    try:
        kept = cache_folder() / key_of(file.parent, [Listed(file.name, "", "")], how.reading)
        if not is_packed(kept):
            with _opened(file) as arrays:
                images, labels = _named(file, arrays)
                listed = [
                    Listed(f"{file.name}/{index}", name, "")
                    for index, name in enumerate(_classes(file, images, labels))
                ]
                pack_into(kept, file, listed, _decoded(images, how.reading), bad_images)
    except DAMAGE as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"--data {file}: {told if isinstance(error, BadImage) else f'cannot be read ({told})'}"
        ) from None
    found = read_packed(kept, positive=how.positive)
    if labelled and found.labels is None:
        raise InputError(f"--data {file}: has no labels ({', '.join(LABEL_NAMES[:4])}): add them")
    about = read_about(kept)
    complain(file, about["skipped"], len(found) + len(about["skipped"]), bad_images)
    pixels, images = about["mended"]
    tell_mended(pixels, images, how.bad_pixels)
    return found


def holds_set(file: Path) -> bool:
    """Whether a file is a set, as Galaxy10's: HDF5, or an `.npz` with images and labels."""
    name = file.name.lower()
    if not name.endswith(".npz"):
        return name.endswith((".h5", ".hdf5"))
    try:
        with zipfile.ZipFile(file) as archive:
            names = {fold(Path(member).stem) for member in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False  # what is wrong with it, opening it says
    return bool(names.intersection(IMAGE_NAMES) and names.intersection(LABEL_NAMES))


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix.lower() == ".npz":
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            yield {member.filename.removesuffix(".npy"): _Member(archive, member) for member in members}
    else:
        with hdf5.opened(file) as content:
            yield hdf5.arrays(content)


class _Member:
    """An array of an `.npz`, of which no more than the header is unpacked before its numbers are asked for."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
        self.archive, self.member = archive, member
        with archive.open(member) as file:
            self.shape, self.dtype = header_of(file)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._array[rows]

    @functools.cached_property
    def _array(self) -> np.ndarray:
        name, size = self.member.filename, self.member.file_size
        if size > MAX_STACK:
            raise BadImage(f"has {size / 2**30:.1f} GiB in {name}: make an HDF5 file of it, or a packed set")
        if math.prod(self.shape) * self.dtype.itemsize > size:
            raise BadImage(f"promises an array of {self.shape} in {name} and has less: write it again")
        with self.archive.open(self.member) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


def _named(file: Path, arrays: dict[str, Any]) -> tuple[Any, Any]:
    """Images and labels among the arrays of a file."""
    names = {fold(name.rsplit("/", 1)[-1]): name for name in arrays}
    image = next((names[word] for word in IMAGE_NAMES if word in names and arrays[names[word]].ndim >= 3), None)
    label = next((names[word] for word in LABEL_NAMES if word in names and arrays[names[word]].ndim >= 1), None)
    if image is None:
        listed = ", ".join(f"{name} {tuple(array.shape)}" for name, array in list(arrays.items())[:10])
        raise BadImage(f"has no array called images of three or four dimensions: it has {listed or 'nothing'}")
    images, labels = arrays[image], None if label is None else arrays[label]
    if not len(images):
        raise BadImage(f"has no image in {image} {tuple(images.shape)}: give one at least")
    if labels is not None and len(labels) != len(images):
        raise BadImage(f"has {len(images)} {image} and {len(labels)} {label}")
    return images, labels


def _classes(file: Path, images: Any, labels: Any) -> list[str]:
    """The class of each image, by name: a number is its name, with zeros before it where there are ten or more."""
    if labels is None:
        return [""] * len(images)
    values = np.asarray(labels[:])
    if values.ndim == 2 and values.shape[1] > 1:  # one column a class
        values = values.argmax(1)
    values = values.reshape(len(images))
    if values.dtype.kind in "SO":
        return [value.decode() if isinstance(value, bytes) else str(value) for value in values.tolist()]
    if values.dtype.kind == "U":
        return [str(value) for value in values.tolist()]
    if values.dtype.kind not in "buif" or (values != np.round(values)).any():
        raise BadImage("has labels that are no whole numbers and no names")
    whole = values.astype(np.int64)
    digits = len(str(int(whole.max()))) if len(whole) else 1
    return [f"{value:0{digits}d}" for value in whole.tolist()]


def _decoded(images: Any, reading: Reading) -> Iterator[list[Known | str]]:
    check_shape(tuple(images.shape[1:]), images.dtype.itemsize)
    for start in range(0, len(images), _AT_ONCE):
        for array in np.asarray(images[start : start + _AT_ONCE]):
            try:
                pixels, count = mended(canonical(array), reading.bad_pixels)
            except BadImage as error:
                yield [str(error)]
                continue
            rgb = pixels.dtype == np.uint8 and len(pixels) == 3
            image = Decoded(pixels, unit_of(pixels, picture=False), rgb, None, count, float(pixels.max()))
            yield [Known(image, content_hash(pixels), look_of(pixels, rgb))]
