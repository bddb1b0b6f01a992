"""The sets of DeepLenseSim (github.com/mwt5345/DeepLenseSim, MIT)."""

from __future__ import annotations

import math
from dataclasses import replace

from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.gallery import Gallery, Pictures
from deeplense.simulation.instruments import EUCLID_VIS, WFC3_F160W, Camera, Gaussian, Telescope
from deeplense.simulation.lenses import ANY_ANGLE, Halo, ellipse
from deeplense.simulation.lights import DoubleSersic, Magnitude, Sersic
from deeplense.simulation.priors import Cartesian, Fixed, LogUniform, Polar, PowerLaw, Uniform
from deeplense.simulation.profiles import MassConcentration, TruncatedNFW
from deeplense.simulation.sets.lensset import LensSet
from deeplense.simulation.substructure import Equal, Rings, Share, Subhalos, Vortex


def model_i() -> LensSet:
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


def model_ii() -> LensSet:
    """DeepLenseSim's "Model II": Model I as Euclid sees it, 64 px, with the noise that DeepLenseSim forgot.

    Lens, shear, substructure and the source's shape and place are Model I's, with its peculiarities. The source has
    magnitude 20, the camera is lenstronomy's Euclid VIS (0.101" a pixel, four exposures of 566 s), each pixel of 4 x 4
    points, where that code takes the light of the pixels' centres.

    The published images have no noise: that code computes the noise and then adds the image to itself in its place. A
    score on them says nothing of telescopes: `model_ii_published` has them for comparison.
    """
    return _photographed("model_ii", 2, replace(EUCLID_VIS, oversample=4))


def model_ii_published() -> LensSet:
    """DeepLenseSim's "Model II" as it was published: without any noise, each image twice its mean.

    An AUC of 1.0 on it says nothing; see `model_ii`.
    """
    return _photographed("model_ii_published", 1, replace(EUCLID_VIS, noise=False, gain=0.5))


def model_iii() -> LensSet:
    """DeepLenseSim's "Model III": Model I as Hubble's WFC3/F160W sees it, 64 px, with the noise that it forgot.

    As `model_ii`. The camera is lenstronomy's WFC3/F160W (0.08" a pixel, one exposure of 5400 s) with its Gaussian.
    DeepLenseSim's band wants the point-spread function as pixels, and which one the published files had is not known.
    """
    return _photographed("model_iii", 2, replace(WFC3_F160W, pixels=64, oversample=4))


def model_iv(galaxies: Gallery, sha256: str) -> LensSet:
    """DeepLenseSim's "Model IV": real galaxies (--sources) behind a bright lens, three bands of Euclid VIS, 64 px.

    From its code: an isothermal ellipsoid of 1.5" with a shear of 0.05; two Sersic profiles of lens light (magnitude
    17, 0.4", n 2.3; magnitude 28, 1.5", n 1.2); sources at U(-0.3, 0.3)", in any direction, 0.0025" to the pixel of
    their pictures: there 47 spirals of Galaxy10 DECals. The bands g, r and i of a galaxy are seen by the one camera VIS
    three times, and the lens has one colour.

    It differs where that code does not say or has others do it: the ellipse is Model I's; a source has magnitude 20 in
    the mean of its bands, as in Model II; subhalos are truncated NFW halos with 1 % of the mass from 10^8 Msun on,
    c(M), in place of pyHalo's; its halos of an ultralight axion are not here (the class `axion` is Model I's vortex);
    an image is in electrons/s, where there each is divided by its maximum. No files of it were ever published.
    """
    one, zero = Fixed(1.0), Fixed(0.0)
    return replace(
        model_i(),
        name="model_iv",
        cosmology=Cosmology(),
        halo=Halo(einstein_radius=Fixed(1.5), ellipse=ellipse(0.1, 0.0), shear=Fixed(0.05)),
        source=Pictures(
            Sersic(
                amplitude=Magnitude(Fixed(20.0)),
                radius=Fixed(0.25),
                index=1.0,
                axis_ratio=Fixed(1.0),
                angle=ANY_ANGLE,
                position=Cartesian(Uniform(-0.3, 0.3), Uniform(-0.3, 0.3)),
            ),
            sha256,
            galaxies,
            pixel_scale=0.0025,
        ),
        lens_light=DoubleSersic(
            Sersic(Magnitude(Fixed(17.0)), Fixed(0.4), 2.3, one, zero),
            Sersic(Magnitude(Fixed(28.0)), Fixed(1.5), 1.2, one, zero),
        ),
        subhalos=Subhalos(
            Share(Fixed(0.01), most=200),
            PowerLaw(-1.9, 1e8, 1e10),
            Rings(reach=2.0),
            TruncatedNFW(MassConcentration(), truncation=10.0),
        ),
        camera=replace(EUCLID_VIS, oversample=3, bands=3),
    )


def _photographed(name: str, version: int, camera: Telescope) -> LensSet:
    first = model_i()
    assert isinstance(first.source, Sersic)
    source = replace(first.source, amplitude=Magnitude(Fixed(20.0)))
    return replace(first, name=name, version=version, source=source, camera=camera)
