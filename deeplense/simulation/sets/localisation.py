"""Sets with one subhalo, or a few, for networks that say where they are."""

from __future__ import annotations

from dataclasses import replace

from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.instruments import WFC3_F160W, Camera, Gaussian
from deeplense.simulation.lenses import ANY_ANGLE, Halo, Multipole, PowerLawHalo
from deeplense.simulation.lights import Clumps, Magnitude, Sersic
from deeplense.simulation.priors import Cartesian, Fixed, LogUniform, Poisson, Polar, Uniform
from deeplense.simulation.profiles import TruncatedNFW
from deeplense.simulation.sets.lensset import LensSet
from deeplense.simulation.substructure import Bright, Equal, Subhalos, Vortex


def one_subhalo() -> LensSet:
    """One point mass near the ring of a simple lens: where is it? The easiest case, fast to simulate.

    80 x 80 px of 0.08", an isothermal ellipsoid in any direction with shear in any direction, an exponential disk as
    the source, no lens light; in each image of `cdm` one point mass of 10^8.5 to 10^10.5 Msun, uniform in the
    logarithm, at 0.7 to 1.9" from the centre.
    """
    return LensSet(
        name="one_subhalo",
        version=1,
        cosmology=Cosmology(),
        z_lens=Fixed(0.5),
        z_source=Fixed(1.0),
        halo=Halo(
            einstein_radius=Uniform(1.0, 1.6),
            ellipse=(Uniform(0.6, 1.0), ANY_ANGLE),
            shear=Uniform(0.0, 0.1),
            shear_angle=ANY_ANGLE,
        ),
        source=Sersic(
            amplitude=Fixed(20.0),
            radius=Uniform(0.1, 0.3),
            index=1.0,
            axis_ratio=Uniform(0.5, 1.0),
            angle=ANY_ANGLE,
            position=Polar(Uniform(0.0, 0.35)),
        ),
        lens_light=None,
        subhalos=Subhalos(Fixed(1), LogUniform(10**8.5, 10**10.5), Polar(Uniform(0.7, 1.9))),
        # `model_i`'s: the class is there for whoever asks for it.
        vortex=Vortex(Equal(3e10, of_halo=False), half_length=LogUniform(0.03, 3.0)),
        camera=Camera(
            pixels=80,
            pixel_scale=0.08,
            psf=Gaussian(fwhm=0.1, truncation=3.0),
            background_rms=0.01,
            exposure=Fixed(1000.0),
            pixel_area=0.08**2,
        ),
    )


def few_subhalos() -> LensSet:
    """The lenses of `one_subhalo` with two point masses in the mean: none, one or several.

    Their number follows a Poisson law of mean 2, cut at 6, so that one in seven images of `cdm` has none.
    """
    single = one_subhalo()
    return replace(
        single, name="few_subhalos", version=1, subhalos=replace(single.subhalos, number=Poisson(2.0, most=6))
    )


def hst_subhalo(concentration: int = 60) -> LensSet:
    """One truncated NFW subhalo on the arcs of a clumpy source, seen by Hubble: Tsang et al. 2024's task.

    arXiv:2401.16624, from its code (arthur-tsang/ml-interlopers) and not from its text: 80 x 80 px of 0.08", ten
    exposures of WFC3/F160W, power-law lenses with shear and multipoles, no lens light. The subhalo is in one of six
    half decades of M200 from 10^8 to 10^11 Msun, so uniform in the logarithm, where the smooth image is brighter than
    a fifth of its maximum; it is truncated at 20 scale radii, and its mass is taken off the field again.

    Here it differs from theirs: sources are Sersic profiles with clumps in place of COSMOS galaxies, of magnitudes that
    those would have at redshift 1 (`--sources FOLDER` takes galaxies, `--sources field` random fields); like those,
    which were seen through a telescope, they have no cusps. The ellipse is in the mass and not in the potential; each
    pixel's light is taken at 4 x 4 points; and an image is in electrons/s where theirs are divided by their maximum.

    Args:
        concentration: of the subhalo, one of those that they trained for: 15, 20, 25, 30, 45 or 60. Everything depends
            on it: by what is known nobody finds those that cold dark matter expects (15), while 60 is easy.
    """
    scale_radius = {15: 107.5, 20: 83.0, 25: 64.8, 30: 56.8, 45: 38.4, 60: 29.0}[concentration]
    return LensSet(
        name="hst_subhalo",
        version=2,
        cosmology=Cosmology(hubble=67.5, matter=0.316),
        z_lens=Fixed(0.5),
        z_source=Fixed(1.0),
        halo=PowerLawHalo(
            einstein_radius=Uniform(0.8, 1.2),
            slope=Uniform(1.5, 2.5),
            ellipse=(Uniform(0.5, 1.0), ANY_ANGLE),
            shear=(Uniform(-0.1, 0.1), Uniform(-0.1, 0.1)),
            position=Cartesian(Uniform(-0.2, 0.2), Uniform(-0.2, 0.2)),
            multipoles=(Multipole(3, Uniform(-0.02, 0.02)), Multipole(4, Uniform(-0.02, 0.02))),
        ),
        source=Clumps(
            body=Sersic(
                amplitude=Magnitude(Uniform(21.5, 23.5)),
                radius=Uniform(0.15, 0.35),
                index=0.7,
                axis_ratio=Uniform(0.4, 1.0),
                angle=ANY_ANGLE,
                position=Cartesian(Uniform(-0.2, 0.2), Uniform(-0.2, 0.2)),
            ),
            number=8,
            share=Uniform(0.1, 0.4),
            radius=LogUniform(0.25, 0.6),
        ),
        lens_light=None,
        subhalos=Subhalos(
            Fixed(1),
            LogUniform(1e8, 1e11),
            Bright(0.2),
            profile=TruncatedNFW(Fixed(concentration), truncation=20.0, scale_radius=scale_radius),
            compensated=True,
        ),
        vortex=Vortex(Equal(3e10, of_halo=False), half_length=LogUniform(0.03, 3.0)),
        camera=replace(WFC3_F160W, exposures=10, oversample=4),
    )


def hst_subhalo_sersic() -> LensSet:
    """`hst_subhalo` in one exposure and with sources without clumps: a smooth lens can be fitted to these.

    The lenses of `hst_subhalo`, concentration 60, and the body of its sources with all of their light, in a single
    exposure of WFC3/F160W (5,400 s): what is published of fits, and of networks beside them, is of such images. Their
    noise is so much larger, and nothing in them as fine as clumps, that 2 x 2 points a pixel are enough.
    """
    clumpy = hst_subhalo()
    assert isinstance(clumpy.source, Clumps)
    return replace(
        clumpy,
        name="hst_subhalo_sersic",
        version=1,
        source=clumpy.source.body,
        camera=replace(WFC3_F160W, oversample=2),
    )


def hst_subhalo_c15() -> LensSet:
    """`hst_subhalo` with the concentration that cold dark matter expects, 15."""
    return replace(hst_subhalo(15), name="hst_subhalo_c15", version=1)


def hst_subhalo_varied() -> LensSet:
    """`hst_subhalo` with subhalos of any concentration from 10 to 60: one network for all of them.

    Uniform in its logarithm, whatever the mass. The scale radius is r200 / c by the critical density: Tsang et al.'s at
    60, and 9 % above theirs at 15.
    """
    compact = hst_subhalo()
    profile = TruncatedNFW(LogUniform(10.0, 60.0), truncation=20.0)
    return replace(compact, name="hst_subhalo_varied", version=1, subhalos=replace(compact.subhalos, profile=profile))
