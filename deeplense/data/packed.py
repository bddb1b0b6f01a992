"""Packed sets: one array of images with a table beside it. What the simulator writes, and the cache of folders.

dataset.json   name, version, classes, and what made it
images.npy     (N, H, W) or (N, C, H, W), uint8, uint16, float16 or float32, memory-mapped
catalog.csv    index,class, and further columns (`path`, `part` and `sha256` are used where they stand)

In the cache the table has columns for what was found out of each image (`unit`, `high`, `rgb`), `looks.npy` holds what
near-copies have in common, and images that differ in size or type lie one behind the other in `images.npy`, their
forms in the table (`dtype`, `channels`, `height`, `width`).
"""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
from tqdm import tqdm

from deeplense.content import content_hash
from deeplense.data.decode import MAX_SIDE, MIN_SIDE, BadImage, unit_of
from deeplense.data.decode.pixels import MAX_BANDS, MISSING, canonical, mended
from deeplense.data.imageset import ImageSet, Light
from deeplense.data.labels import read_csv
from deeplense.data.mixed import Form, Mixed
from deeplense.data.names import PART_WORDS, fold, ordered_classes
from deeplense.data.near import look_of
from deeplense.data.opening import tell, tell_mended
from deeplense.errors import InputError

DTYPES = ("uint8", "uint16", "float16", "float32")

DESCRIPTION, IMAGES, CATALOG, LOOKS = "dataset.json", "images.npy", "catalog.csv", "looks.npy"


def is_packed(folder: Path) -> bool:
    """Whether `folder` is a packed set; a `dataset.json` alone may be somebody else's."""
    return (folder / DESCRIPTION).is_file() and (folder / IMAGES).is_file()


def read_packed(
    folder: Path, bad_images: str = "error", positive: str | None = None, bad_pixels: str = "error"
) -> ImageSet:
    """Open a packed set; its pixels stay on disk, mapped, unless some must be mended.

    Args:
        positive, bad_pixels: as in `DataConfig`.

    Raises:
        InputError: a file that is missing, damaged, or does not fit the others.
    """
    about = read_about(folder)
    array = _map(folder / IMAGES)
    mixed = about.get("form") == "mixed"
    rows = _read_catalog(folder / CATALOG, None if mixed else len(array))
    pixels = _mixed(folder, array, rows) if mixed else _plain(folder / IMAGES, array)
    classes = ordered_classes(about["classes"], positive)
    if classes and rows and "class" not in rows[0]:
        raise InputError(f"{folder / CATALOG}: has no column class, but {', '.join(filter(None, rows[0]))}: name it so")
    names = [row.get("class") or "" for row in rows]
    unknown = sorted(set(names) - set(classes) - {""})
    if unknown:
        raise InputError(f"{folder / CATALOG}: class {unknown[0]} is not among those of {DESCRIPTION}")
    labels = None
    if classes:
        label_of = {name: label for label, name in enumerate(classes)}
        if "" in names:
            raise InputError(f"{folder / CATALOG}: image {names.index('')} has no class: add it")
        labels = np.array([label_of[name] for name in names], dtype=np.int64)
    images = ImageSet(
        pixels=pixels,
        labels=labels,
        classes=classes,
        paths=[row.get("path") or f"{IMAGES}/{index}" for index, row in enumerate(rows)],
        hashes=[row.get("sha256") or "" for row in rows],
        parts=_parts(folder / CATALOG, rows),
        folder=folder,
    )
    if images.hashes and not all(images.hashes):
        return _looked_at(folder, images, bad_images, bad_pixels)
    # Who wrote hashes has looked at the pixels.
    if rows and rows[0].get("unit"):
        images = dataclasses.replace(
            images, light=_light(folder / CATALOG, rows), looks=_looks(folder / LOOKS, len(rows))
        )
    return images


