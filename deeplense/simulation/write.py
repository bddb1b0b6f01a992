"""Write a simulated set with its truth to disk, a block at a time, so that it can be interrupted and gone on with.

The set is described in `dataset.json` (`simulation.json` beside class folders, which readers of packed sets would
take for one of theirs); the other files are the subject of `files`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import importlib.metadata
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import deeplense
from deeplense.errors import InputError
from deeplense.simulation.files import Format, SetFiles, finished_images
from deeplense.simulation.gallery import Pictures
from deeplense.simulation.limit import signal_to_noise
from deeplense.simulation.sets import Classes, LensSet, find_classes, find_set
from deeplense.simulation.shares import Part
from deeplense.simulation.simulator import Simulator

BLOCK = 256
"""Images between two points where an interrupted run goes on: 25 MB of memory at 150 pixels."""

_ABOUT: dict[Format, str] = {"packed": "dataset.json", "folders": "simulation.json"}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def simulate_set(
    name: str | LensSet,
    directory: Path | str,
    count: int,
    classes: Sequence[str] = ("no_sub", "cdm"),
    seed: int = 0,
    device: torch.device | str = "cpu",
    form: Format = "packed",
    progress: bool = True,
    snr: bool = False,
    part: Part | None = None,
) -> None:
    """See to it that `directory` holds images 0 to `count` of a set; those that are there are not made again.

    With `snr` the tables have the limit of an observer as well, see `limit`: tens of images are rendered for each one.

    Classes take turns, so that the first n images do not depend on `count`: image n has label n mod C and is number
    n div C of its class.

    With `part` K of N only that share of them is made, in a folder of its own below `directory`, see `shares`.

    Raises:
        InputError: an unknown set or class, a count below 1, galaxies in class folders, a folder that holds something
            else, or a full disk.
    """
    lens_set, found = find_set(name) if isinstance(name, str) else name, find_classes(classes)
    if count < 1:
        raise InputError(f"--count {count}: give the number of images, 1 or more")
    if form == "folders" and isinstance(lens_set.source, Pictures):
        raise InputError(
            "--format folders: says no parts, and a galaxy would be the source of training and of test images: "
            "give --format packed"
        )
    directory, start, stop = Path(directory), 0, count
    about = describe(lens_set, found, seed, form, device) | ({"snr": True} if snr else {})
    if part is not None:
        if form != "packed":
            raise InputError("--part: shares are packed sets: leave --format out")
        if (directory / _ABOUT[form]).exists():
            raise InputError(f"{directory}: holds a whole set already: give another folder, or leave --part out")
        directory, (start, stop) = part.folder(directory), part.span(count)
        about |= {"part": [part.place, part.of], "start": start, "total": count}
    with writing(directory, stop - start):
        directory.mkdir(parents=True, exist_ok=True)
        with alone(directory):
            _claim(directory, about, stop - start, form)
            files = SetFiles(directory, form, found, lens_set, snr, start)
            _fill(files, Simulator(lens_set, found, seed, device), stop - start, progress)


@contextlib.contextmanager
def writing(directory: Path, count: int) -> Iterator[None]:
    """Say what can be done where a folder of `count` images cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise InputError(f"{directory}: cannot be written ({error.strerror})") from None
        raise InputError(
            f"{directory}: the disk is full; {finished_images(directory)} of {count} images are there "
            "and can be used: make room and give the same command again to go on"
        ) from None


def describe(
    lens_set: LensSet, classes: Classes, seed: int, form: Format = "packed", device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """What is written about a set. All but `made_by` and `count` say which set it is.

    So does `device`, where it was not a CPU: another one rounds differently, and some counts differ by one.
    """
    kind = torch.device(device).type
    return {
        "name": lens_set.name,
        "version": lens_set.version,
        "seed": seed,
        "classes": list(classes.names),
        "pixel_scale": lens_set.camera.pixel_scale,
        "unit": lens_set.camera.unit,
        "format": form,
        "parameters": _plain(lens_set),
        **({} if kind == "cpu" else {"device": kind}),
        "made_by": {
            "deeplense": deeplense.__version__,
            "torch": torch.__version__,
            "caustics": importlib.metadata.version("caustics"),
        },
    }


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries that name their class: a uniform law and a logarithmic one have the same fields.

    A field that came later is left out where it says what was so before, that older sets are the same as ever.
    """
    if dataclasses.is_dataclass(value):
        own = {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not field.metadata.get("pixels")
            and not (field.metadata.get("later") and getattr(value, field.name) == field.default)
        }
        return {"is": type(value).__name__, **own}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Wait until nobody else writes to the folder: two runs may want a set of the cache for the first time."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go with the process, however it ends
        yield
    finally:
        os.close(handle)


def _claim(directory: Path, about: dict[str, Any], count: int, form: Format) -> None:
    """Make the folder this set's, or see that it is; note how many images it is to hold."""
    file = directory / _ABOUT[form]
    draft = file.with_name(f".{file.name}")
    if file.exists():
        there = _read(file)
        wanted, free = json.loads(json.dumps(about)), ("made_by", "count")
        differing = [key for key in wanted | there if key not in free and there.get(key) != wanted.get(key)]
        if differing:
            raise InputError(
                f"{directory}: holds another set ({', '.join(differing)} differ): "
                "give another folder, or remove this one"
            )
        if there["count"] >= count:
            return
    elif any(path != draft for path in directory.iterdir()):
        raise InputError(f"{directory}: holds other files: give an empty folder or a new one")
    # In full before it has its name: an interruption leaves the old one or none.
    draft.write_text(json.dumps({**about, "count": count}, indent=2) + "\n", encoding="utf-8")
    draft.replace(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(about, dict) and isinstance(about.get("count"), int):
            return about
    except ValueError:
        pass
    raise InputError(f"{file}: is no simulated set's description: give another folder, or remove this one")


def _fill(files: SetFiles, simulator: Simulator, count: int, progress: bool) -> None:
    """Make the images that are missing, a block at a time."""
    ways = len(simulator.classes.names)
    with tqdm(
        desc=simulator.lens_set.name,
        total=count,
        initial=files.finished,
        unit="image",
        disable=None if progress else True,
    ) as bar:
        while files.finished < count:
            last = min(files.finished + BLOCK, count)
            index = files.start + torch.arange(files.finished, last, device=simulator.device)
            counts, draws = simulator.make(index // ways, index % ways)
            files.append(counts, draws, signal_to_noise(draws, simulator.lens_set) if files.snr else None)
            bar.update(len(index))
