"""`.npy` and `.npz`, with the many forms of DeepLense's own files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from deeplense.data.decode.pickles import load_pickle
from deeplense.data.decode.pixels import (
    MAX_BYTES,
    MIN_SIDE,
    BadImage,
    Planes,
    Reading,
    check_shape,
    check_sides,
    choose,
    is_stack,
    sides,
)

MAX_STACK = 2**31
"""Bytes of a `.npy` of many images; larger ones are packed sets."""

DEEPEST = 4
"""Lists within lists."""

MOST_THINGS = 1_000_000
"""In lists and dictionaries of one file; 150 x 150 Python floats are 22,650."""

IMAGE_KEYS = ("image", "img", "data", "array", "pixels", "arr0")


def read_npy(path: Path, reading: Reading) -> list[Planes]:
    """The image of a `.npy`, or the images of a stack."""
    with path.open("rb") as file:
        shape, dtype = header_of(file)
        if dtype.hasobject:
            return [image_of(load_pickle(file))]
    if len(shape) >= 2:
        check_sides(*sides(shape))
    # The map checks the promised shape against the file's length before any memory is taken.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if is_stack(shape) and array.dtype.kind in "buif":
        if array.nbytes > MAX_STACK:
            raise BadImage(f"is a stack of {array.nbytes >> 30} GiB: make a packed set of it (images.npy, catalog.csv)")
        return [Planes(np.array(image)) for image in array]
    check_shape(shape, dtype.itemsize)
    return [_flat(np.array(array)) if array.ndim == 1 else Planes(np.array(array))]


def read_npz(path: Path, reading: Reading) -> list[Planes]:
    """The one image of a `.npz`; what else is in it may be one number."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        total = 0
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            total += member.file_size
            if total > MAX_BYTES:
                raise BadImage(f"unpacks to more than {MAX_BYTES >> 20} MiB: give one image")
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = _read_member(file, member.file_size)  # type: ignore[arg-type]
    return [image_of(arrays)]


def image_of(content: Any) -> Planes:
    """The one image in what a pickle or an archive gave: an array, rows, a flat array, a pair, a dictionary.

    Raises:
        BadImage: there is none, or there are several.
    """
    found = _Search().of(content, 0)
    if isinstance(found, Planes):
        return found
    raise BadImage("is a pickled object array without an image in it")


class _Search:
    """For an image, or a number, among lists, dictionaries and arrays: of a limited number of things, since a list may
    hold itself, or another one a thousand times."""

    def __init__(self) -> None:
        self.left = MOST_THINGS

    def of(self, content: Any, depth: int) -> Planes | float | None:
        if depth > DEEPEST:
            raise BadImage(f"has lists within lists, more than {DEEPEST}: give one image")
        if isinstance(content, np.ndarray) and not content.dtype.hasobject:
            return _of_array(content)
        if isinstance(content, np.ndarray):
            if content.ndim == 0:
                return self.of(content.item(), depth + 1)
            content = content.tolist()
        if isinstance(content, dict):
            self.spend(len(content))
            return _of_dictionary({str(key): self.of(value, depth + 1) for key, value in content.items()})
        if isinstance(content, list | tuple):
            self.spend(len(content))
            return self.of_list(list(content), depth)
        return float(content) if _is_number(content) else None

    def of_list(self, items: list[Any], depth: int) -> Planes | float | None:
        """Rows, with or without a number behind them; numbers; or an image among numbers."""
        if not items:
            return None
        rows = items[:-1] if len(items) > MIN_SIDE and _is_number(items[-1]) and not _is_number(items[0]) else items
        if len(rows) >= MIN_SIDE:
            image = self.stacked(rows)
            if image is not None:
                return Planes(image, attached=float(items[-1]) if len(rows) < len(items) else None)
        if all(_is_number(item) for item in items):
            return _of_array(np.array([float(item) for item in items]))
        return _only([self.of(item, depth + 1) for item in items])

    def stacked(self, rows: list[Any]) -> np.ndarray | None:
        """Equal rows of numbers as (H, W), or planes as (C, H, W)."""
        arrays: list[np.ndarray] = []
        for row in rows:
            array = self.numbers(row)
            if array is None or (arrays and array.shape != arrays[0].shape):
                return None
            arrays.append(array)
        check_shape((len(arrays), *arrays[0].shape), 8)
        return np.stack(arrays)

    def numbers(self, row: Any, inner: bool = True) -> np.ndarray | None:
        """A row, or a plane of rows, as an array; None if it is neither."""
        if isinstance(row, np.ndarray):
            return row if row.ndim in (1, 2) and row.dtype.kind in "buif" else None
        if not isinstance(row, list | tuple) or not row:
            return None
        self.spend(len(row))
        if all(_is_number(item) for item in row):
            return np.array([float(item) for item in row])
        if not inner:
            return None
        lower = [self.numbers(item, inner=False) for item in row]
        shapes = {None if array is None else array.shape for array in lower}
        return np.array(lower) if len(shapes) == 1 and None not in shapes else None

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise BadImage(f"has more than {MOST_THINGS} things in lists: give one image, as an array")


