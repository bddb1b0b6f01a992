"""Images as lenstronomy makes them of what our simulator drew: the reference of the tests."""

from __future__ import annotations

import math

import numpy as np
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util import param_util

from deeplense.simulation.draw import Draws
from deeplense.simulation.gallery import Gallery, Pictures
from deeplense.simulation.instruments import Gaussian
from deeplense.simulation.lenses import PowerLawHalo
from deeplense.simulation.lights import Clumps, Sersic
from deeplense.simulation.profiles import TruncatedNFW
from deeplense.simulation.sets import LensSet

Models = list[tuple[str, dict[str, float]]]
Own = dict[str, float]


def reference_image(
    draws: Draws, image: int, lens_set: LensSet, psf: bool, band: int = 0, points: int | None = None
) -> np.ndarray:
    """Image `image` of `draws`, in flux a pixel; of `points` along a pixel's side, with lenstronomy's own Gaussian, or
    of as many as ours, with our weights."""
    own = {name: float(values[image]) for name, values in draws.scalars.items()}
    lenses = main_lens(own, lens_set) + substructure(draws, image, lens_set)
    profiles = [sersic(own, name, light) for name, light in lens_set.lights.items()]
    sources, lights = profiles[:1], profiles[1:]
    if isinstance(lens_set.source, Clumps):
        sources += _clumps(draws.clumps[image].tolist())
    if isinstance(lens_set.source, Pictures):
        sources = [_picture(own, lens_set.source.gallery, band)]
    lights += _clumps(draws.neighbours[image].tolist())
    camera = lens_set.camera
    size, scale, factor = camera.pixels, camera.pixel_scale, points or camera.oversample
    corner = -0.5 * (size - 1) * scale
    data = ImageData(
        image_data=np.zeros((size, size)),
        ra_at_xy_0=corner,
        dec_at_xy_0=corner,
        transform_pix2angle=scale * np.eye(2),
    )
    if not psf:
        spread = PSF(psf_type="NONE")
    elif isinstance(camera.psf, Gaussian) and (points or factor == 1):
        spread = PSF(psf_type="GAUSSIAN", fwhm=camera.psf.fwhm, pixel_size=scale, truncation=camera.psf.truncation)
    else:
        # What its own Gaussian lacks: the integral over the cells that the points stand for.
        if isinstance(camera.psf, Gaussian):
            taps = camera.psf.taps(scale / factor, integrated=True)
            kernel = np.outer(taps, taps)
        else:
            kernel = camera.psf.kernel(scale / factor, integrated=factor > 1)
        spread = PSF(psf_type="PIXEL", kernel_point_source=kernel, point_source_supersampling_factor=factor)
    model = ImageModel(
        data,
        spread,
        lens_model_class=LensModel([name for name, _ in lenses]),
        source_model_class=LightModel([name for name, _ in sources]),
        lens_light_model_class=LightModel([name for name, _ in lights]) if lights else None,
        kwargs_numerics={"supersampling_factor": factor, "supersampling_convolution": psf and factor > 1},
    )
    flux = model.image(
        [values for _, values in lenses], [values for _, values in sources], [values for _, values in lights] or None
    )
    return flux / scale**2 * camera.pixel_area * camera.oversample**2


def main_lens(own: Own, lens_set: LensSet) -> Models:
    """The smooth lens and the shear."""
    e1, e2 = param_util.phi_q2_ellipticity(own.get("angle", 0.0), own.get("axis_ratio", 1.0))
    centre = {"center_x": own.get("lens_x", 0.0), "center_y": own.get("lens_y", 0.0)}
    ellipse = {"theta_E": own["einstein_radius"], "e1": e1, "e2": e2, **centre}
    if not isinstance(lens_set.halo, PowerLawHalo):
        gamma1, gamma2 = param_util.shear_polar2cartesian(own["shear_angle"], own["shear"])
        return [("SIE", ellipse), ("SHEAR", {"gamma1": gamma1, "gamma2": gamma2})]
    lenses: Models = [
        ("EPL", {**ellipse, "gamma": own["slope"]}),
        ("SHEAR", {"gamma1": own["gamma1"], "gamma2": own["gamma2"]}),
    ]
    for multipole in lens_set.halo.multipoles:
        m = multipole.order
        strength = {"m": m, "a_m": own[f"multipole{m}"], "phi_m": own[f"multipole{m}_angle"]}
        lenses.append(("MULTIPOLE", {**strength, **centre}))
    return lenses


def substructure(draws: Draws, image: int, lens_set: LensSet) -> Models:
    """The subhalos or the points of a vortex, and the sheet that takes their mass away."""
    profile = lens_set.subhalos.profile
    lenses: Models = []
    per_mass = zip(*(part[image].tolist() for part in (draws.x, draws.y, draws.radius, draws.scale)), strict=True)
    for x, y, radius, scale in per_mass:
        place = {"center_x": x, "center_y": y}
        if radius <= 0:
            continue
        if scale == 0:
            lenses.append(("POINT_MASS", {"theta_E": radius, **place}))
        elif isinstance(profile, TruncatedNFW):
            # The mass of the whole is m(t) of that of a sphere of scale density: Baltz et al. 2009, eq. A.4.
            t = profile.truncation
            m = t**2 / (t**2 + 1) ** 2 * ((t**2 - 1) * math.log(t) + math.pi * t - (t**2 + 1))
            at_scale = radius**2 * (1 - math.log(2)) / (m * scale)
            lenses.append(("TNFW", {"Rs": scale, "alpha_Rs": at_scale, "r_trunc": t * scale, **place}))
        else:
            # Eliasdottir et al. 2007, eq. A20, with next to no core: 2 sigma0 core is the Einstein radius without end.
            core = max(1e-6 * scale, 1e-8)
            density = radius**2 * (scale - core) / scale**2 / (2 * core)
            lenses.append(("PJAFFE", {"sigma0": density, "Ra": core, "Rs": scale, **place}))
    if lens_set.subhalos.compensated:
        field = (lens_set.camera.pixels * lens_set.camera.pixel_scale) ** 2
        kappa = -math.pi * float((draws.radius[image].double() ** 2).sum()) / field
        lenses.append(("CONVERGENCE", {"kappa": kappa, "ra_0": 0.0, "dec_0": 0.0}))
    return lenses


def sersic(own: Own, name: str, profile: Sersic) -> tuple[str, dict[str, float]]:
    e1, e2 = param_util.phi_q2_ellipticity(own[f"{name}_angle"], own[f"{name}_axis_ratio"])
    index = own.get(f"{name}_index", profile.index)
    shape = {"amp": own[f"{name}_amplitude"], "R_sersic": own[f"{name}_radius"], "n_sersic": index, "e1": e1, "e2": e2}
    centre = "light" if name == "outer" else name
    return "SERSIC_ELLIPSE", {**shape, "center_x": own[f"{centre}_x"], "center_y": own[f"{centre}_y"]}


def _picture(own: Own, gallery: Gallery, band: int) -> tuple[str, dict]:
    which = int(own["picture"])
    pixel = own["source_radius"] / gallery.half_light[which]
    place = {"center_x": own["source_x"], "center_y": own["source_y"], "phi_G": own["source_angle"]}
    image = gallery.pixels[which, band].astype(float)
    return "INTERPOL", {"image": image, "amp": own["source_amplitude"], "scale": pixel, **place}


def _clumps(columns: list[list[float]]) -> Models:
    names = ("center_x", "center_y", "R_sersic", "amp")
    return [
        ("SERSIC", {"n_sersic": 0.5, **dict(zip(names, clump, strict=True))}) for clump in zip(*columns, strict=True)
    ]
