"""Where the subhalos of images really are: from `subhalos.csv`, or from what was drawn just now, as a network sees it.

The places of stored and of fresh images take one way: coordinates from -1 to 1 across the stored image, then through
the map that turned the pixels, then cells of what the network sees. x runs along the rows and y along the columns.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeplense.content import content_hash
from deeplense.data.imageset import ImageSet
from deeplense.data.labels import read_csv
from deeplense.data.mixed import Mixed
from deeplense.data.names import is_smooth
from deeplense.data.packed import read_about
from deeplense.data.truth import read_numbers
from deeplense.errors import InputError
from deeplense.localisation.likelihood import Subhalos
from deeplense.localisation.network import CELL

HEAVIEST = 1e12
"""Msun: what is heavier is no subhalo of a lens that makes an arc of a few arcsec."""
FAR = 0.5
"""Share of the subhalos outside their images above which places must be meant otherwise."""
LOOKED_AT = 16
"""Images whose pixels are compared with the content that the catalogue has for them."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """How lengths in an image are measured."""

    pixel: float | None
    """arcsec of a stored pixel; None: nobody said, and lengths are in stored pixels."""
    side: int
    """Stored pixels along a side."""
    crop: float
    """Part of it that the network sees."""
    size: int
    """Pixels a side of what the network sees."""

    @property
    def unit(self) -> str:
        return "px" if self.pixel is None else "arcsec"

    @property
    def edge(self) -> float:
        """From the centre to the edge of the stored image, in `unit`."""
        return self.side * (self.pixel or 1.0) / 2

    @property
    def half(self) -> float:
        """From the centre to the edge of what the network sees, in `unit`."""
        return self.edge * self.crop

    @property
    def seen_pixel(self) -> float:
        """A pixel that the network sees, in `unit`."""
        return 2 * self.half / self.size

    def from_cells(self, cells: np.ndarray) -> np.ndarray:
        """Places in cells, the first one from 0 to 1, to lengths from the centre."""
        return cells * (CELL * self.seen_pixel) - self.half

    def to_cells(self, lengths: np.ndarray) -> np.ndarray:
        """The other way."""
        return (lengths + self.half) / (CELL * self.seen_pixel)


@dataclasses.dataclass(frozen=True)
class TrueSubhalos:
    """The subhalos of n images, padded to K places; lengths from the centre, in arcsec where the scale is known."""

    x: np.ndarray
    """(n, K)."""
    y: np.ndarray
    mass: np.ndarray
    """(n, K) Msun; 0 where there is none."""

    @property
    def present(self) -> np.ndarray:
        """(n,) whether an image has any."""
        return np.asarray((self.mass > 0).any(1))

    def take(self, rows: np.ndarray) -> TrueSubhalos:
        """Those of some of the images."""
        return TrueSubhalos(self.x[rows], self.y[rows], self.mass[rows])

    def seen(self, half: float) -> TrueSubhalos:
        """Those within `half` of the centre, along x and y."""
        inside = (np.abs(self.x) < half) & (np.abs(self.y) < half)
        return TrueSubhalos(self.x, self.y, self.mass * inside)


def scale_of(images: ImageSet, crop: float, size: int) -> Scale:
    """How lengths are measured in `images`, of which the network sees a part in `size` pixels a side.

    Raises:
        InputError: they are not square, so that a turn would not keep lengths.
    """
    if isinstance(images.pixels, Mixed):
        raise InputError("--data: images of several sizes: --task locate wants them alike, cut them")
    height, width = images.pixels.shape[2:]
    if height != width:
        raise InputError(f"--data: images of {height} x {width} pixels: --task locate wants square ones, cut them")
    return Scale(pixel_scale(images), width, crop, size)


def pixel_scale(images: ImageSet) -> float | None:
    """arcsec of a pixel, where the set says so."""
    folder = truth_folder(images)
    if folder is None:
        return None
    try:
        scale = about_set(folder).get("pixel_scale")
        return None if scale is None else float(scale)
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder}: its pixel_scale is no number ({error}): give arcsec") from None


def truth_folder(images: ImageSet) -> Path | None:
    """The folder with the files about a set: the packed set itself, or the class folders that were decoded from."""
    if images.folder is None or (images.folder / "subhalos.csv").is_file():
        return images.folder
    made_of = read_about(images.folder).get("made_of")
    return Path(made_of) if made_of else images.folder


def has_truth(images: ImageSet) -> bool:
    """Whether there is a `subhalos.csv`."""
    folder = truth_folder(images)
    return folder is not None and (folder / "subhalos.csv").is_file()


def read_truth(images: ImageSet, where: str) -> TrueSubhalos:
    """The subhalos of all images of a set, found by the content of each.

    Args:
        where: what the user calls the set.

    Raises:
        InputError: there is no `subhalos.csv`, it is damaged, it is of other images, or what it says cannot be.
    """
    folder = truth_folder(images)
    if folder is None or not (folder / "subhalos.csv").is_file():
        raise InputError(
            f"--data {where}: has no subhalos.csv, from which --task locate learns: make it with `python -m "
            "deeplense.simulation`, or add one with index,x,y,mass (arcsec, arcsec, Msun) beside a catalog.csv"
        )
    _compare_content(images, folder)
    rows, count = _rows_by_content(folder)
    lost = [path for path, sha256 in zip(images.paths, images.hashes, strict=True) if sha256 not in rows]
    if lost:
        raise InputError(
            f"{folder / 'catalog.csv'}: is of other images, {len(lost)} of {len(images)} are not in it by content, "
            f"{lost[0]} for one: restore the truth that belongs to them"
        )
    table = _masses(folder / "subhalos.csv", count)
    truth = _padded([rows[sha256] for sha256 in images.hashes], table)
    _refuse_nonsense(truth, images, folder)
    return truth


def unit_places(truth: TrueSubhalos, scale: Scale) -> Subhalos:
    """From -1 to 1 across the stored image, with log10 of the mass; on the CPU."""
    there = truth.mass > 0
    log_mass = np.log10(np.where(there, truth.mass, 1.0))
    places = np.stack([truth.x / scale.edge, truth.y / scale.edge, log_mass], 2).astype(np.float32)
    return Subhalos(torch.from_numpy(places), torch.from_numpy(there))


def carried(stored: Subhalos, maps: torch.Tensor | None, crop: float, size: int) -> Subhalos:
    """Where the subhalos are in what the network sees, in cells, as `augment.resample` has moved the pixels.

    Args:
        stored: from -1 to 1 across the stored image.
        maps: (B, 2, 3) from places in the result to places in the stored image, with orthonormal rows; None: not moved.
        crop: part of each side that the network sees.
        size: pixels a side of that. Subhalos that have left it are not there any more.
    """
    place = stored.places[..., :2] / crop  # (B, K, 2)
    if maps is not None:
        # The inverse of an orthonormal matrix is its transpose: row vectors are multiplied by the matrix itself.
        place = (place - maps[:, None, :, 2]) @ maps[:, :, :2]
    there = stored.there & (place.abs() < 1).all(2)
    cells = (place + 1) * (size / (2 * CELL))
    places = torch.cat([cells, stored.places[..., 2:]], 2)
    return Subhalos(torch.where(there[..., None], places, 0.0), there)


def about_set(folder: Path) -> dict[str, Any]:
    """What is written about a set: `dataset.json`, or beside class folders `simulation.json`."""
    for name in ("dataset.json", "simulation.json"):
        if (folder / name).is_file():
            try:
                about = json.loads((folder / name).read_text(encoding="utf-8-sig"))
            except (OSError, ValueError) as error:
                raise InputError(f"{folder / name} is damaged ({error}): make the set again") from None
            if isinstance(about, dict):
                return about
    return {}


def _compare_content(images: ImageSet, folder: Path) -> None:
    """Catalogues are believed, so some of the pixels are looked at: a catalogue copied from another set stands out."""
    for index in np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int)):
        if content_hash(np.asarray(images.pixels[index])) != images.hashes[index]:
            raise InputError(
                f"{folder / 'catalog.csv'}: is of other images, the pixels of {images.paths[index]} are not those that "
                "it has: restore the truth that belongs to them"
            )


def _rows_by_content(folder: Path) -> tuple[dict[str, int], int]:
    """Index of each image by its content, and how many there are."""
    file = folder / "catalog.csv"
    try:
        listed = [(row["sha256"], int(row["index"])) for row in read_csv(file, "--data")]
    except KeyError as error:
        raise InputError(f"{file}: has no column {error}: the truth is found by content, add it") from None
    except ValueError as error:
        raise InputError(f"{file} cannot be read ({error}): make the set again") from None
    return dict(listed), len(listed)


def _masses(file: Path, count: int) -> np.ndarray:
    """(m, 4): index, x, y and mass of each subhalo, in the order of the images."""
    try:
        table = read_numbers(file, ("index", "x", "y", "mass"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}): its columns are index,x,y,mass") from None
    if not len(table):
        return table
    if not np.isfinite(table).all() or (table[:, 3] <= 0).any():
        raise InputError(f"{file}: has a place or mass that is no number above 0 Msun: mend it")
    if table[:, 0].min() < 0 or table[:, 0].max() >= count:
        raise InputError(f"{file}: is of other images, it names image {table[:, 0].max():.0f} and there are {count}")
    return table[np.argsort(table[:, 0], kind="stable")]


def _padded(wanted: list[int], table: np.ndarray) -> TrueSubhalos:
    """The subhalos of images `wanted`, each with as many places as the richest of them has."""
    starts, stops = (np.searchsorted(table[:, 0], wanted, side) for side in ("left", "right"))
    most = int((stops - starts).max(initial=0))
    padded = np.zeros((3, len(wanted), max(most, 1)))
    for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        padded[:, row, : stop - start] = table[start:stop, 1:].T
    return TrueSubhalos(*padded)


def _refuse_nonsense(truth: TrueSubhalos, images: ImageSet, folder: Path) -> None:
    file, there = folder / "subhalos.csv", truth.mass > 0
    heaviest = float(truth.mass.max())
    if heaviest > HEAVIEST:
        raise InputError(
            f"{file}: a subhalo of {heaviest:.3g} Msun is heavier than a lens: are the masses a thousand times too "
            "heavy? give Msun"
        )
    scale = scale_of(images, 1.0, 1)
    outside = there & ((np.abs(truth.x) > scale.edge) | (np.abs(truth.y) > scale.edge))
    if outside.sum() > FAR * there.sum():  # a few of a population may well be
        row, unit = int(np.flatnonzero(outside.any(1))[0]), "pixels" if scale.pixel is None else "arcsec"
        raise InputError(
            f"{file}: {int(outside.sum())} of {int(there.sum())} subhalos are outside their images, one of "
            f"{images.paths[row]} for one: give x and y in {unit} from the centre"
        )
    smooth = [label for label, name in enumerate(images.classes) if is_smooth(name)]
    if images.labels is not None and smooth:
        wrong = there.any(1) & np.isin(images.labels, smooth)
        if wrong.any():
            raise InputError(
                f"{file}: is of other images, {int(wrong.sum())} of class {images.classes[smooth[0]]} have subhalos in "
                f"it, {images.paths[int(np.flatnonzero(wrong)[0])]} for one: restore the truth that belongs to them"
            )
