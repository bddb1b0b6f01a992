"""The limit of an observer, against fits with lenstronomy, and its properties."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util import param_util
from lenstronomy_images import reference_image
from scipy.optimize import least_squares

from deeplense.errors import InputError
from deeplense.simulation.draw import Draws
from deeplense.simulation.limit import best_auc, signal_to_noise
from deeplense.simulation.priors import Fixed, LogUniform
from deeplense.simulation.sets import find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.variants import with_one_subhalo
from deeplense.simulation.write import simulate_set


def fitted(draws: Draws, image: int) -> tuple[float, float]:
    """Root of chi^2 of the image of `one_subhalo` without noise: for the smooth lens that it has, and for the best."""
    lens_set = find_set("one_subhalo")
    camera, own = lens_set.camera, {name: float(value[image]) for name, value in draws.scalars.items()}
    data = reference_image(draws, image, lens_set, psf=True)
    exposure = own["exposure"]
    weight = exposure / np.sqrt(exposure * data + (exposure * camera.background_rms) ** 2)
    corner, scale = -0.5 * (camera.pixels - 1) * camera.pixel_scale, camera.pixel_scale
    model = ImageModel(
        ImageData(image_data=data, ra_at_xy_0=corner, dec_at_xy_0=corner, transform_pix2angle=scale * np.eye(2)),
        PSF(psf_type="GAUSSIAN", fwhm=camera.psf.fwhm, pixel_size=scale, truncation=camera.psf.truncation),
        lens_model_class=LensModel(["SIE", "SHEAR"]),
        source_model_class=LightModel(["SERSIC_ELLIPSE"]),
        kwargs_numerics={"supersampling_factor": 1, "supersampling_convolution": False},
    )

    def residual(p: np.ndarray) -> np.ndarray:
        lens = [
            {"theta_E": p[0], "e1": p[1], "e2": p[2], "center_x": 0, "center_y": 0},
            {"gamma1": p[3], "gamma2": p[4]},
        ]
        source = {"amp": 20 * p[5], "R_sersic": p[6], "n_sersic": 1, "e1": p[7], "e2": p[8]}
        flux = model.image(lens, [{**source, "center_x": p[9], "center_y": p[10]}])
        return (weight * (flux - data)).ravel()

    e1, e2 = param_util.phi_q2_ellipticity(own["angle"], own["axis_ratio"])
    shear = param_util.shear_polar2cartesian(own["shear_angle"], own["shear"])
    s1, s2 = param_util.phi_q2_ellipticity(own["source_angle"], own["source_axis_ratio"])
    place = own["source_x"], own["source_y"]
    truth = np.array([own["einstein_radius"], e1, e2, *shear, 1.0, own["source_radius"], s1, s2, *place])
    fit = least_squares(residual, truth, x_scale=np.array([1, 0.1, 0.1, 0.05, 0.05, 1, 0.2, 0.1, 0.1, 0.1, 0.1]))
    return float(np.linalg.norm(residual(truth))), float(np.sqrt(2 * fit.cost))


def check(count: int) -> None:
    lens_set = with_one_subhalo(find_set("one_subhalo"), LogUniform(10**8.5, 10**9.5))
    number = torch.arange(count)
    draws = Simulator(lens_set, find_classes(["cdm"]), 1, "cpu").draw(number, torch.zeros_like(number))
    found = signal_to_noise(draws, lens_set)
    torch.testing.assert_close(found.whole, found.each[:, 0], rtol=1e-3, atol=1e-3)
    for image in range(count):
        known, best = fitted(draws, image)
        assert float(found.whole[image]) == pytest.approx(best, rel=0.05, abs=0.02)
        assert best < known


def test_limit_is_that_of_a_fit() -> None:
    check(4)


@pytest.mark.slow
def test_limit_is_that_of_twenty_fits() -> None:
    check(20)


@pytest.mark.parametrize("name", ["model_i", pytest.param("hst_subhalo", marks=pytest.mark.slow)])
def test_limit_of_other_sets(name: str) -> None:
    simulator = Simulator(find_set(name), find_classes(["no_sub", "cdm"]), 0, "cpu")
    number = torch.arange(8)
    draws = simulator.draw(number // 2, number % 2)
    found = signal_to_noise(draws, simulator.lens_set)
    smooth = draws.label == 0
    assert (found.whole[smooth] == 0).all()
    assert (found.whole[~smooth] > 0).all()
    assert torch.isfinite(found.each).all()
    assert ((found.each > 0) == (draws.mass > 0)).all()


def test_limit_is_written_with_the_set(tmp_path: Path) -> None:
    simulate_set("one_subhalo", tmp_path, 40, seed=3, progress=False, snr=True)
    with (tmp_path / "catalog.csv").open() as catalog, (tmp_path / "subhalos.csv").open() as subhalos:
        of_images, of_subhalos = list(csv.DictReader(catalog)), list(csv.DictReader(subhalos))
    assert [row["snr"] == "" for row in of_images] == [row["class"] == "no_sub" for row in of_images]
    draws = Simulator(find_set("one_subhalo"), find_classes(), 3, "cpu").draw(torch.arange(8) // 2, torch.arange(8) % 2)
    found = signal_to_noise(draws, find_set("one_subhalo"), each=False).whole  # in another batch
    for row in of_subhalos:
        image = int(row["index"])
        assert float(row["snr"]) == pytest.approx(float(of_images[image]["snr"]), rel=2e-3)
        if image < 8:
            assert float(of_images[image]["snr"]) == pytest.approx(float(found[image]), rel=1e-4)
    with pytest.raises(InputError, match=r"holds another set \(snr differ\)"):
        simulate_set("one_subhalo", tmp_path, 42, seed=3, progress=False)


def test_limit_grows_with_the_exposure_and_with_the_mass() -> None:
    lens_set = find_set("one_subhalo")
    number = torch.arange(16)

    def limit(mass: float, exposure: float) -> torch.Tensor:
        own = with_one_subhalo(
            replace(lens_set, camera=replace(lens_set.camera, exposure=Fixed(exposure))), Fixed(mass)
        )
        own = replace(own, camera=replace(own.camera, background_rms=0.0))
        return signal_to_noise(Simulator(own, find_classes(["cdm"]), 0, "cpu").draw(number, 0 * number), own).whole

    once = limit(1e8, 1000.0)
    torch.testing.assert_close(limit(1e8, 4000.0), 2 * once, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(limit(2e8, 1000.0), 2 * once, rtol=0.1, atol=1e-3)


def test_no_classifier_exceeds_the_best_auc() -> None:
    """The likelihood ratio itself, of simulated observers of images with and without substructure."""
    ratios = torch.linspace(0, 3, 7)
    random = torch.Generator().manual_seed(0)
    seen = []
    for sign in (1, -1):
        of = ratios[torch.randint(7, (20_000,), generator=random)]
        seen.append(sign * of**2 / 2 + of * torch.randn(20_000, generator=random))
    order = torch.cat(seen).argsort().argsort().double()[:20_000].sum()
    auc = float((order - 20_000 * 19_999 / 2) / 20_000**2)
    assert best_auc(ratios) == pytest.approx(auc, abs=0.01)
    assert best_auc(torch.zeros(3)) == pytest.approx(0.5)


def test_many_images_are_compared_in_pieces() -> None:
    ratios = torch.linspace(0, 5, 700)
    pairs = (ratios.double()[:, None] ** 2 + ratios.double() ** 2).sqrt() / 2
    assert best_auc(ratios) == pytest.approx(float(torch.special.ndtr(pairs).mean()), rel=1e-12)


def test_images_without_noise_have_no_limit() -> None:
    simulator = Simulator(find_set("model_ii_published"), find_classes(["cdm"]), 0, "cpu")
    draws = simulator.draw(torch.arange(1), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(InputError, match=r"^model_ii_published: its images have no noise, .*: leave out --snr$"):
        signal_to_noise(draws, simulator.lens_set)