def write_packed(
    folder: Path, images: ImageSet, about: dict[str, object], columns: dict[str, list[str]] | None = None
) -> None:
    """Write table and description of a set whose `images.npy` is in `folder` already.

    Args:
        columns: further ones of the table.
    """
    pixels, light = images.pixels, images.light
    with (folder / CATALOG).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        forms = ["dtype", "channels", "height", "width"] if isinstance(pixels, Mixed) else []
        numbers = [] if light is None else ["unit", "high", "rgb"]
        table.writerow(["index", "class", "path", "part", "sha256", *numbers, *forms, *(columns or {})])
        for index, (path, sha256) in enumerate(zip(images.paths, images.hashes, strict=True)):
            name = "" if images.labels is None else images.classes[images.labels[index]]
            part = "" if images.parts is None else images.parts[index]
            row = [index, name, path, part, sha256]
            if light is not None:
                row += [light.unit[index], repr(float(light.high[index])), int(light.rgb[index])]
            if isinstance(pixels, Mixed):
                kind, shape = pixels.forms[pixels.form_of[index]]
                row += [kind, *shape]
            table.writerow([*row, *(values[index] for values in (columns or {}).values())])
    description = {**about, "classes": list(images.classes)}
    if isinstance(pixels, Mixed):
        description["form"] = "mixed"
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def read_about(folder: Path) -> dict:
    """What `dataset.json` says. Raises `InputError` if it cannot be understood."""
    file = folder / DESCRIPTION
    try:
        about = json.loads(file.read_text(encoding="utf-8-sig"))
        about["classes"] = [str(name) for name in about["classes"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is damaged ({type(error).__name__}: {error}): make the set again") from None
    return about


def _map(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file} cannot be read ({error}): make the set again") from None


def _plain(file: Path, pixels: np.ndarray) -> np.ndarray:
    """(N, C, H, W)."""
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    if pixels.ndim != 4 or not 1 <= pixels.shape[1] <= MAX_BANDS or pixels.dtype.name not in DTYPES:
        raise InputError(
            f"{file} has shape {pixels.shape} and type {pixels.dtype}: give (N, H, W) or (N, C, H, W) "
            f"with up to {MAX_BANDS} channels, of {', '.join(DTYPES)}"
        )
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in pixels.shape[2:]):
        raise InputError(
            f"{file} has images of {pixels.shape[2]} x {pixels.shape[3]} pixels: "
            f"sides from {MIN_SIDE} to {MAX_SIDE} are admitted"
        )
    return pixels


def _mixed(folder: Path, buffer: np.ndarray, rows: list[dict[str, str]]) -> Mixed:
    try:
        forms: list[Form] = [
            (row["dtype"], (int(row["channels"]), int(row["height"]), int(row["width"]))) for row in rows
        ]
        pixels = Mixed.of(buffer, forms)
        if {kind for kind, _ in forms} <= set(DTYPES) and buffer.ndim == 1 and pixels.nbytes == len(buffer):
            return pixels
        reason = "they do not fit each other"
    except (KeyError, ValueError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise InputError(f"{folder / IMAGES} and {CATALOG} are damaged ({reason}): make the set again")


def _read_catalog(file: Path, count: int | None) -> list[dict[str, str]]:
    """The rows in the order of the images, whatever a spreadsheet has made of it."""
    rows = read_csv(file, "--data")
    if count is not None and len(rows) != count:
        raise InputError(f"{file} has {len(rows)} rows for {count} images: make the set again")
    if not rows or "index" not in rows[0]:
        return rows
    ordered: dict[int, dict[str, str]] = {}
    for line, row in enumerate(rows, 2):
        try:
            number = float(row["index"])
            index = int(number)
        except (TypeError, ValueError, OverflowError):
            number, index = -1.0, 0
        if number != index or not 0 <= index < len(rows) or index in ordered:
            raise InputError(
                f"{file}: line {line} has the index {row['index']}: give each of 0 to {len(rows) - 1} once, "
                "or no such column where rows are in the order of the images"
            )
        ordered[index] = row
    return [ordered[index] for index in range(len(rows))]


def _parts(file: Path, rows: list[dict[str, str]]) -> list[str] | None:
    """The part of each image, if the table says it."""
    said = [(row.get("part") or "").strip() for row in rows]
    if not any(said):
        return None
    for index, word in enumerate(said):
        if not word:
            raise InputError(f"{file}: image {index} has no part, and others have: give it train, val or test")
        if fold(word) not in PART_WORDS:
            raise InputError(f"{file}: image {index} has the part «{word}»: give train, val or test")
    return [PART_WORDS[fold(word)] for word in said]


def _light(file: Path, rows: list[dict[str, str]]) -> Light:
    try:
        return Light(
            unit=np.array([row["unit"] for row in rows]),
            high=np.array([float(row["high"]) for row in rows]),
            rgb=np.array([row["rgb"] == "1" for row in rows]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged ({type(error).__name__}: {error}): make the set again") from None


def _looks(file: Path, count: int) -> np.ndarray | None:
    if not file.is_file():
        return None
    looks = _map(file)
    if looks.ndim != 2 or len(looks) != count:
        raise InputError(f"{file} does not fit the other files: make the set again")
    return looks.astype(np.float32)


def _looked_at(folder: Path, images: ImageSet, bad_images: str, bad_pixels: str) -> ImageSet:
    """A set that somebody else has made: what is known of its images follows from their pixels."""
    hashes, looks, units, highs, bad, counts = [], [], [], [], [], []
    pixels = images.pixels
    assert isinstance(pixels, np.ndarray)
    whole = pixels
    rgb = pixels.dtype == np.uint8 and pixels.shape[1] == 3
    for index, image in enumerate(tqdm(pixels, desc="reading pixels", unit="image", disable=None)):
        try:
            fine, count = mended(canonical(image), bad_pixels)
        except BadImage:
            bad.append(index)
            fine, count = image, 0
        if count:
            whole = np.array(pixels) if whole is pixels else whole  # a copy, as the map is somebody's file
            whole[index] = fine
            counts.append(count)
        own = whole[index]
        hashes.append(content_hash(own))
        looks.append(look_of(own, rgb))
        units.append(unit_of(own, picture=False))
        highs.append(float(own.max()))
    tell_mended(sum(counts), len(counts), bad_pixels)
    images = dataclasses.replace(
        images,
        pixels=whole,
        hashes=hashes,
        looks=np.array(looks),
        light=Light(np.array(units), np.array(highs), np.full(len(pixels), rgb)),
    )
    if not bad:
        return images
    if bad_images == "error":
        raise InputError(
            f"{folder / IMAGES}: {len(bad)} of {len(pixels)} images have {MISSING}, image {bad[0]} for one: fill them "
            "with --bad-pixels zero or median, or leave them out with --bad-images skip"
        )
    tell(f"left out {len(bad)} of {len(pixels)} images with {MISSING}", "warning")
    return images.take([index for index in range(len(pixels)) if index not in set(bad)])
