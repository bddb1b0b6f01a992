"""The files of a simulated set, written a block of images at a time so that an interruption loses one block at most.

    images.npy      (N, H, W) float16 counts, or float32 electrons/s, (N, C, H, W) of several bands; or
                    CLASS/NUMBER.npy, (H, W) float32 counts each
    catalog.csv     index,class,sha256, and one column a drawn scalar, empty where an image's class has none; before
                    them the part of the split, where sources are galaxies, each of which is in one part only
    subhalos.csv    index,x,y,mass,einstein_radius: arcsec, arcsec, Msun, arcsec; of profiles that are no points also
                    concentration,scale_radius,truncation_radius in arcsec. A mass is what the profile says (M200 of a
                    truncated NFW halo), an Einstein radius that of the subhalo by itself, without the lens: 0 if less
                    than a 4,000th of the scale radius

No table has the clumps and random fields of the sources and the galaxies that stand beside a lens, but for their number
or share: `Simulator.draw(index // C, index % C)` of the same set, seed and C classes gives them, as `Draws.clumps`,
`field` and `neighbours`.

With `--snr` both tables end with the column snr: the signal-to-noise ratio of the substructure of an image, and of each
subhalo, with lens and source fitted.

A block goes to disk in the order pixels, point masses, catalogue, and the catalogue's rows are what counts: all else of
an image is there before its row is. Whatever lies beyond the last whole row was left by an interruption, and is cut
off before the work goes on.

Counts are stored as they are. They stay far below the largest float16 (65,504), whose step is never more than a tenth
of a pixel's noise.
"""

from __future__ import annotations

import io
import math
import os
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deeplense.content import content_hash
from deeplense.simulation.deflection import einstein_radii
from deeplense.simulation.draw import Draws, drawn_columns
from deeplense.simulation.gallery import PARTS, Pictures
from deeplense.simulation.limit import Limit
from deeplense.simulation.sets import Classes, LensSet

Format = Literal["packed", "folders"]


class SetFiles:
    """Opens the files of a set in `directory`, mends what an interruption left, and appends."""

    def __init__(
        self, directory: Path, form: Format, classes: Classes, lens_set: LensSet, snr: bool = False, start: int = 0
    ) -> None:
        """With `snr` both tables have the column of that name, see `limit`; `start` is the first image's index."""
        self.start = start
        self.directory, self.classes, self.lens_set, self.snr = directory, classes, lens_set, snr
        self.columns = drawn_columns(lens_set, classes.kinds)
        ratio = ["snr"] if snr else []
        camera = lens_set.camera
        shape = (*([camera.bands] if camera.bands > 1 else []), camera.pixels, camera.pixels)
        self._parts = ["part"] if isinstance(lens_set.source, Pictures) else []
        self._pixels: Packed | _Folders = (
            Packed(directory, shape, camera.stored) if form == "packed" else _Folders(directory, classes)
        )
        self._catalog = Table(
            directory / "catalog.csv", ["index", "class", "sha256", *self._parts, *self.columns, *ratio]
        )
        self._masses = Table(directory / "subhalos.csv", ["index", *subhalo_names(lens_set), *ratio])
        self.finished = min(finished_images(directory), self._pixels.whole())
        self._cut()

    def append(self, counts: Tensor, draws: Draws, limit: Limit | None = None) -> None:
        """Write the next images, (B, H, W). On an error the files are as they were before."""
        pixels = self._pixels.stored(counts)
        rows, masses = self._describe(pixels, draws.to("cpu"), limit)
        try:
            self._pixels.append(self.finished, pixels)
            self._masses.append(masses)
            self._catalog.append(rows)
        except OSError:
            self._cut()
            raise
        self.finished += len(pixels)
        self._pixels.settle(self.finished)

    def _describe(self, pixels: np.ndarray, draws: Draws, limit: Limit | None) -> tuple[list[str], list[str]]:
        """The rows of the catalogue and of the subhalos."""
        own, per_mass = [draws.scalars[name] for name in self.columns], subhalo_columns(draws, self.lens_set)
        if limit is not None:
            own.append(limit.whole.cpu().where(draws.kind > 0, torch.nan))
            per_mass.append(limit.each.cpu())
        values = zip(*(part.tolist() for part in own), strict=True) if own else [()] * len(pixels)
        subhalos = (part.tolist() for part in (draws.mass, *per_mass))
        rows: list[str] = []
        masses: list[str] = []
        for index, (image, scalars, *columns) in enumerate(
            zip(pixels, values, *subhalos, strict=True), self.start + self.finished
        ):
            name = self.classes.names[index % len(self.classes.names)]
            part = [PARTS[int(draws.scalars["part"][len(rows)])]] if self._parts else []
            rows.append(",".join((str(index), name, content_hash(image), *part, *map(_shown, scalars))))
            masses += [
                ",".join((str(index), *map(_shown, subhalo))) for mass, *subhalo in zip(*columns, strict=True) if mass
            ]
        return rows, masses

    def _cut(self) -> None:
        """Cut all files to the finished images."""
        self._pixels.settle(self.finished)
        self._masses.cut(self.start + self.finished)
        self._catalog.cut(self.start + self.finished)


