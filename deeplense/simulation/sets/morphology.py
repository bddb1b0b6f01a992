"""The sets of arXiv:1909.07346, "Deep learning the morphology of dark matter substructure"."""

from __future__ import annotations

import math
from dataclasses import replace

from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.instruments import Airy, Camera
from deeplense.simulation.lenses import Halo
from deeplense.simulation.lights import Sersic
from deeplense.simulation.priors import Cartesian, Fixed, Normal, Poisson, Polar, Uniform
from deeplense.simulation.sets.lensset import LensSet
from deeplense.simulation.substructure import Equal, Subhalos, Vortex


def morphology_2019() -> LensSet:
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


def morphology_2019_varied() -> LensSet:
    """arXiv:1909.07346, Table I, second column: redshifts, lens size, vortex and number of subhalos vary as well.

    No images of it are public: all else is taken over from those of the first column.
    """
    first = morphology_2019()
    assert isinstance(first.lens_light, Sersic)
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
