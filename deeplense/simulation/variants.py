"""Sets that differ from a known one in what is asked about, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

from deeplense.simulation.instruments import PSF
from deeplense.simulation.priors import Fixed, LogUniform
from deeplense.simulation.sets import LensSet


def with_one_subhalo(lens_set: LensSet, mass: Fixed | LogUniform) -> LensSet:
    """`lens_set` with a single subhalo of the given mass in solar masses, at a place that the set could put one."""
    return replace(
        lens_set,
        name=f"{lens_set.name} with one subhalo",
        subhalos=replace(lens_set.subhalos, number=Fixed(1), mass=mass),
    )


def with_psf(lens_set: LensSet, psf: PSF) -> LensSet:
    """The same lenses through another point-spread function."""
    return replace(lens_set, camera=replace(lens_set.camera, psf=psf))
