"""Rendering against lenstronomy and textbook values: same parameters, same images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from astropy.constants import G, M_sun, c
from astropy.cosmology import FlatLambdaCDM
from lenstronomy.Cosmo.lens_cosmo import LensCosmo
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util import param_util

from deeplense.simulation.camera import airy_kernel, blur
from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.draw import Draws
from deeplense.simulation.instruments import Gaussian
from deeplense.simulation.lights import Sersic
from deeplense.simulation.sets import KINDS, SETS, LensSet, find_classes
from deeplense.simulation.simulator import Simulator


def reference_image(draws: Draws, image: int, lens_set: LensSet, psf: bool) -> np.ndarray:
    """Image `image` of `draws` as lenstronomy makes it, in flux a pixel."""
    own = {name: float(values[image]) for name, values in draws.scalars.items()}
    e1, e2 = param_util.phi_q2_ellipticity(own.get("angle", 0.0), own.get("axis_ratio", 1.0))
    gamma1, gamma2 = param_util.shear_polar2cartesian(own["shear_angle"], own["shear"])
    lenses = [
        ("SIE", {"theta_E": own["einstein_radius"], "e1": e1, "e2": e2, "center_x": 0, "center_y": 0}),
        ("SHEAR", {"gamma1": gamma1, "gamma2": gamma2}),
    ]
    for x, y, radius in zip(draws.x[image], draws.y[image], draws.radius[image], strict=True):
        if radius > 0:
            own_mass = {"theta_E": float(radius), "center_x": float(x), "center_y": float(y)}
            lenses.append(("POINT_MASS", own_mass))
    camera = lens_set.camera
    size, scale = camera.pixels, camera.pixel_scale
    corner = -0.5 * (size - 1) * scale
    data = ImageData(
        image_data=np.zeros((size, size)),
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=scale * np.eye(2),
    )
    if not psf:
        spread = PSF(psf_type="NONE")
    elif isinstance(camera.psf, Gaussian):
        spread = PSF(psf_type="GAUSSIAN", fwhm=camera.psf.fwhm, pixel_size=scale, truncation=camera.psf.truncation)
    else:
        spread = PSF(psf_type="PIXEL", kernel_point_source=airy_kernel(camera.psf, scale))
    model = ImageModel(
        data,
        spread,
        lens_model_class=LensModel([name for name, _ in lenses]),
        source_model_class=LightModel(["SERSIC_ELLIPSE"]),
        lens_light_model_class=LightModel(["SERSIC_ELLIPSE"]) if lens_set.lens_light else None,
        kwargs_numerics={"supersampling_factor": 1, "supersampling_convolution": False},
    )
    flux = model.image(
        [values for _, values in lenses],
        [_sersic(own, "source", lens_set.source)],
        [_sersic(own, "light", lens_set.lens_light)] if lens_set.lens_light else None,
    )
    return flux / scale**2 * camera.pixel_area


def _sersic(own: dict[str, float], name: str, profile: Sersic) -> dict[str, float]:
    e1, e2 = param_util.phi_q2_ellipticity(own[f"{name}_angle"], own[f"{name}_axis_ratio"])
    return {
        "amp": own[f"{name}_amplitude"],
        "R_sersic": own[f"{name}_radius"],
        "n_sersic": profile.index,
        "e1": e1,
        "e2": e2,
        "center_x": own[f"{name}_x"],
        "center_y": own[f"{name}_y"],
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SETS)
def test_images_are_those_of_lenstronomy(name: str, kind: str) -> None:
    simulator = Simulator(SETS[name], find_classes([kind]), seed=1, device="cpu")
    count, camera = 6, simulator.lens_set.camera
    draws = simulator.draw(torch.arange(32), torch.zeros(32, dtype=torch.int64))
    flux = simulator.render(draws)
    blurred = blur(flux, camera)
    assert flux.dtype == blurred.dtype == torch.float32
    for image in range(count):
        for ours, psf, bound in ((flux, False, 1e-4), (blurred, True, 1e-3)):
            theirs = reference_image(draws, image, simulator.lens_set, psf)
            assert np.abs(ours[image].numpy() - theirs).max() < bound * theirs.max()


def test_einstein_radius_of_model_i_is_that_of_its_code() -> None:
    assert SETS["model_i"].halo.einstein_radius.value == pytest.approx(1.281, abs=5e-4)
    # And with angular-diameter distances, by the textbook and by lenstronomy (whose solar mass is another).
    ours = math.sqrt(1e12 * Cosmology().mass_to_square(0.5, 1.0))
    theirs = FlatLambdaCDM(H0=70, Om0=0.3)
    lens, source = theirs.angular_diameter_distance(0.5), theirs.angular_diameter_distance(1.0)
    between = theirs.angular_diameter_distance_z1z2(0.5, 1.0)
    radius = (4 * G * 1e12 * M_sun / c**2 * between / (lens * source)) ** 0.5
    assert ours == pytest.approx(radius.to_value("") * 180 * 3600 / math.pi, rel=1e-5)
    critical = LensCosmo(0.5, 1.0, theirs).sigma_crit_angle
    assert ours == pytest.approx(math.sqrt(1e12 / (math.pi * critical)), rel=3e-4)
    assert ours == pytest.approx(1.664, abs=1e-3)


def test_distances_are_those_of_astropy() -> None:
    theirs = FlatLambdaCDM(H0=70, Om0=0.3)
    for z in (0.4, 0.5, 0.6, 1.0, 1.2):
        assert Cosmology().comoving_distance(z) == pytest.approx(theirs.comoving_distance(z).value, rel=1e-8)
