"""The batches of `--online`: which streams of simulated images a run sees, and when.

A run may begin with what teaches the faster. Images with many subhalos (`--crowd`): each of these teaches as much as
one by itself, so that a network learns their looks from a fraction of the images. And images of an easier set
(`--first-set`), which teach it what to look for. How things really are it learns in the steps after that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from deeplense.config import SimulationConfig, TrainConfig
from deeplense.data.batches import Lesson, StreamBatches
from deeplense.errors import InputError
from deeplense.simulation.sets import SETS, LensSet, find_set
from deeplense.simulation.variants import crowded

if TYPE_CHECKING:
    from deeplense.simulation.stream import ImageStream

OLD = 0.05
"""The most that an average of weights may be of those that lessons left."""


def lessons_of(config: TrainConfig) -> list[tuple[LensSet, int]]:
    """What a run on a simulated set sees before its own images, and up to which of all its steps; the last of these
    has its own images whatever the parts are.

    Raises:
        InputError: there is no such set, none with more subhalos, or one of other images; or an average of weights
            would be too much of those that lessons left.
    """
    simulation, optimization = config.simulation, config.optimization
    own = find_set(config.data.data)
    first = _alike(own, simulation.first_set) if simulation.first_set else own
    crowd_part = simulation.crowd_part if simulation.crowd else 0.0
    first_part = simulation.first_part if simulation.first_set else 0.0
    steps = optimization.epochs * (simulation.epoch_images // optimization.batch_size)
    lessons, begin = [], 0.0
    for end in sorted({crowd_part, first_part} - {0.0}):
        seen = first if begin < first_part else own
        seen = crowded(seen, simulation.crowd) if begin < crowd_part else seen
        lessons.append((seen, min(round(end * steps), steps - 1)))
        begin = end
    if lessons:
        _check_average(optimization.ema_decay, steps - lessons[-1][1])
    return lessons


def fresh_batches(config: TrainConfig, **common: Any) -> StreamBatches:
    """Those of a run; `common` has the other fields of `StreamBatches`.

    Raises:
        InputError: see `lessons_of`.
    """
    from deeplense.simulation.stream import ImageStream  # here, since most runs need none of it

    simulation, device = config.simulation, common["store"].device

    def stream_of(lens_set: LensSet) -> ImageStream:
        return ImageStream(lens_set, simulation.classes, config.run.seed, device)

    lessons = tuple(Lesson(stream_of(lens_set), until) for lens_set, until in lessons_of(config))
    own = stream_of(find_set(config.data.data))
    return StreamBatches(stream=own, epoch_images=simulation.epoch_images, lessons=lessons, **common)


def say_fresh(simulation: SimulationConfig) -> str:
    """What is printed of them."""
    said = [f"{simulation.epoch_images} fresh ones an epoch"]
    if simulation.first_set:
        said.append(f"in the first {simulation.first_part:.0%} of the training of {simulation.first_set}")
    if simulation.crowd:
        said.append(f"in the first {simulation.crowd_part:.0%} with {simulation.crowd:g} subhalos in the mean")
    return "; ".join(said)


def _alike(own: LensSet, name: str) -> LensSet:
    """The set called `name`, if a network may see its images in place of those of `own`."""
    if name not in SETS:
        raise InputError(f"--first-set {name}: no simulated set has this name; there are {', '.join(SETS)}")
    if name == own.name:
        raise InputError(f"--first-set {name}: is the set of --data: leave it out")
    of_other, of_own = (_images_of(lens_set) for lens_set in (SETS[name], own))
    if of_other != of_own:
        raise InputError(
            f"--first-set {name}: has images of {of_other} where {own.name} has {of_own}: give a set of the same, "
            "or None"
        )
    return SETS[name]


def _images_of(lens_set: LensSet) -> str:
    camera = lens_set.camera
    bands = f"{camera.bands} bands of " if camera.bands > 1 else ""
    return f'{bands}{camera.pixels} x {camera.pixels} px of {camera.pixel_scale:g}"'


def _check_average(decay: float | None, left: int) -> None:
    """`left` steps are of the run's own images."""
    if decay and decay**left > OLD:
        raise InputError(
            f"--ema-decay {decay:g}: {decay**left:.0%} of the average would be of weights that --crowd or --first-set "
            f"left, {left} steps before the end: give {math.floor(1000 * OLD ** (1 / left)) / 1000:g} or less, or None"
        )