def finished_images(directory: Path) -> int:
    """The number of images that are there in full: the whole rows of the catalogue."""
    file = directory / "catalog.csv"
    if not file.exists():
        return 0
    with file.open("rb") as lines:
        return max(sum(line.endswith(b"\n") for line in lines) - 1, 0)


def subhalo_names(lens_set: LensSet) -> list[str]:
    """The columns of `subhalos.csv`, but for the image's index."""
    names = ["x", "y", "mass", "einstein_radius"]
    return (
        names if lens_set.subhalos.profile is None else [*names, "concentration", "scale_radius", "truncation_radius"]
    )


def subhalo_columns(draws: Draws, lens_set: LensSet) -> list[Tensor]:
    """What is known of each subhalo, (B, K) in the order of the names; NaN where there is no such thing."""
    profile = lens_set.subhalos.profile
    columns = [draws.x, draws.y, draws.mass, einstein_radii(draws, lens_set)]
    if profile is None:
        return columns
    scale = draws.scale.where(draws.scale > 0, torch.nan)
    return [*columns, draws.concentration, scale, scale * profile.truncation]


def _shown(value: float) -> str:
    return "" if value != value else f"{value:.9g}"


class Packed:
    """`images.npy`. Its heading says how many images there are, and is written in place after each block."""

    heading = 128
    """Bytes; numpy leaves room in it for any number of images."""

    def __init__(self, directory: Path, shape: tuple[int, ...], stored: str) -> None:
        self.file, self.shape = directory / "images.npy", shape
        self.type = np.dtype({"float16": "<f2", "float32": "<f4"}[stored])
        self.file.touch()

    @staticmethod
    def of_file(file: Path) -> Packed:
        """The array that is in a file."""
        there = np.load(file, mmap_mode="r")
        return Packed(file.parent, there.shape[1:], there.dtype.name)

    def take_over(self, start: int, other: Packed) -> None:
        """Write all images of another file from image `start` on."""
        with other.file.open("rb") as source, self.file.open("r+b") as file:
            source.seek(other.heading)
            file.seek(self.heading + start * self._bytes())
            shutil.copyfileobj(source, file, 1 << 24)
            file.flush()
            os.fsync(file.fileno())

    def stored(self, counts: Tensor) -> np.ndarray:
        if self.type.itemsize == 2:
            counts = counts.half()  # on the device: half the way across
        return counts.cpu().numpy()

    def whole(self) -> int:
        """Images that the file is long enough for."""
        return max(self.file.stat().st_size - self.heading, 0) // self._bytes()

    def append(self, start: int, pixels: np.ndarray) -> None:
        with self.file.open("r+b", buffering=0) as file:
            file.seek(self.heading + start * self._bytes())
            _write(file, pixels.astype(self.type, copy=False).tobytes())
            os.fsync(file.fileno())

    def settle(self, count: int) -> None:
        """Make it a file of `count` images; takes no room on the disk beyond theirs."""
        heading = io.BytesIO()
        about = {"descr": self.type.str, "fortran_order": False, "shape": (count, *self.shape)}
        np.lib.format.write_array_header_1_0(heading, about)
        assert heading.tell() == self.heading
        with self.file.open("r+b", buffering=0) as file:
            _write(file, heading.getvalue())
            file.truncate(self.heading + count * self._bytes())

    def _bytes(self) -> int:
        return self.type.itemsize * math.prod(self.shape)


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


class Table:
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
