"""Packed sets: one array of images with a table beside it. What the simulator writes, and the cache of folders.

dataset.json   name, version, classes, and what made it
images.npy     (N, H, W) or (N, C, H, W), uint8, uint16, float16 or float32, memory-mapped
catalog.csv    index,class, and further columns (`path`, `part` and `sha256` are used where they stand)
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deeplense.content import content_hash
from deeplense.data.decode import MAX_SIDE, MIN_SIDE
from deeplense.data.imageset import ImageSet, ordered_classes
from deeplense.errors import InputError

DTYPES = ("uint8", "uint16", "float16", "float32")


def is_packed(folder: Path) -> bool:
    """Whether `folder` claims to be a packed set."""
    return (folder / "dataset.json").is_file()


def read_packed(folder: Path, bad_images: str = "error") -> ImageSet:
    """Open a packed set; its pixels stay on disk, mapped.

    Raises:
        InputError: a file that is missing, damaged, or does not fit the others.
    """
    about = read_about(folder)
    pixels = _map_images(folder / "images.npy")
    rows = _read_catalog(folder / "catalog.csv", len(pixels))
    classes = ordered_classes(about["classes"])
    names = [row.get("class", "") for row in rows]
    unknown = sorted(set(names) - set(classes) - {""})
    if unknown:
        raise InputError(f"{folder / 'catalog.csv'}: class {unknown[0]} is not among those of dataset.json")
    labels = None
    if classes:
        label_of = {name: label for label, name in enumerate(classes)}
        if "" in names:
            raise InputError(f"{folder / 'catalog.csv'}: image {names.index('')} has no class: add it")
        labels = np.array([label_of[name] for name in names], dtype=np.int64)
    hashes, bad = _hashes(pixels, rows)
    if bad and bad_images == "error":
        raise InputError(
            f"{folder / 'images.npy'}: {len(bad)} of {len(pixels)} images have NaN or infinite pixels, image {bad[0]} "
            "for one: mend them, or leave them out with --bad-images skip"
        )
    images = ImageSet(
        pixels=pixels,
        labels=labels,
        classes=classes,
        paths=[row.get("path") or f"images.npy/{index}" for index, row in enumerate(rows)],
        hashes=hashes,
        parts=[row["part"] for row in rows] if rows and rows[0].get("part") else None,
        folder=folder,
    )
    if not bad:
        return images
    print(f"warning: left out {len(bad)} of {len(pixels)} images with NaN or infinite pixels", file=sys.stderr)
    return images.take([index for index in range(len(pixels)) if index not in set(bad)])


def write_packed(folder: Path, images: ImageSet, about: dict[str, object]) -> None:
    """Write table and description of a set whose `images.npy` is in `folder` already."""
    with (folder / "catalog.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["index", "class", "path", "part", "sha256"])
        for index, (path, sha256) in enumerate(zip(images.paths, images.hashes, strict=True)):
            name = "" if images.labels is None else images.classes[images.labels[index]]
            part = "" if images.parts is None else images.parts[index]
            table.writerow([index, name, path, part, sha256])
    description = {**about, "classes": list(images.classes)}
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")


def read_about(folder: Path) -> dict:
    """What `dataset.json` says. Raises `InputError` if it cannot be understood."""
    file = folder / "dataset.json"
    try:
        about = json.loads(file.read_text())
        about["classes"] = [str(name) for name in about["classes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged ({type(error).__name__}: {error}): make the set again") from None
    return about


def _map_images(file: Path) -> np.ndarray:
    """Map (N, C, H, W)."""
    try:
        pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({error}): make the set again") from None
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or pixels.dtype.name not in DTYPES:
        raise InputError(
            f"{file} has shape {pixels.shape} and type {pixels.dtype}: give (N, H, W) or (N, C, H, W) "
            f"with 1 or 3 channels, of {', '.join(DTYPES)}"
        )
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in pixels.shape[2:]):
        raise InputError(
            f"{file} has images of {pixels.shape[2]} x {pixels.shape[3]} pixels: "
            f"sides from {MIN_SIDE} to {MAX_SIDE} are admitted"
        )
    return pixels


def _read_catalog(file: Path, count: int) -> list[dict[str, str]]:
    try:
        with file.open(newline="") as table:
            rows = list(csv.DictReader(table))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({error}): make the set again") from None
    if len(rows) != count:
        raise InputError(f"{file} has {len(rows)} rows for {count} images: make the set again")
    return rows


def _hashes(pixels: np.ndarray, rows: list[dict[str, str]]) -> tuple[list[str], list[int]]:
    """The content hashes, and which images have pixels that are no numbers.

    From the table if it has hashes, since who wrote them has looked at the pixels; else from the pixels.
    """
    if rows and rows[0].get("sha256"):
        return [row["sha256"] for row in rows], []
    hashes, bad = [], []
    for index, image in enumerate(tqdm(pixels, desc="reading pixels", unit="image", disable=None)):
        hashes.append(content_hash(image))
        if not np.isfinite(image).all():
            bad.append(index)
    return hashes, bad
