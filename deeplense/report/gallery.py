"""Which images a report shows, and the sheets that they are packed into."""

from __future__ import annotations

import base64
import dataclasses
import io
from typing import Protocol

import numpy as np
from PIL import Image

from deeplense.report.evidence import Evidence

MOST = 4000
"""Images in a gallery: about 10 MB if they are noisy, 3 MB if not."""
SIDE = 96
"""Pixels of the longer side of an image in the gallery, at most."""
COLUMNS, PER_SHEET = 16, 256
BLOCK = 8
"""Pixels a side of the blocks that JPEG codes. Images that begin on such a border do not bleed into one another."""
QUALITY = 80


class Thumbnails(Protocol):
    """An array (n, H, W) or (n, 3, H, W) uint8, or what makes those rows of one that it is asked for."""

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Gallery:
    """The images of a report, m of n."""

    rows: np.ndarray
    """(m,) rows of `predictions.csv`, those first that are looked at first: the wrong and the uncertain."""
    note: str
    """Which images were left out; empty if none."""
    width: int
    height: int
    """Pixels of an image; it stands in the upper left of its cell."""
    cell_width: int
    cell_height: int
    colour: bool
    sheets: list[str]
    """JPEGs in base64."""


def make_gallery(evidence: Evidence, thumbnails: Thumbnails, most: int = MOST, seed: int = 0) -> Gallery:
    """Choose at most `most` images and pack them.

    All are taken if they are not too many, else all wrong and uncertain ones and a sample of the rest, drawn with
    `seed`; if even those are too many, a sample of them.
    """
    rows, note = _choose(evidence, most, seed)
    rows = rows[np.lexsort((evidence.certainty[rows], ~evidence.wrong[rows]))]
    width = height = 0
    colour = False
    sheets = []
    for start in range(0, len(rows), PER_SHEET):
        images = thumbnails[rows[start : start + PER_SHEET]]
        colour = images.ndim == 4
        shrink = max(1.0, max(images.shape[-2:]) / SIDE)
        height, width = (max(1, round(side / shrink)) for side in images.shape[-2:])
        sheets.append(_sheet(images, width, height))
    return Gallery(rows, note, width, height, _cell(width), _cell(height), colour, sheets)


def _choose(evidence: Evidence, most: int, seed: int) -> tuple[np.ndarray, str]:
    count = len(evidence.paths)
    if count <= most:
        return np.arange(count), ""
    random = np.random.default_rng(seed)
    wanted = evidence.wrong | evidence.uncertain
    first, rest = np.flatnonzero(wanted), np.flatnonzero(~wanted)
    kinds = "uncertain" if evidence.labels is None else "wrong or uncertain"
    if len(first) > most:
        rows = random.choice(first, most, replace=False)
        return rows, (
            f"{most:,} of {count:,} images are here: a random sample (seed {seed}) of the {len(first):,} that are "
            f"{kinds} at the run's own threshold. The numbers and curves above are of all."
        )
    rows = np.concatenate([first, random.choice(rest, most - len(first), replace=False)])
    return rows, (
        f"{most:,} of {count:,} images are here: all {len(first):,} that are {kinds} at the run's own threshold, "
        f"and a random sample (seed {seed}) of the rest. The numbers and curves above are of all."
    )


def _sheet(images: np.ndarray, width: int, height: int) -> str:
    """A JPEG of a grid of images (m, H, W) or (m, 3, H, W) uint8, in base64."""
    colour = images.ndim == 4
    cell_width, cell_height = _cell(width), _cell(height)
    lines = -(-len(images) // COLUMNS)
    cells = np.zeros((lines * COLUMNS, cell_height, cell_width, *((3,) if colour else ())), dtype=np.uint8)
    margin = ((0, cell_height - height), (0, cell_width - width), *(((0, 0),) if colour else ()))
    for cell, image in zip(cells, images, strict=False):
        small = Image.fromarray(np.moveaxis(image, 0, 2) if colour else image)
        if small.size != (width, height):
            small = small.resize((width, height), Image.Resampling.BICUBIC)
        cell[:] = np.pad(np.asarray(small), margin, mode="edge")  # an edge within a block would ring into the image
    grid = cells.reshape(lines, COLUMNS, *cells.shape[1:]).swapaxes(1, 2)
    content = io.BytesIO()
    sheet = Image.fromarray(grid.reshape(lines * cell_height, COLUMNS * cell_width, *cells.shape[3:]))
    sheet.save(content, "JPEG", quality=QUALITY, subsampling=0)
    return base64.b64encode(content.getvalue()).decode()


def _cell(side: int) -> int:
    return -(-side // BLOCK) * BLOCK
