"""The sets that can be simulated: a frozen dataclass of priors each. Nothing here imports torch.

Lengths are in arcsec, angles in radians counter-clockwise from the x axis, masses in solar masses. Whoever changes what
a set draws raises its `version`: the version is part of every random key and of every cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deeplense.errors import InputError
from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.priors import (
    Cartesian,
    Fixed,
    LogUniform,
    Normal,
    Poisson,
    Polar,
    PowerLaw,
    Prior,
    Uniform,
)

ANY_ANGLE = Uniform(0.0, 2.0 * math.pi)
ZERO = Fixed(0.0)
CENTRE = Cartesian(ZERO, ZERO)

Kind = Literal["no_sub", "cdm", "axion"]
KINDS: tuple[Kind, ...] = ("no_sub", "cdm", "axion")
"""The kinds of substructure. The place in this tuple is part of an image's random counter: append only."""


@dataclass(frozen=True)
class Halo:
    """The main lens, singular and isothermal, at the origin; and the external shear."""

    einstein_radius: Prior
    ellipse: tuple[Prior, Prior] | None = None
    """Axis ratio and angle; None for a sphere."""
    shear: Prior = ZERO
    """Magnitude g of the shear: gamma1 = g cos 2a, gamma2 = g sin 2a."""
    shear_angle: Prior = ZERO


@dataclass(frozen=True)
class Sersic:
    """An elliptical Sersic profile."""

    amplitude: Prior
    """Surface brightness at the half-light radius, per `Camera.pixel_area`."""
    radius: Prior
    """Half-light radius: the geometric mean of the half axes, as in lenstronomy and PyAutoLens."""
    index: float
    """Fixed, so that the power in the profile is compiled for it: for 1 there is none."""
    axis_ratio: Prior
    angle: Prior
    position: Cartesian | Polar = CENTRE


@dataclass(frozen=True)
class Equal:
    """Point masses of equal mass."""

    total: float
    """Of all together: solar masses, or a fraction of the main halo's mass."""
    of_halo: bool
    """Whether `total` is that fraction. The halo's mass is the projected one inside its Einstein radius."""


@dataclass(frozen=True)
class Subhalos:
    """Class `cdm`: point masses around the centre."""

    number: Fixed | Poisson
    mass: PowerLaw | LogUniform | Fixed | Equal
    position: Polar


@dataclass(frozen=True)
class Vortex:
    """Class `axion`: a straight line of equal point masses."""

    mass: Equal
    half_length: Prior
    position: Cartesian = CENTRE
    angle: Prior = ANY_ANGLE
    elements: int = 100
    axion_mass_times_half_length: float | None = None
    """In eV arcsec, where the set ties the length to the de Broglie wavelength of an axion."""


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian point-spread function, sampled at the pixels' centres and cut off."""

    fwhm: float
    truncation: float
    """In standard deviations."""


@dataclass(frozen=True)
class Airy:
    """An Airy disk, sampled at the pixels' centres and cut off."""

    first_zero: float
    truncation: float
    """In arcsec."""


@dataclass(frozen=True)
class Camera:
    """What turns surface brightness into counts."""

    pixels: int
    """A side."""
    pixel_scale: float
    psf: Gaussian | Airy
    background_rms: float
    """Gaussian, in flux a pixel and unit of exposure."""
    exposure: Prior
    """Counts for a unit of flux."""
    pixel_area: float
    """Flux in a pixel of unit brightness: `pixel_scale`^2 where amplitudes are per square arcsec, 1 if per pixel."""


@dataclass(frozen=True)
class LensSet:
    """A set of simulated images: everything that may be drawn, and from what."""

    name: str
    version: int
    cosmology: Cosmology
    z_lens: Prior
    z_source: Prior
    halo: Halo
    source: Sersic
    lens_light: Sersic | None
    subhalos: Subhalos
    vortex: Vortex
    camera: Camera


def ellipse(e1: float, e2: float) -> tuple[Fixed, Fixed]:
    """Axis ratio and angle of an ellipticity: |e| = (1 - q)/(1 + q), as in lenstronomy."""
    modulus = math.hypot(e1, e2)
    return Fixed((1.0 - modulus) / (1.0 + modulus)), Fixed(0.5 * math.atan2(e2, e1))


