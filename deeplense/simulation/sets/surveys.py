"""Galaxy-scale lenses as telescopes see them, with broad priors: for networks that are to meet real images."""

from __future__ import annotations

from dataclasses import replace

from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.instruments import ACS_F814W, EUCLID_VIS, NIRCAM_F277W, Telescope
from deeplense.simulation.lenses import ANY_ANGLE, Multipole, PowerLawHalo
from deeplense.simulation.lights import Clumps, DoubleSersic, Magnitude, Neighbours, Sersic
from deeplense.simulation.priors import (
    Cartesian,
    LogUniform,
    Normal,
    Poisson,
    Polar,
    PowerLaw,
    Prior,
    TruncatedNormal,
    Uniform,
)
from deeplense.simulation.profiles import MassConcentration, TruncatedNFW
from deeplense.simulation.sets.lensset import LensSet
from deeplense.simulation.substructure import Equal, Rings, Share, Subhalos, Vortex


def euclid() -> LensSet:
    """Lenses of Euclid's wide survey in VIS, lens light in, 64 px; subhalos have 0.1 to 5 % of the mass."""
    return _galaxies(
        "euclid", replace(EUCLID_VIS, oversample=3), Uniform(0.2, 1.0), Uniform(18.5, 21.0), Uniform(22.0, 24.5)
    )


def hst() -> LensSet:
    """Lenses as the SLACS survey took them, Hubble ACS/F814W, lens light in, 100 px; subhalos have 0.1 to 5 %."""
    return _galaxies(
        "hst", replace(ACS_F814W, oversample=2), Uniform(0.1, 0.5), Uniform(17.3, 18.8), Uniform(22.0, 24.5)
    )


def jwst() -> LensSet:
    """Lenses of COSMOS-Web in NIRCam/F277W, lens light in, 100 px; subhalos have 0.1 to 5 % of the mass."""
    camera = replace(NIRCAM_F277W, pixel_scale=0.06, oversample=2)
    return _galaxies("jwst", camera, Uniform(0.4, 1.2), Uniform(18.5, 21.0), Uniform(22.0, 25.0))


def _galaxies(name: str, camera: Telescope, z_lens: Prior, lens: Prior, source: Prior) -> LensSet:
    """Early-type lenses with an envelope, and blue clumpy sources.

    Slopes, axis ratios, shears and multipoles are those that surveys find (SLACS: slope 2.08 +- 0.16, Auger et al.
    2010; multipoles of a per cent, as isophotes have them), with room about them. Subhalos are what cold dark matter
    expects: dN/dm ~ m^-1.9 from 10^8 to 10^10 Msun (lighter ones leave no trace in one image), truncated NFW halos
    whose concentration follows their mass; the share of the mass is drawn, uniform in its logarithm.

    Args:
        lens: magnitudes of the inner part of the lens; the outer one has its own from the same distribution.
        source: magnitudes of the source, without lensing.
    """
    return LensSet(
        name=name,
        version=2,
        cosmology=Cosmology(),
        z_lens=z_lens,
        z_source=Uniform(1.4, 2.5),
        halo=PowerLawHalo(
            einstein_radius=TruncatedNormal(1.25, 0.3, 0.6, 2.0),
            slope=TruncatedNormal(2.08, 0.16, 1.6, 2.5),
            ellipse=(TruncatedNormal(0.78, 0.12, 0.45, 1.0), ANY_ANGLE),
            shear=(Normal(0.0, 0.04), Normal(0.0, 0.04)),
            position=Cartesian(Normal(0.0, 0.03), Normal(0.0, 0.03)),
            multipoles=(Multipole(3, Normal(0.0, 0.005)), Multipole(4, Normal(0.0, 0.01))),
        ),
        source=Clumps(
            body=Sersic(
                amplitude=Magnitude(source),
                radius=LogUniform(0.1, 0.35),
                index=Uniform(0.5, 1.0),
                axis_ratio=Uniform(0.3, 1.0),
                angle=ANY_ANGLE,
                position=Polar(Uniform(0.0, 0.35)),
            ),
            number=6,
            share=Uniform(0.0, 0.4),
            radius=LogUniform(0.2, 0.6),
        ),
        lens_light=DoubleSersic(
            inner=Sersic(
                amplitude=Magnitude(lens),
                radius=LogUniform(0.5, 1.4),
                index=Uniform(1.5, 3.0),
                axis_ratio=TruncatedNormal(0.8, 0.12, 0.45, 1.0),
                angle=ANY_ANGLE,
                position=Cartesian(Normal(0.0, 0.03), Normal(0.0, 0.03)),
            ),
            outer=Sersic(
                amplitude=Magnitude(lens),
                radius=LogUniform(1.0, 2.5),
                index=Uniform(0.8, 2.0),
                axis_ratio=TruncatedNormal(0.8, 0.12, 0.45, 1.0),
                angle=ANY_ANGLE,
            ),
        ),
        subhalos=Subhalos(
            Share(LogUniform(1e-3, 5e-2), most=600),
            PowerLaw(-1.9, 1e8, 1e10),
            Rings(reach=2.0),
            TruncatedNFW(MassConcentration(), truncation=10.0),
        ),
        vortex=Vortex(Equal(0.01, of_halo=True), half_length=LogUniform(0.03, 3.0)),
        camera=camera,
        neighbours=Neighbours(Poisson(3.0, most=9), Uniform(24.5, 27.5), LogUniform(0.03, 0.25)),
    )
