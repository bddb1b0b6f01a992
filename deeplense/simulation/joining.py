"""Join the shares of a set, see `shares`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from deeplense.errors import InputError
from deeplense.simulation.files import Packed, Table, finished_images
from deeplense.simulation.shares import Part

TABLES = ("subhalos.csv", "catalog.csv")
"""In the order that they are written in: the catalogue's rows are what counts."""


def join_parts(directory: Path, name: str) -> int:
    """Join the shares of the set called `name` below `directory`, and return the number of images.

    An interrupted join goes on when it is asked for again. The folders of the shares go when all is there.

    Raises:
        InputError: there are no shares, or some are missing, unfinished, or of other settings than the first; then
            nothing has been touched.
    """
    if (directory / "dataset.json").exists() and not any(directory.glob("part-*-of-*")):
        return finished_images(directory)  # another task of the same array was faster
    parts = _find_parts(directory)
    first = parts[0][1]
    if first.get("name") != name:
        raise InputError(f"{directory}: has shares of {first.get('name')}, and none of {name}: name that set")
    _refuse_unfit(directory, parts)
    for name in ("images.npy", *TABLES):
        if not (directory / name).exists():
            (parts[0][0] / name).rename(directory / name)
    pixels = Packed.of_file(directory / "images.npy")
    for folder, about in parts[1:]:
        done = finished_images(directory)
        if about["start"] + about["count"] <= done:
            continue
        # What an interruption left of this share's is written over, or cut off.
        pixels.take_over(done, Packed.of_file(folder / "images.npy"))
        for name in TABLES:
            header = (directory / name).read_text(encoding="utf-8").partition("\n")[0]
            table = Table(directory / name, header.split(","))
            table.cut(done)
            table.append((folder / name).read_text(encoding="utf-8").splitlines()[1:])
    pixels.settle(first["total"])
    own = {key: value for key, value in first.items() if key not in ("part", "start", "total", "count")}
    draft = directory / ".dataset.json"
    draft.write_text(json.dumps({**own, "count": first["total"]}, indent=2) + "\n")
    draft.replace(directory / "dataset.json")
    for folder, _ in parts:
        shutil.rmtree(folder)
    return int(first["total"])


def _find_parts(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and description of each share, in order."""
    folders = sorted(directory.glob("part-*-of-*"))
    if not folders:
        raise InputError(f"{directory}: has no shares to join: make them with --part K/N")
    sizes = {folder.name.rpartition("-")[2] for folder in folders}
    if len(sizes) > 1:
        raise InputError(
            f"{directory}: has shares of {' and of '.join(sorted(sizes))} parts: remove those that are not wanted"
        )
    of = int(sizes.pop())
    missing = [place for place in range(1, of + 1) if not (Part(place, of).folder(directory) / "dataset.json").exists()]
    if missing:
        raise InputError(f"{directory}: {_named(missing, of)} missing: make them with --part K/{of}")
    parts = []
    for place in range(1, of + 1):
        folder = Part(place, of).folder(directory)
        try:
            about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            about["start"], about["count"], about["total"] = (int(about[key]) for key in ("start", "count", "total"))
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder / 'dataset.json'}: is damaged: make this share again") from None
        parts.append((folder, about))
    return parts


def _refuse_unfit(directory: Path, parts: list[tuple[Path, dict[str, Any]]]) -> None:
    of, first, joined = len(parts), parts[0][1], finished_images(directory)
    own = ("made_by", "count", "part", "start")
    for place, (folder, about) in enumerate(parts, 1):
        differing = [key for key in first | about if key not in own and about.get(key) != first.get(key)]
        if differing:
            raise InputError(f"{folder}: {', '.join(differing)} differ from those of part 1: make this share again")
        if (about["start"], about["start"] + about["count"]) != Part(place, of).span(first["total"]):
            raise InputError(f"{folder}: is no share {place} of {of} of {first['total']} images: make it again")
    unfinished = [
        place
        for place, (folder, about) in enumerate(parts, 1)
        if about["start"] + about["count"] > joined and finished_images(folder) < about["count"]
    ]
    if unfinished:
        raise InputError(
            f"{directory}: {_named(unfinished, of)} not finished: give their commands again, and then join"
        )


def _named(places: list[int], of: int) -> str:
    several = len(places) > 1
    return f"part{'s' if several else ''} {', '.join(map(str, places))} of {of} {'are' if several else 'is'}"