def _of_array(array: np.ndarray) -> Planes | float | None:
    if array.dtype.kind not in "buif":
        return None
    if array.size == 1:
        return float(array.reshape(-1)[0])
    if array.ndim >= 2:
        return Planes(array)
    return _flat(array) if _is_flat(array.size) else None


def _of_dictionary(found: dict[str, Planes | float | None]) -> Planes | float | None:
    images = {key: value for key, value in found.items() if isinstance(value, Planes)}
    if len(images) > 1:
        named = [key for key in images if "".join(filter(str.isalnum, key)).casefold() in IMAGE_KEYS]
        key = named[0] if len(named) == 1 else list(images)[choose(list(images), "arrays", "keep one image a file")]
        found = {name: value for name, value in found.items() if name == key or not isinstance(value, Planes)}
    return _only(list(found.values()))


def _only(found: list[Planes | float | None]) -> Planes | float | None:
    images = [item for item in found if isinstance(item, Planes)]
    numbers = [item for item in found if isinstance(item, float)]
    if len(images) > 1:
        raise BadImage(f"holds {len(images)} images in one object: give one image a file")
    if not images:
        return numbers[0] if len(numbers) == 1 and len(found) == 1 else None
    attached = images[0].attached if images[0].attached is not None or not numbers else numbers[0]
    return Planes(images[0].array, attached=attached)


def _is_flat(count: int) -> bool:
    return any(math.isqrt(pixels) ** 2 == pixels and math.isqrt(pixels) >= MIN_SIDE for pixels in (count, count - 1))


def _flat(array: np.ndarray) -> Planes:
    """A square image that was made flat, with or without a number behind it."""
    side = math.isqrt(array.size)
    if side < MIN_SIDE or not _is_flat(array.size):
        raise BadImage(f"has shape {array.shape}: give (H, W), or up to 16 bands before or after them")
    check_sides(side, side)
    attached = float(array[-1]) if array.size > side**2 else None
    return Planes(array[: side**2].reshape(side, side), attached=attached)


def _is_number(item: Any) -> bool:
    return isinstance(item, int | float | np.number) or (isinstance(item, np.ndarray) and item.ndim == 0)


def header_of(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array that begins here."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if any(side < 0 for side in shape):
        raise BadImage(f"has shape {shape}")
    return shape, dtype


def _read_member(file: BinaryIO, length: int) -> Any:
    """One array of an archive, whose header may lie about its size."""
    start = np.lib.format.MAGIC_LEN
    magic = file.read(start)
    version = tuple(magic[-2:])
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    if not magic.startswith(b"\x93NUMPY"):
        raise BadImage("has a part that is no array")
    shape, fortran, dtype = read_header(file)
    if dtype.hasobject:
        return load_pickle(file)
    count = math.prod(shape)
    if count < 0 or count * dtype.itemsize > min(length, MAX_BYTES):
        raise BadImage(f"promises an array of {shape} and has less")
    content = file.read(count * dtype.itemsize)
    array = np.frombuffer(content, dtype, count)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