def _model_i() -> LensSet:
    """DeepLenseSim's "Model I" (github.com/mwt5345/DeepLenseSim, MIT).

    Three peculiarities of that code are kept, since the published images have them. The Einstein radii use luminosity
    distances with D_ls = D_s - D_l: 1.281" for the lens, where angular-diameter distances give 1.664". It draws the
    number of subhalos from a Poisson law of mean 25 and then ignores it: there are always 25. And the mass of the
    substructure is not taken from the main halo: an image of substructure has the more mass.

    A fourth is that the subhalos' masses follow dN/dm ~ m^-0.9, not the m^-1.9 that its comments, and papers after it,
    speak of: it passes -0.9 to a formula that adds 1 to the slope itself. The difference is the difference between a
    task and none. With m^-1.9 the substructure of an image is 2e8 Msun in all (median), and even a filter that knows
    the lens and each subhalo finds it with a signal-to-noise ratio of 0.2; with m^-0.9 it is 4e10 Msun, and 43.

    One is not kept: its newest version draws the noisy counts once more from a Poisson law. Here the noise has the
    variance that the camera states.
    """
    cosmology = Cosmology(distances="luminosity")
    source_ratio, source_angle = ellipse(-0.1, 0.1)
    return LensSet(
        name="model_i",
        version=1,
        cosmology=cosmology,
        z_lens=Fixed(0.5),
        z_source=Fixed(1.0),
        halo=Halo(
            einstein_radius=Fixed(math.sqrt(1e12 * cosmology.mass_to_square(0.5, 1.0))),
            ellipse=ellipse(0.1, 0.0),
            shear=Fixed(0.05),
        ),
        source=Sersic(
            amplitude=Fixed(20.0),
            radius=Fixed(0.25),
            index=1.0,
            axis_ratio=source_ratio,
            angle=source_angle,
            position=Cartesian(Uniform(-0.35, 0.35), Uniform(-0.35, 0.35)),
        ),
        lens_light=None,
        subhalos=Subhalos(Fixed(25), PowerLaw(-0.9, 1e6, 1e10), Polar(Uniform(0.25, 2.0))),
        vortex=Vortex(
            Equal(3e10, of_halo=False),
            # The axion's mass is 10^U(-24, -22) eV and the half length 3e-24 arcsec over it.
            half_length=LogUniform(0.03, 3.0),
            axion_mass_times_half_length=3e-24,
        ),
        camera=Camera(
            pixels=150,
            pixel_scale=0.05,
            psf=Gaussian(fwhm=0.087, truncation=3.0),
            background_rms=0.01,
            exposure=LogUniform(1e3, 10**3.5),
            pixel_area=0.05**2,
        ),
    )


