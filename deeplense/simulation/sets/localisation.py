"""Sets with at most one subhalo, for networks that say where it is."""

from __future__ import annotations

from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.instruments import Camera, Gaussian
from deeplense.simulation.lenses import ANY_ANGLE, Halo
from deeplense.simulation.lights import Sersic
from deeplense.simulation.priors import Fixed, LogUniform, Polar, Uniform
from deeplense.simulation.sets.lensset import LensSet
from deeplense.simulation.substructure import Equal, Subhalos, Vortex


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
