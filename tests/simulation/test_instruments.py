"""Cameras in observers' numbers, against lenstronomy's SimulationAPI; point-spread functions; pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.modeling.functional_models import AiryDisk2D, Moffat2D
from lenstronomy.SimulationAPI.observation_api import SingleBand
from lenstronomy.SimulationAPI.ObservationConfig.Euclid import Euclid
from lenstronomy.SimulationAPI.ObservationConfig.HST import HST
from lenstronomy.SimulationAPI.ObservationConfig.JWST import JWST
from lenstronomy.SimulationAPI.ObservationConfig.LSST import LSST
from lenstronomy.SimulationAPI.sim_api import SimAPI
from lenstronomy_images import reference_image

from deeplense.errors import InputError
from deeplense.simulation.camera import blur, photograph
from deeplense.simulation.instruments import (
    EUCLID_VIS,
    NIRCAM_F277W,
    RUBIN_I,
    WFC3_F160W,
    Airy,
    Gaussian,
    Moffat,
    PixelKernel,
    Telescope,
)
from deeplense.simulation.lights import Magnitude, Sersic
from deeplense.simulation.priors import Fixed, LogUniform
from deeplense.simulation.psf_file import read_psf
from deeplense.simulation.render import render
from deeplense.simulation.sets import find_classes, find_set
from deeplense.simulation.simulator import Simulator

BANDS = {
    "euclid": (EUCLID_VIS, Euclid().kwargs_single_band()),
    "wfc3": (WFC3_F160W, HST(band="WFC3_F160W", psf_type="GAUSSIAN").kwargs_single_band()),
    "rubin": (RUBIN_I, LSST(band="i", psf_type="GAUSSIAN", coadd_years=10).kwargs_single_band()),
    "nircam": (NIRCAM_F277W, JWST(band="F277W", psf_type="GAUSSIAN").kwargs_single_band()),
}


@pytest.mark.parametrize("name", BANDS)
def test_cameras_have_lenstronomys_numbers_and_noise(name: str) -> None:
    ours, theirs = BANDS[name]
    assert ours.pixel_scale == theirs["pixel_scale"]
    assert (ours.exposures, ours.exposure_time) == (theirs["num_exposures"], theirs["exposure_time"])
    assert (ours.zero_point, ours.sky) == (theirs["magnitude_zero_point"], theirs["sky_brightness"])
    assert ours.read_noise == theirs["read_noise"]
    if isinstance(ours.psf, Gaussian):
        assert ours.psf.fwhm == theirs["seeing"]
    band = SingleBand(**theirs)
    assert ours.background_rms == pytest.approx(band.background_noise, rel=1e-6)
    assert ours.flux(20.0) == pytest.approx(band.magnitude2cps(20.0), rel=1e-9)
    # Per pixel and light, in the library's units and in counts of a gain.
    flux = np.array([0.0, 1e-3, 1.0, 50.0])
    seconds = ours.exposure.value
    assert np.sqrt(flux * seconds) / seconds == pytest.approx(band.flux_noise(flux), rel=1e-6)
    counts = SingleBand(**{**theirs, "data_count_unit": "ADU"})
    in_counts = replace(ours, gain=theirs["ccd_gain"])
    assert in_counts.background_rms / in_counts.gain == pytest.approx(counts.background_noise, rel=1e-6)


@pytest.mark.parametrize("gain", [1.0, 3.1])
def test_images_have_the_mean_and_the_variance_of_simulation_api(gain: float) -> None:
    """One lens of `model_ii`, photographed with the noise of 256 images."""
    lens_set = replace(find_set("model_ii"), camera=replace(EUCLID_VIS, gain=gain))
    simulator = Simulator(lens_set, find_classes(["no_sub"]), seed=0, device="cpu")
    one = simulator.draw(torch.zeros(32, dtype=torch.int64), torch.zeros(32, dtype=torch.int64))
    flux, count = simulator.render(one), 256
    images = torch.cat(
        [simulator.photograph(flux, replace(one, number=torch.arange(k, k + 32))) for k in range(0, count, 32)]
    ).double()

    unit = "e-" if gain == 1 else "ADU"
    band = {**BANDS["euclid"][1], "ccd_gain": 3.1, "data_count_unit": unit}
    api = SimAPI(
        num_pix=64,
        kwargs_single_band=band,
        kwargs_model={"lens_model_list": ["SIE", "SHEAR"], "source_light_model_list": ["SERSIC_ELLIPSE"]},
    )
    own = {name: float(value[0]) for name, value in one.scalars.items()}
    source = {"R_sersic": 0.25, "n_sersic": 1, "e1": -0.1, "e2": 0.1}
    source |= {"magnitude": 20, "center_x": own["source_x"], "center_y": own["source_y"]}
    _, amplitudes, _ = api.magnitude2amplitude(None, [source], None)
    model = api.image_model_class({"supersampling_factor": 1})
    lens = [{"theta_E": own["einstein_radius"], "e1": 0.1, "e2": 0, "center_x": 0, "center_y": 0}]
    mean = torch.from_numpy(model.image([*lens, {"gamma1": 0.05, "gamma2": 0}], amplitudes))
    variance = torch.from_numpy(api.estimate_noise(mean.numpy()) ** 2)

    assert (images.mean(0) - mean).abs().max() < 6 * (variance / count).sqrt().max() + 1e-3 * mean.max()
    off_mean = (images.mean(0) - mean) / (variance / count + (3e-4 * mean.max()) ** 2).sqrt()
    off_variance = (images.var(0) / variance - 1) / math.sqrt(2 / count)
    for off in (off_mean, off_variance):
        assert off.abs().max() < 6
        assert off.mean().abs() < 5 / 64
    assert off_variance.std().item() == pytest.approx(1, abs=0.1)


def test_published_images_of_model_ii_have_no_noise() -> None:
    simulator = Simulator(find_set("model_ii_published"), find_classes(), 0, "cpu")
    counts, draws = simulator.make(torch.arange(2), torch.arange(2))
    flux = simulator.render(simulator.draw(torch.arange(32) % 2, torch.arange(32) % 2))
    torch.testing.assert_close(counts, 2 * blur(flux, simulator.lens_set.camera)[:2])
    assert "exposure" not in draws.scalars or draws.scalars["exposure"].min() > 0


def test_magnitudes_are_the_light_of_all() -> None:
    """A source far from the lens's reach, summed over a wide field: its flux is that of its magnitude."""
    source = Sersic(Magnitude(Fixed(20.0)), Fixed(0.4), 2.0, Fixed(0.7), Fixed(0.3))
    lens_set = replace(find_set("model_ii"), source=source, camera=replace(EUCLID_VIS, pixels=160, oversample=2))
    halo = replace(lens_set.halo, einstein_radius=Fixed(1e-6), shear=Fixed(0.0))
    lens_set = replace(lens_set, halo=halo)
    draws = Simulator(lens_set, find_classes(["no_sub"]), 0, "cpu").draw(torch.zeros(1, dtype=torch.int64))
    total = render(draws, lens_set).double().sum().item()
    assert total == pytest.approx(10 ** (-0.4 * (20 - 25.72)), rel=0.01)