def _morphology_2019() -> LensSet:
    """arXiv:1909.07346, Table I, first column, as its public images have it: the JPEGs that the field passes round.

    The table's, and found again in the images by fitting each with a smooth lens: redshifts, isothermal sphere of
    1.2", shear magnitude, Sersic indices, axis ratios, distance of the source, number and radii of the subhalos.

    The images', where the table is silent. A pixel is 0.06": so that the fitted Einstein radius of `no_sub` is 1.201"
    (median of 500). The point-spread function is an Airy disk with its first zero at 0.27", here cut off at 1": the
    residuals are 0.89 grey levels there and 0.92 at 0.25" and at 0.29". A unit of flux is 28 grey levels, so the
    background's noise, 0.92 of them in the median image, is 0.033 (less in 40 % of the images than JPEG leaves to be
    measured, 1.6 levels in 5 %; here always the same). The residuals on the arcs agree with an exposure of 300, that
    of the authors' published generator (github.com/DeepLense-Unsupervised/PyLensing).

    The images', against the table, and kept, since they are what a network sees:

    - The substructure has 8.3 % of the mass inside the Einstein radius and not 1 %, on top of the halo's. Its points
      have 0.12 square arcsec together (squares of Einstein radii go with masses; 1.7e9 Msun each): the fitted Einstein
      radius of `sub` is 1.295" (median of 500), and it is 1.295" for images of this set and 1.211" for 1 %. The
      spread of the radii and the size of the residuals are those of 25 points, too. It is what the generator makes of
      1 %: each point is given sqrt(0.01) / 25 of the halo's radius, 0.0048", and PyAutoLens' `PointMass` of 2019
      deflected by radius / distance, not radius^2 / distance. So the classes differ in the size of the ring most of
      all: the median signal-to-noise ratio of the substructure is 141 for known lenses, and 38 when the parameters of
      a smooth lens are fitted, its Einstein radius among them (17 and 3.3 for 1 %).
    - Shear and ellipses point along the x axis within 2 pi degrees: angles up to 2 pi were read as degrees.
    - The half-light radii are 0.41" and 0.45" where the table has 0.5", and the source's brightness, for 1.2 of the
      lens, goes from 0.51 to 1.05 where the table has 0.7 to 0.9. Why is not known.

    There is no public image of a vortex to measure. Its mass follows from the same code, so it is the subhalos' here;
    it is as fine a line as `model_i` has, 100 points.
    """
    slanted = Uniform(0.0, math.radians(2.0 * math.pi))
    substructure = Equal(math.sqrt(0.01) / 1.2, of_halo=True)
    return LensSet(
        name="morphology_2019",
        version=2,
        cosmology=Cosmology(),
        z_lens=Fixed(0.5),
        z_source=Fixed(1.0),
        halo=Halo(einstein_radius=Fixed(1.2), shear=Uniform(0.0, 0.3), shear_angle=slanted),
        source=Sersic(
            amplitude=Uniform(0.51, 1.05),
            radius=Fixed(0.45),
            index=1.5,
            axis_ratio=Uniform(0.7, 1.0),
            angle=slanted,
            position=Polar(Uniform(0.0, 1.2)),
        ),
        lens_light=Sersic(
            amplitude=Fixed(1.2),
            radius=Fixed(0.41),
            index=2.5,
            axis_ratio=Uniform(0.5, 1.0),
            angle=slanted,
        ),
        subhalos=Subhalos(Fixed(25), substructure, Polar(Uniform(0.0, 1.0))),
        vortex=Vortex(substructure, half_length=Fixed(0.5)),
        camera=Camera(
            pixels=150,
            pixel_scale=0.06,
            psf=Airy(first_zero=0.27, truncation=1.0),
            background_rms=0.033,
            exposure=Fixed(300.0),
            pixel_area=1.0,
        ),
    )


def _morphology_2019_varied() -> LensSet:
    """arXiv:1909.07346, Table I, second column: redshifts, lens size, vortex and number of subhalos vary as well.

    No images of it are public: all else is taken over from those of the first column.
    """
    first = _morphology_2019()
    assert first.lens_light is not None
    return replace(
        first,
        name="morphology_2019_varied",
        z_lens=Uniform(0.4, 0.6),
        z_source=Uniform(0.8, 1.2),
        lens_light=replace(first.lens_light, radius=Uniform(0.5, 2.0)),
        # More than 60 happens once in 10^9 draws.
        subhalos=replace(first.subhalos, number=Poisson(25.0, most=60)),
        vortex=replace(
            first.vortex,
            half_length=Uniform(0.25, 1.0),
            position=Cartesian(Normal(0.0, 0.5), Normal(0.0, 0.5)),
        ),
    )


SETS: dict[str, LensSet] = {s.name: s for s in (_model_i(), _morphology_2019(), _morphology_2019_varied())}


def find_set(name: str) -> LensSet:
    """The set called `name`; an `InputError` lists the known ones."""
    if name not in SETS:
        raise InputError(f"{name}: no simulated set has this name; there are {', '.join(SETS)}")
    return SETS[name]


@dataclass(frozen=True)
class Classes:
    """The classes of a set of images, in the order of their labels."""

    names: tuple[str, ...]
    """As they are written: `cdm` is `sub` where there are two classes."""
    kinds: tuple[Kind, ...]
    """What each one is."""


def find_classes(wanted: Sequence[str] = ("no_sub", "cdm")) -> Classes:
    """Classes by name (`sub` means `cdm`): `no_sub` is label 0, the others follow in order of name."""
    kinds: list[Kind] = []
    for name in wanted:
        kind = "cdm" if name == "sub" else name
        if kind not in KINDS:
            raise InputError(f"--classes {name}: unknown; there are {', '.join(KINDS)}")
        if kind in kinds:
            raise InputError(f"--classes {name}: named twice; name each class once")
        kinds.append(kind)
    if not kinds:
        raise InputError(f"--classes: none given; there are {', '.join(KINDS)}")
    written = {kind: "sub" if kind == "cdm" and len(kinds) == 2 else kind for kind in kinds}
    kinds.sort(key=lambda kind: (kind != "no_sub", written[kind]))
    return Classes(tuple(written[kind] for kind in kinds), tuple(kinds))
