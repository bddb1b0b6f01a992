"""Sets that differ from a known one in what is asked about, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

from deeplense.simulation.priors import Fixed, LogUniform
from deeplense.simulation.sets import LensSet


def with_one_subhalo(lens_set: LensSet, mass: Fixed | LogUniform) -> LensSet:
    """`lens_set` with a single subhalo of the given mass in solar masses, at a place that the set could put one."""
    return replace(
        lens_set,
        name=f"{lens_set.name} with one subhalo",
        subhalos=replace(lens_set.subhalos, number=Fixed(1), mass=mass),
    )
