"""What is known of simulated images: where their subhalos are, and how large their Einstein ring is."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.data.augment import seen_part
from deeplense.data.imageset import ImageSet
from deeplense.data.labels import read_csv
from deeplense.data.packed import read_about
from deeplense.errors import InputError

HEAVY = 1e9
"""Msun that a subhalo must exceed to be looked for."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth of n images. The x axis runs along the rows of an image and the y axis along its columns, both with the
    index of the pixels, from the lens at the centre; arcsec."""

    half_width: tuple[float, float]
    """From the centre to the edges of the outermost pixels that the network sees, along x and y."""
    einstein_radius: np.ndarray
    """(n,) of the main lens."""
    subhalos: list[np.ndarray]
    """For each image (k, 3): x, y and mass in Msun of its point masses, be they subhalos or parts of a vortex: of those
    in view."""

    def take(self, rows: Sequence[int]) -> Truth:
        """The truth of some of the images."""
        return Truth(self.half_width, self.einstein_radius[list(rows)], [self.subhalos[row] for row in rows])

    def pixel_centres(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """x of the columns and y of the rows, (size,) each, of an image resampled to `size` pixels a side.

        `augment.resample` keeps the edges of what is seen where they are, whatever the size.
        """
        middle = (2 * np.arange(size) + 1) / size - 1
        return self.half_width[0] * middle, self.half_width[1] * middle


def peak_positions(maps: np.ndarray, truth: Truth) -> np.ndarray:
    """Where each map (n, S, S) is highest: (n, 2), x and y in arcsec."""
    size = maps.shape[-1]
    rows, columns = np.divmod(maps.reshape(len(maps), -1).argmax(1), size)
    x, y = truth.pixel_centres(size)
    return np.stack([x[columns], y[rows]], 1)


def truth_of(images: ImageSet, indices: np.ndarray, crop: float = 1.0, fit: str = "pad") -> Truth | None:
    """The truth of some images of a set, found by the content of each; None for a set that has none.

    Args:
        crop, fit: what of an image the network sees, as in `DataConfig`.

    Raises:
        InputError: the set's files contradict each other.
    """
    folder = images.folder
    if folder is None or not (folder / "subhalos.csv").is_file():
        return None
    about = read_about(folder)
    try:
        scale = float(about["pixel_scale"])
        rows = _catalog(folder, {images.hashes[index] for index in indices})
        own = [rows[images.hashes[index]] for index in indices]
        fixed = about["parameters"]["halo"]["einstein_radius"].get("value")
        radii = [float(row.get("einstein_radius") or fixed) for row in own]
        masses = _point_masses(folder / "subhalos.csv", [int(row["index"]) for row in own])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder}: its truth cannot be read ({type(error).__name__}: {error}): make the set again"
        ) from None
    assert isinstance(images.pixels, np.ndarray)  # simulated images are of one size
    height, width = images.pixels.shape[2:]
    tall, wide = seen_part(height, width, fit)
    edges = (width * wide * crop * scale / 2, height * tall * crop * scale / 2)
    seen = [own[(np.abs(own[:, :2]) < edges).all(1)] for own in masses]
    return Truth(edges, np.array(radii), seen)


def _catalog(folder: Path, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The rows of the catalogue by content, of the images wanted."""
    rows = read_csv(folder / "catalog.csv", "--data")
    return {row["sha256"]: row for row in rows if row["sha256"] in wanted}


def read_numbers(file: Path, columns: Sequence[str]) -> np.ndarray:
    """Columns (n, k) of a table of numbers, by their names, whatever spreadsheet wrote it; rows may be millions.

    Raises:
        OSError, ValueError: it cannot be read, or lacks a column.
    """
    head, _, rest = file.read_text(encoding="utf-8-sig").partition("\n")
    sign = max(",;\t", key=head.count)
    names = [name.strip() for name in head.split(sign)]
    places = [names.index(name) for name in columns]
    if not rest.strip():
        return np.empty((0, len(columns)))
    return np.loadtxt(io.StringIO(rest), delimiter=sign, usecols=places, ndmin=2)


def _point_masses(file: Path, wanted: list[int]) -> list[np.ndarray]:
    """x, y and mass of the point masses of each image wanted; the table is in order of the images."""
    table = read_numbers(file, ("index", "x", "y", "mass"))
    starts, stops = (np.searchsorted(table[:, 0], wanted, side) for side in ("left", "right"))
    return [table[start:stop, 1:] for start, stop in zip(starts, stops, strict=True)]