def test_kernels_are_astropys() -> None:
    axis = np.arange(-20, 21) * 0.05
    x, y = np.meshgrid(axis, axis)
    core = 0.2 / (2 * math.sqrt(2 ** (1 / 3.0) - 1))
    for psf, theirs in (
        (Moffat(0.2, 3.0, 1.0), Moffat2D(1, 0, 0, core, 3.0)(x, y)),
        (Airy(0.3, 1.0), AiryDisk2D(1, 0, 0, 0.3)(x, y)),
    ):
        theirs[np.hypot(x, y) > 1.0] = 0
        np.testing.assert_allclose(psf.kernel(0.05), theirs / theirs.sum(), atol=1e-9)


@pytest.mark.parametrize(
    "name", ["model_ii", "model_iii", "hst_subhalo", "hst_subhalo_sersic", "euclid", "hst", "jwst"]
)
def test_points_within_a_pixel_are_enough(name: str) -> None:
    """Three times as many along each side change no pixel by a third of its noise in most images, nor by it in any."""
    lens_set, count = find_set(name), 4
    camera = lens_set.camera
    assert isinstance(camera, Telescope)
    draws = Simulator(lens_set, find_classes(["no_sub"]), 0, "cpu").draw(torch.arange(32), torch.zeros(32).long())
    more = replace(lens_set, camera=replace(camera, oversample=3 * camera.oversample))
    images = [blur(render(draws.first(count), each), each.camera) for each in (lens_set, more)]
    noise = (images[1] / camera.exposure.value + camera.background_rms**2).sqrt()
    off = ((images[0] - images[1]) / noise).abs()
    if lens_set.lens_light is not None:
        middle, reach = off.shape[1] // 2, round(0.4 / camera.pixel_scale)
        off[:, middle - reach : middle + reach, middle - reach : middle + reach] = 0  # the cusp of a lens galaxy
    if name.startswith("hst_subhalo"):
        # The pixel on the lens's own centre: where the slope is below 2, its middle image is finer than any points.
        axis = (torch.arange(camera.pixels) - 0.5 * (camera.pixels - 1)) * camera.pixel_scale
        x, y = axis[None, None, :], axis[None, :, None]
        own = [draws.scalars[key][:count, None, None] for key in ("lens_x", "lens_y")]
        off[torch.hypot(x - own[0], y - own[1]) < 0.15] = 0
    assert off.amax((1, 2)).median() < 1 / 3
    assert off.max() < 1


