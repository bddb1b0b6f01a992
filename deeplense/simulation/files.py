"""The files of a simulated set, written a block of images at a time so that an interruption loses one block at most.

    images.npy      (N, H, W) float16 counts; or CLASS/NUMBER.npy, (H, W) float32 counts each
    catalog.csv     index,class,sha256, and one column a drawn parameter, empty where an image's class has none
    subhalos.csv    index,x,y,mass,einstein_radius: arcsec, arcsec, Msun, arcsec

A block goes to disk in the order pixels, point masses, catalogue, and the catalogue's rows are what counts: all else of
an image is there before its row is. Whatever lies beyond the last whole row was left by an interruption, and is cut
off before the work goes on.

Counts are stored as they are. They stay far below the largest float16 (65,504), whose step is never more than a tenth
of a pixel's noise.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from deeplense.content import content_hash
from deeplense.simulation.draw import Draws
from deeplense.simulation.sets import Classes

Format = Literal["packed", "folders"]


class SetFiles:
    """Opens the files of a set in `directory`, mends what an interruption left, and appends."""

    def __init__(self, directory: Path, form: Format, classes: Classes, columns: list[str], side: int) -> None:
        """`columns` are the scalars of `Draws` that the catalogue lists, `side` the pixels a side."""
        self.directory, self.classes, self.columns = directory, classes, columns
        self._pixels: _Packed | _Folders = (
            _Packed(directory, side) if form == "packed" else _Folders(directory, classes)
        )
        self._catalog = _Table(directory / "catalog.csv", ["index", "class", "sha256", *columns])
        self._masses = _Table(directory / "subhalos.csv", ["index", "x", "y", "mass", "einstein_radius"])
        self.finished = min(finished_images(directory), self._pixels.whole())
        self._cut()

    def append(self, counts: Tensor, draws: Draws) -> None:
        """Write the next images, (B, H, W). On an error the files are as they were before."""
        pixels = self._pixels.stored(counts)
        rows, masses = self._describe(pixels, draws.to("cpu"))
        try:
            self._pixels.append(self.finished, pixels)
            self._masses.append(masses)
            self._catalog.append(rows)
        except OSError:
            self._cut()
            raise
        self.finished += len(pixels)
        self._pixels.settle(self.finished)

    def _describe(self, pixels: np.ndarray, draws: Draws) -> tuple[list[str], list[str]]:
        """The rows of the catalogue and of the point masses."""
        values = zip(*(draws.scalars[name].tolist() for name in self.columns), strict=True)
        per_mass = (part.tolist() for part in (draws.x, draws.y, draws.mass, draws.radius))
        rows, masses = [], []
        for index, (image, own, *points) in enumerate(zip(pixels, values, *per_mass, strict=True), self.finished):
            name = self.classes.names[index % len(self.classes.names)]
            shown = ("" if value != value else f"{value:.9g}" for value in own)
            rows.append(",".join((str(index), name, content_hash(image), *shown)))
            masses += [
                f"{index},{x:.9g},{y:.9g},{mass:.9g},{radius:.9g}"
                for x, y, mass, radius in zip(*points, strict=True)
                if mass
            ]
        return rows, masses

    def _cut(self) -> None:
        """Cut all files to the finished images."""
        self._pixels.settle(self.finished)
        self._masses.cut(self.finished)
        self._catalog.cut(self.finished)


def finished_images(directory: Path) -> int:
    """The number of images that are there in full: the whole rows of the catalogue."""
    file = directory / "catalog.csv"
    if not file.exists():
        return 0
    with file.open("rb") as lines:
        return max(sum(line.endswith(b"\n") for line in lines) - 1, 0)


class _Packed:
    """`images.npy`. Its heading says how many images there are, and is written in place after each block."""

    heading = 128
    """Bytes; numpy leaves room in it for any number of images."""

    def __init__(self, directory: Path, side: int) -> None:
        self.file, self.side = directory / "images.npy", side
        self.file.touch()

    def stored(self, counts: Tensor) -> np.ndarray:
        return counts.half().cpu().numpy()  # on the device: half the way across

    def whole(self) -> int:
        """Images that the file is long enough for."""
        return max(self.file.stat().st_size - self.heading, 0) // self._bytes()

    def append(self, start: int, pixels: np.ndarray) -> None:
        with self.file.open("r+b", buffering=0) as file:
            file.seek(self.heading + start * self._bytes())
            _write(file, pixels.astype("<f2", copy=False).tobytes())
            os.fsync(file.fileno())

    def settle(self, count: int) -> None:
        """Make it a file of `count` images; takes no room on the disk beyond theirs."""
        heading = io.BytesIO()
        about = {"descr": "<f2", "fortran_order": False, "shape": (count, self.side, self.side)}
        np.lib.format.write_array_header_1_0(heading, about)
        assert heading.tell() == self.heading
        with self.file.open("r+b", buffering=0) as file:
            _write(file, heading.getvalue())
            file.truncate(self.heading + count * self._bytes())

    def _bytes(self) -> int:
        return 2 * self.side**2


class _Folders:
    """A folder a class, a file an image, as the field's other programs read them."""

    def __init__(self, directory: Path, classes: Classes) -> None:
        self.directory, self.classes = directory, classes
        for name in classes.names:
            (directory / name).mkdir(exist_ok=True)

    def stored(self, counts: Tensor) -> np.ndarray:
        return counts.cpu().numpy()

    def whole(self) -> int:
        """Images that are there, up to the first gap."""
        index = 0
        while self._path(index).exists():
            index += 1
        return index

    def append(self, start: int, pixels: np.ndarray) -> None:
        for index, image in enumerate(pixels, start):
            with self._path(index).open("wb", buffering=0) as file:
                content = io.BytesIO()
                np.save(content, image)
                _write(file, content.getvalue())

    def settle(self, count: int) -> None:
        """Remove what there is from image `count` on: a last block, whole or not."""
        while self._path(count).exists():
            self._path(count).unlink()
            count += 1

    def _path(self, index: int) -> Path:
        number, label = divmod(index, len(self.classes.names))
        return self.directory / self.classes.names[label] / f"{number:06d}.npy"


class _Table:
    """A table of comma-separated values whose rows start with an image's index, in order."""

    def __init__(self, file: Path, heading: list[str]) -> None:
        self.file, self.heading = file, ",".join(heading) + "\n"
        self.file.touch()

    def append(self, rows: list[str]) -> None:
        with self.file.open("ab", buffering=0) as file:
            _write(file, "".join(f"{row}\n" for row in rows).encode())
            os.fsync(file.fileno())

    def cut(self, count: int) -> None:
        """Keep the heading and the whole rows of the images before `count`."""
        with self.file.open("r+b") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n") or (end and int(line.split(b",", 1)[0]) >= count):
                    break
                end += len(line)
            file.truncate(end)
            if not end:
                file.seek(0)
                file.write(self.heading.encode())


def _write(file: io.RawIOBase, content: bytes) -> None:
    """All of `content`, without a buffer: what a full disk has no room for is an error here, not at a later close."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]
