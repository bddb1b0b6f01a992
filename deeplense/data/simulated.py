"""Simulated sets as data: made on first use, kept in the cache, and opened like any other set."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import torch

from deeplense.config import DataConfig, SimulationConfig, SplitConfig
from deeplense.data.cache import cache_folder
from deeplense.data.images import load_images
from deeplense.data.imageset import ImageSet
from deeplense.data.opening import opening_of, tell
from deeplense.data.packed import read_packed
from deeplense.errors import InputError
from deeplense.simulation.sets import OF_GALAXIES, SETS, find_classes, find_set


def load_data(data: DataConfig, simulation: SimulationConfig, split: SplitConfig) -> ImageSet:
    """The images of a run: at a place, or simulated.

    Simulated on the CPU, wherever the run trains: a GPU rounds logarithms and cosines another way, some counts would
    differ by one, and with them the split, which is drawn over the content of the images. With `online` only the
    images for validation and test are made, and said to be that.

    Raises:
        InputError: see `load_images` and `simulate_set`.
    """
    if data.data not in SETS:
        if simulation.online:
            raise InputError(f"--online: --data {data.data} is no simulated set; there are {', '.join(SETS)}")
        if data.data in OF_GALAXIES and not Path(data.data).exists():
            find_set(data.data)  # says that it is made by a command of its own
        return load_images(data.data, data.bad_images, how=opening_of(data))
    _refuse_choices(data)
    mention_folder(data.data)
    if not simulation.online:
        return simulated(data.data, simulation.count, simulation.classes, simulation.simulation_seed)
    held_out = round(simulation.count * (split.val_fraction + split.test_fraction))
    if not held_out:
        raise InputError("--online: validation and test images need --val-fraction and --test-fraction, and a --count")
    images = simulated(data.data, held_out, simulation.classes, simulation.simulation_seed)
    return dataclasses.replace(images, parts=["val"] * len(images))


def mention_folder(name: str) -> None:
    """Say that a simulated set was meant where a folder is called like it."""
    if Path(name).is_dir():
        tell(f"--data {name} is the simulated set of that name, and not the folder: give ./{name} for that")


def _refuse_choices(data: DataConfig) -> None:
    """What says how files are to be understood means nothing where there are none."""
    for flag, value in (("--labels", data.labels), ("--positive", data.positive), ("--fits-hdu", data.fits_hdu)):
        if value is not None:
            raise InputError(f"{flag} {value}: --data {data.data} is simulated, and needs none: leave it out")
    if data.bands:
        raise InputError(f"--bands {' '.join(data.bands)}: --data {data.data} is simulated in one band: leave it out")


def simulated(
    name: str, count: int, classes: tuple[str, ...], seed: int, device: torch.device | str = "cpu"
) -> ImageSet:
    """The first `count` images of a simulated set, made now as far as they are not in the cache yet."""
    from deeplense.simulation.write import describe, simulate_set  # here, since runs on real images need none of it

    about = describe(find_set(name), find_classes(classes), seed, device=device)
    del about["made_by"]
    key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    folder = cache_folder() / f"{name}-{key}"
    simulate_set(name, folder, count, classes, seed, device)
    return read_packed(folder).first(count)