@pytest.mark.parametrize("name", ["model_ii", "hst_subhalo"])
def test_pixels_are_those_of_lenstronomy_with_many_points(name: str) -> None:
    """Twelve along each side and its own Gaussian, in place of ours."""
    lens_set = find_set(name)
    draws = Simulator(lens_set, find_classes(["no_sub"]), 1, "cpu").draw(torch.arange(32), torch.zeros(32).long())
    ours = blur(render(draws.first(1), lens_set), lens_set.camera)[0].numpy()
    theirs = reference_image(draws, 0, lens_set, psf=True, points=12)
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.max()


def test_a_kernel_of_one_pixel_leaves_the_light_where_it_is() -> None:
    camera = replace(EUCLID_VIS, psf=PixelKernel(((1.0,),), EUCLID_VIS.pixel_scale), oversample=1)
    flux = torch.rand(2, camera.pixels, camera.pixels, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(blur(flux, camera), flux)


def test_telescopes_that_are_none_are_refused() -> None:
    for field, value in (("pixels", 0), ("gain", -1.0), ("exposures", 0)):
        with pytest.raises(InputError, match=rf"^a telescope with {field} {value:g}: give a number above 0$"):
            replace(EUCLID_VIS, **{field: value})
    with pytest.raises(InputError, match=r"^model_i: magnitudes need a telescope, whose zero point says what they are"):
        replace(
            find_set("model_i"), source=replace(find_set("model_i").source, amplitude=Magnitude(LogUniform(20, 21)))
        )


def test_photographs_are_in_the_cameras_unit() -> None:
    flux = torch.full((32, 64, 64), 5.0)
    key = torch.tensor([1, 2])
    draws = Simulator(find_set("model_ii"), find_classes(["no_sub"]), 0, "cpu").draw(torch.arange(32))
    rate = photograph(flux, draws, EUCLID_VIS, key)
    counts = photograph(flux, draws, replace(EUCLID_VIS, gain=2.0), key)
    torch.testing.assert_close(counts, rate / 2)
    assert rate[:, 20:40, 20:40].mean().item() == pytest.approx(5.0, rel=1e-3)


def write_psf(file: Path, weights: np.ndarray, **header: float) -> Path:
    fits.PrimaryHDU(weights, header=fits.Header(header)).writeto(file)
    return file


def test_a_measured_psf_is_the_telescopes(tmp_path: Path) -> None:
    """A kernel of a Gaussian's weights blurs as the Gaussian does, and one that is lopsided is not turned round."""
    taps = np.array(Gaussian(0.16, 3.0).taps(0.101))
    measured = read_psf(write_psf(tmp_path / "psf.fits", 7 * np.outer(taps, taps), PIXSCALE=0.101), 0.101)
    flux = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    ours, theirs = (blur(flux, replace(EUCLID_VIS, psf=psf)) for psf in (measured, Gaussian(0.16, 3.0)))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = np.full((5, 5), 0.1)
    weights[2, 2], weights[2, 3] = 20.0, 10.0
    lopsided = read_psf(write_psf(tmp_path / "lopsided.fits", weights), 0.05)
    flux = torch.zeros(1, 64, 64)
    flux[0, 30, 40] = 1.0
    seen = blur(flux, replace(EUCLID_VIS, psf=lopsided, pixel_scale=0.05))
    np.testing.assert_allclose(seen[0, 28:33, 38:43].numpy(), weights / weights.sum(), atol=1e-6)


def test_psfs_that_are_none_are_refused(tmp_path: Path) -> None:
    good = np.outer([1.0, 2, 1], [1.0, 2, 1])
    shifted = np.zeros((9, 9))
    shifted[4, 7] = 1
    (tmp_path / "text.fits").write_text("no FITS")
    for name, weights, header, message in (
        ("even", np.ones((4, 4)), {}, "has 4 x 4 pixels: give a square of an odd number, so that one is its centre"),
        ("flat", np.ones((3, 5)), {}, "has 3 x 5 pixels: give a square of an odd number, so that one is its centre"),
        ("single", np.ones((1, 1)), {}, "has 1 x 1 pixels, and spreads nothing: give 3 x 3 or more"),
        ("empty", np.zeros((3, 3)), {}, "is empty or has pixels that are no numbers: give one with light in it"),
        ("nan", np.full((3, 3), np.nan), {}, "is empty or has pixels that are no numbers: give one with light in it"),
        ("off", shifted, {}, "its light is off its middle pixel by 3.0, 0.0 px: shift it there"),
        ("scale", good, {"PIXSCALE": 0.05}, 'is of 0.05" a pixel, and the set of 0.101": resample it, or give another'),
        ("degrees", good, {"CDELT1": 0.05 / 3600}, 'is of 0.05" a pixel, and the set of 0.101": resample it, or gi'),
        ("text", None, {}, "cannot be read as FITS"),
        ("gone", None, {}, "cannot be read as FITS"),
    ):
        file = tmp_path / f"{name}.fits"
        if weights is not None:
            write_psf(file, weights, **header)
        with pytest.raises(InputError) as refusal:
            read_psf(file, 0.101)
        assert f"--psf {file}: {message}" in str(refusal.value)
        assert "\n" not in str(refusal.value)
    read_psf(write_psf(tmp_path / "good.fits", good, CDELT1=1.0), 0.101)


def test_cells_of_a_point_spread_function_add_up_to_it() -> None:
    """Integrated weights are the means over the pixels: those of a third of a pixel, added up."""
    for psf in (Gaussian(0.16, 4.0), Airy(0.12, 0.5), Moffat(0.2, 3.0, 0.5)):
        weights = []
        for scale in (0.06, 0.02):
            if isinstance(psf, Gaussian):
                weights.append(np.outer(psf.taps(scale, integrated=True), psf.taps(scale, integrated=True)))
            else:
                weights.append(psf.kernel(scale, integrated=True))
        coarse, fine = weights
        reach = 3
        middle, centre = len(fine) // 2, len(coarse) // 2
        inner = fine[middle - 3 * reach - 1 : middle + 3 * reach + 2, middle - 3 * reach - 1 : middle + 3 * reach + 2]
        added = inner.reshape(2 * reach + 1, 3, 2 * reach + 1, 3).sum((1, 3))
        there = coarse[centre - reach : centre + reach + 1, centre - reach : centre + reach + 1]
        np.testing.assert_allclose(there / there.sum(), added / added.sum(), atol=3e-3 * added.max())
