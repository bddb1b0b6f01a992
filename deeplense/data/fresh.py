"""The batches of `--online`: which streams of simulated images a run sees, and when.

A run may begin with what teaches the faster. Images with many subhalos (`--crowd`): each of these teaches as much as
one by itself, so that a network learns their looks from a fraction of the images. And images of an easier set
(`--first-set`), which teach it what to look for. How things really are it learns in the steps after that.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from deeplense.config import SimulationConfig, TrainConfig
from deeplense.data.batches import Lesson, StreamBatches
from deeplense.errors import InputError
from deeplense.simulation.sets import LensSet, find_set
from deeplense.simulation.variants import crowded

if TYPE_CHECKING:
    from deeplense.simulation.stream import ImageStream

OLD = 0.05
"""The most that an average of weights may be of those that lessons left."""


def lessons_of(name: str, simulation: SimulationConfig) -> list[tuple[LensSet, float]]:
    """What a run on the set called `name` begins with, and up to which part of the run each of it goes.

    Raises:
        InputError: there is no such set, none with more subhalos, or one of other images.
    """
    own = find_set(name)
    first = _alike(own, simulation.first_set) if simulation.first_set else own
    crowd_part = simulation.crowd_part if simulation.crowd else 0.0
    first_part = simulation.first_part if simulation.first_set else 0.0
    lessons, begin = [], 0.0
    for end in sorted({crowd_part, first_part} - {0.0}):
        seen = first if begin < first_part else own
        lessons.append((crowded(seen, simulation.crowd) if begin < crowd_part else seen, end))
        begin = end
    return lessons


def fresh_batches(config: TrainConfig, **common: Any) -> StreamBatches:
    """Those of a run; `common` has the other fields of `StreamBatches`.

    Raises:
        InputError: see `lessons_of`; or an average of weights would hold too much of what lessons left.
    """
    from deeplense.simulation.stream import ImageStream  # here, since most runs need none of it

    simulation, device = config.simulation, common["store"].device

    def stream_of(lens_set: LensSet) -> ImageStream:
        return ImageStream(lens_set, simulation.classes, config.run.seed, device)

    own = stream_of(find_set(config.data.data))
    batches = StreamBatches(stream=own, epoch_images=simulation.epoch_images, **common)
    steps = config.optimization.epochs * batches.steps
    lessons = tuple(
        Lesson(stream_of(lens_set), round(part * steps)) for lens_set, part in lessons_of(config.data.data, simulation)
    )
    if lessons:
        _check_average(config.optimization.ema_decay, steps - max(lesson.until for lesson in lessons))
    return dataclasses.replace(batches, lessons=lessons)


def say_fresh(simulation: SimulationConfig) -> str:
    """What is printed of them."""
    said = f"{simulation.epoch_images} fresh ones an epoch"
    if simulation.first_set:
        said += f"; of {simulation.first_set} in the first {simulation.first_part:.0%} of the training"
    if simulation.crowd:
        said += f"; {simulation.crowd:g} subhalos in the mean in the first {simulation.crowd_part:.0%}"
        said += "" if simulation.first_set else " of the training"
    return said


def _alike(own: LensSet, name: str) -> LensSet:
    """The set called `name`, if a network may see its images in place of those of `own`."""
    try:
        other = find_set(name)
    except InputError as error:
        raise InputError(f"--first-set {error}") from None
    (of_own, said_own), (of_other, said_other) = _images_of(own), _images_of(other)
    if of_own != of_other:
        raise InputError(
            f"--first-set {name}: has images of {said_other} where {own.name} has {said_own}: give a set of the same"
        )
    return other


def _images_of(lens_set: LensSet) -> tuple[tuple[int, int, float], str]:
    camera = lens_set.camera
    bands = f"{camera.bands} bands of " if camera.bands > 1 else ""
    size = camera.bands, camera.pixels, camera.pixel_scale
    return size, f'{bands}{camera.pixels} x {camera.pixels} px of {camera.pixel_scale:g}"'


def _check_average(decay: float | None, left: int) -> None:
    """`left` steps are of the run's own images."""
    if decay and decay**left > OLD:
        remedy = f"{math.floor(1000 * OLD ** (1 / left)) / 1000:g} or less" if left else "None"
        raise InputError(
            f"--ema-decay {decay:g}: {decay**left:.0%} of the average would be of weights that --crowd or --first-set "
            f"left, {left} steps before the end: give {remedy}"
        )
