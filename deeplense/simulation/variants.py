"""Sets that differ from a known one in what is asked about, and in nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from deeplense.errors import InputError
from deeplense.simulation.gallery import Pictures, open_gallery
from deeplense.simulation.instruments import PSF
from deeplense.simulation.lights import Field, Subtraction, body
from deeplense.simulation.priors import Fixed, LogUniform, Poisson, Uniform, bounds
from deeplense.simulation.sets import OF_GALAXIES, LensSet, find_set
from deeplense.simulation.substructure import Equal, Share


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


def with_share(lens_set: LensSet, share: float) -> LensSet:
    """The same lenses with a given share of their mass in subhalos."""
    number = lens_set.subhalos.number
    if not isinstance(number, Share):
        raise InputError(f"--share {share:g}: {lens_set.name} draws no share of the mass in subhalos: leave it out")
    if not 0 < share <= 0.2:
        raise InputError(f"--share {share:g}: give the part of the mass in subhalos, above 0 up to 0.2")
    # The set has room for its own shares: of larger ones the number would be cut, and the share with it.
    most = math.ceil(number.most * max(share / bounds(number.fraction)[1], 1.0))
    number = replace(number, fraction=Fixed(share), most=most)
    return replace(lens_set, subhalos=replace(lens_set.subhalos, number=number))


def crowded(lens_set: LensSet, mean: float) -> LensSet:
    """The same lenses with many subhalos, each of the set's masses: `mean` of them by a Poisson law, cut at twice that.

    Raises:
        InputError: the set's subhalos are parts of a given mass, and more of them would be others.
    """
    subhalos = lens_set.subhalos
    if isinstance(subhalos.number, Share) or isinstance(subhalos.mass, Equal):
        raise InputError(
            f"--crowd {mean:g}: the subhalos of {lens_set.name} share a given mass, and their number is not free: "
            "give --crowd 0"
        )
    return replace(
        lens_set,
        name=f"{lens_set.name}, crowded",
        subhalos=replace(subhalos, number=Poisson(mean, most=math.ceil(2 * mean))),
    )


def without_lens_light(lens_set: LensSet) -> LensSet:
    """The same images, the lens's light taken out as well as fits do."""
    if lens_set.lens_light is None:
        raise InputError(f"--lens-light subtracted: {lens_set.name} has no lens light: leave it out")
    return replace(lens_set, subtraction=Subtraction())


def with_sources(name: str, sources: str | None) -> LensSet:
    """The set called `name` with other sources: `field` for random ones, or a folder of galaxies. None: its own.

    Flux, half-light radius and place of the sources stay the set's; where its galaxies' pixels have a size, the radius
    follows from that.

    Raises:
        InputError: see `find_set` and `open_gallery`.
    """
    if sources is None:
        return find_set(name)
    if name in OF_GALAXIES:
        if sources == "field":
            raise InputError(f"--sources field: the sources of {name} are real galaxies: give a folder of them")
        return OF_GALAXIES[name](*open_gallery(Path(sources), bands=3))
    lens_set = find_set(name)
    profile = body(lens_set.source)
    if sources == "field":
        return replace(lens_set, source=Field(profile, slope=Uniform(2.5, 3.5), contrast=Uniform(0.3, 0.8)))
    gallery, sha256 = open_gallery(Path(sources), bands=1)
    # A galaxy has a shape of its own.
    return replace(lens_set, source=Pictures(replace(profile, axis_ratio=Fixed(1.0)), sha256, gallery))
