"""The batches of `--online`: which streams of simulated images a run sees, and when."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from deeplense.config import SimulationConfig, TrainConfig
from deeplense.data.batches import Crowd, StreamBatches
from deeplense.simulation.sets import LensSet, find_set
from deeplense.simulation.variants import crowded

if TYPE_CHECKING:
    from deeplense.simulation.stream import ImageStream


def fresh_batches(config: TrainConfig, **common: Any) -> StreamBatches:
    """Those of a run; `common` has the other fields of `StreamBatches`.

    Raises:
        InputError: there is no such set, or none with more subhalos.
    """
    from deeplense.simulation.stream import ImageStream  # here, since most runs need none of it

    simulation, device = config.simulation, common["store"].device

    def stream_of(lens_set: LensSet) -> ImageStream:
        return ImageStream(lens_set, simulation.classes, config.run.seed, device)

    lens_set = find_set(config.data.data)
    batches = StreamBatches(stream=stream_of(lens_set), epoch_images=simulation.epoch_images, **common)
    if not simulation.crowd:
        return batches
    steps = round(simulation.crowd_part * config.optimization.epochs * batches.steps)
    return dataclasses.replace(batches, crowd=Crowd(stream_of(crowded(lens_set, simulation.crowd)), steps))


def say_fresh(simulation: SimulationConfig) -> str:
    """What is printed of them."""
    crowd = f"; {simulation.crowd:g} subhalos in the mean in the first {simulation.crowd_part:.0%} of the training"
    return f"{simulation.epoch_images} fresh ones an epoch{crowd if simulation.crowd else ''}"
