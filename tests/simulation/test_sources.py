"""Sources with texture: random fields and real galaxies, and that a galaxy is in one part of the split only."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from astropy.io import fits
from galaxies import spiral, write_galaxies
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy_images import main_lens, reference_image, sersic
from PIL import Image
from scipy import ndimage

from deeplense.data.packed import read_packed
from deeplense.errors import InputError
from deeplense.simulation.camera import blur
from deeplense.simulation.gallery import PARTS, Pictures, half_light_radius, open_gallery
from deeplense.simulation.lights import FIELD_PIXELS, Field
from deeplense.simulation.priors import Fixed
from deeplense.simulation.render import pixel_grid
from deeplense.simulation.sets import LensSet, find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.stream import ImageStream
from deeplense.simulation.variants import with_sources
from deeplense.simulation.write import simulate_set
from deeplense.simulation.yolo import write_yolo


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_galaxies(tmp_path_factory.mktemp("galaxies"))


def small(lens_set: LensSet) -> LensSet:
    """The same of fewer pixels, for a test's sake."""
    return replace(lens_set, camera=replace(lens_set.camera, pixels=32, oversample=2))


def test_pictures_are_lensed_as_by_lenstronomy(galaxies: Path) -> None:
    lens_set = with_sources("hst_subhalo", str(galaxies))
    simulator = Simulator(lens_set, find_classes(["cdm"]), seed=1, device="cpu")
    draws = simulator.draw(torch.arange(4), torch.zeros(4, dtype=torch.int64))
    flux = simulator.render(draws)
    blurred = blur(flux, lens_set.camera)
    side, factor = lens_set.camera.pixels, lens_set.camera.oversample
    pixels = flux.view(4, side, factor, side, factor).sum((2, 4))
    for image in range(3):
        for ours, psf, bound in ((pixels, False, 1e-4), (blurred, True, 1e-3)):
            theirs = reference_image(draws, image, lens_set, psf)
            assert np.abs(ours[image].numpy() - theirs).max() < bound * theirs.max()


def test_random_fields_are_lensed_with_their_profile() -> None:
    """The Sersic profile by lenstronomy, times the field by scipy's interpolation, which repeats it as well."""
    lens_set = with_sources("hst_subhalo", "field")
    simulator = Simulator(lens_set, find_classes(["no_sub"]), seed=1, device="cpu")
    draws = simulator.draw(torch.arange(3), torch.zeros(3, dtype=torch.int64))
    flux = simulator.render(draws).flatten(1).double().numpy()
    x, y = (axis.double().numpy() for axis in pixel_grid(lens_set.camera, torch.device("cpu")))
    for image in range(3):
        own = {name: float(value[image]) for name, value in draws.scalars.items()}
        lenses = main_lens(own, lens_set)
        behind = LensModel([name for name, _ in lenses]).ray_shooting(x, y, [values for _, values in lenses])
        name, values = sersic(own, "source", lens_set.lights["source"])
        profile = LightModel([name]).surface_brightness(*behind, [values])
        angle = own["source_angle"]
        dx, dy = behind[0] - own["source_x"], behind[1] - own["source_y"]
        along, across = dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
        pixel = own["source_radius"] * lens_set.source.extent / FIELD_PIXELS
        place = [part / pixel + 0.5 * (FIELD_PIXELS - 1) for part in (across, along)]
        texture = ndimage.map_coordinates(draws.field[image].double().numpy(), place, order=1, mode="grid-wrap")
        expected = profile * texture * lens_set.camera.pixel_area
        assert np.abs(flux[image] - expected).max() < 1e-4 * expected.max()


@pytest.mark.parametrize(("slope", "contrast"), [(2.0, 0.3), (3.5, 0.8)])
def test_random_fields_have_their_spectrum(slope: float, contrast: float) -> None:
    lens_set = with_sources("hst_subhalo", "field")
    assert isinstance(lens_set.source, Field)
    lens_set = replace(lens_set, source=replace(lens_set.source, slope=Fixed(slope), contrast=Fixed(contrast)))
    number = torch.arange(200)
    fields = Simulator(lens_set, find_classes(["no_sub"]), 1, "cpu").draw(number, torch.zeros_like(number)).field
    torch.testing.assert_close(fields.mean((1, 2)), torch.ones(200), rtol=1e-4, atol=0)
    logarithm = fields.log().double()
    torch.testing.assert_close(logarithm.std((1, 2)), torch.full((200,), contrast).double(), rtol=1e-3, atol=0)
    power = (torch.fft.fft2(logarithm).abs() ** 2).mean(0).numpy()
    frequency = np.fft.fftfreq(FIELD_PIXELS)
    k = np.hypot(frequency, frequency[:, None])
    some = (k > 0) & (k < 0.4)
    found = np.polyfit(np.log(k[some]), np.log(power[some]), 1)[0]
    assert found == pytest.approx(-slope, abs=0.05)


def test_each_galaxy_is_in_one_part_of_the_split(tmp_path: Path, galaxies: Path) -> None:
    lens_set = small(with_sources("hst_subhalo", str(galaxies)))
    simulate_set(lens_set, tmp_path / "set", 300, seed=2, progress=False)
    with (tmp_path / "set" / "catalog.csv").open() as table:
        rows = list(csv.DictReader(table))
    parts = [{row["picture"] for row in rows if row["part"] == part} for part in PARTS]
    assert [len(part) for part in parts] == [14, 2, 4]
    assert len(set.union(*parts)) == 20
    images = read_packed(tmp_path / "set")
    assert images.parts == [row["part"] for row in rows]
    share = [images.parts.count(part) / 300 for part in PARTS]
    assert share == pytest.approx([0.7, 0.1, 0.2], abs=0.08)


def test_pictures_with_boxes_are_in_the_parts_of_their_galaxies(tmp_path: Path, galaxies: Path) -> None:
    lens_set = small(with_sources("hst_subhalo", str(galaxies)))
    write_yolo(lens_set, tmp_path / "set", 200, ("no_sub", "cdm"), 2, "cpu", min_snr=0.0)
    index = torch.arange(200)
    own = Simulator(lens_set, find_classes(), 2, "cpu").draw(index // 2, index % 2).scalars
    found = {part: [int(file.stem) for file in (tmp_path / "set" / "images" / part).iterdir()] for part in PARTS}
    assert sorted(number for some in found.values() for number in some) == list(range(200))
    behind = [set(own["picture"][found[part]].int().tolist()) for part in PARTS]
    assert [len(some) for some in behind] == [14, 2, 4]
    assert len(set.union(*behind)) == 20
    refusal = pytest.raises(InputError, match=r"^--count 20: no image of (no_sub|sub) is in the part \w+: give more$")
    with refusal:
        write_yolo(lens_set, tmp_path / "few", 20, ("no_sub", "cdm"), 2, "cpu", min_snr=0.0)
    assert not (tmp_path / "few").exists()


def test_galaxies_in_class_folders_are_refused(tmp_path: Path, galaxies: Path) -> None:
    lens_set = small(with_sources("hst_subhalo", str(galaxies)))
    with pytest.raises(InputError, match=r"^--format folders: says no parts, .*: give --format packed$"):
        simulate_set(lens_set, tmp_path / "set", 8, form="folders", progress=False)
    assert not (tmp_path / "set").exists()


def test_a_stream_has_the_galaxies_of_training_only(galaxies: Path) -> None:
    stream = ImageStream(small(with_sources("hst_subhalo", str(galaxies))), seed=3)
    _, draws = stream.span(0, 128)
    assert (draws.scalars["part"] == 0).all()
    assert set(draws.scalars["picture"].int().tolist()) == set(range(14))


def test_the_folder_is_known_by_its_content(tmp_path: Path, galaxies: Path) -> None:
    """Names and formats change nothing, copies count once; another galaxy makes another set."""
    other = tmp_path / "other"
    other.mkdir()
    for seed in range(20):
        fits.PrimaryHDU(spiral(seed)[0]).writeto(other / f"x{19 - seed}.fits")
    np.save(other / "copy.npy", spiral(3))
    first, again = open_gallery(galaxies, 1), open_gallery(other, 1)
    assert first[1] == again[1]
    assert np.array_equal(first[0].pixels, again[0].pixels)
    np.save(other / "more.npy", spiral(20))
    assert open_gallery(other, 1)[1] != first[1]


def test_other_files_are_read(tmp_path: Path) -> None:
    """Pictures, and a HDF5 file as Galaxy10's: three bands by their mean, or kept."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    colour = [spiral(seed, 200, 3).clip(0, 255).astype(np.uint8) for seed in range(12)]
    for number, image in enumerate(colour):
        Image.fromarray(np.moveaxis(image, 0, 2)).save(pictures / f"{number}.png")
    with h5py.File(tmp_path / "galaxy10.h5", "w") as file:
        file["images"] = np.stack([np.moveaxis(image, 0, 2) for image in colour])
    (one, _), (three, sha256), (same, again) = (
        open_gallery(pictures, 1),
        open_gallery(pictures, 3),
        open_gallery(tmp_path / "galaxy10.h5", 3),
    )
    assert sha256 == again
    assert np.array_equal(three.pixels, same.pixels)
    assert one.pixels.shape == (12, 1, 102, 102)  # 100 and a dark rim
    assert three.pixels.shape == (12, 3, 102, 102)
    assert (one.shrunk == 2).all()
    light = three.pixels.astype(float).sum((2, 3))
    assert (light[:, 0] > 1.3 * light[:, 2]).all()
    for number in range(12):
        found = half_light_radius(one.pixels[number, 0].astype(float))
        assert found == pytest.approx(float(one.half_light[number]), rel=0.05)


def test_model_iv_has_three_bands(tmp_path: Path) -> None:
    lens_set = with_sources("model_iv", str(write_galaxies(tmp_path / "colour", 12, bands=3, side=200)))
    assert isinstance(lens_set.source, Pictures)
    simulate_set(lens_set, tmp_path / "set", 6, progress=False)
    images = read_packed(tmp_path / "set")
    assert images.pixels.shape == (6, 3, 64, 64)
    simulator = Simulator(lens_set, find_classes(), 0, "cpu")
    draws = simulator.draw(torch.arange(32) // 2, torch.arange(32) % 2)
    gallery, which = lens_set.source.gallery, draws.scalars["picture"].long()
    # 0.0025" to a pixel of the file.
    torch.testing.assert_close(draws.scalars["source_radius"], torch.from_numpy(gallery.half_light)[which] * 0.005)
    noises: list[np.ndarray] = []
    for band in range(3):
        ours = blur(simulator.render(draws, band), lens_set.camera)[0].numpy()
        theirs = reference_image(draws, 0, lens_set, psf=True, band=band)
        assert np.abs(ours - theirs)[12:-12, 12:-12].max() < 1e-3 * theirs.max()
        noise = np.sqrt(theirs / 2264 + lens_set.camera.background_rms**2)
        noises.append(((images.pixels[0, band] - theirs) / noise)[12:-12, 12:-12].ravel())
        assert noises[band].std() == pytest.approx(1, abs=0.1)
    assert np.abs(np.corrcoef(noises) - np.eye(3)).max() < 0.15  # 1,600 pixels each: no band has another's noise


def test_sources_that_are_none_are_refused(tmp_path: Path) -> None:
    star = np.exp(-0.5 * np.hypot(*np.indices((64, 64)) - 31.5) ** 2 / 1.5**2)
    broken = spiral(50)
    broken[0, 3, 3] = np.nan
    for name, image, message in (
        ("star", 100 * star, "1 of its images are stars, or too small (star.npy[0], for one): take them out"),
        ("thumbnail", spiral(50, 10), "1 of its images are stars, or too small (thumbnail.npy[0], for one): take"),
        ("nan", broken, "1 of its images have pixels that are no numbers (nan.npy[0], for one): take them out"),
        ("dark", np.zeros((64, 64)), "1 of its images have no light (dark.npy[0], for one): take them out"),
        ("flat", np.zeros(64), f"{tmp_path / 'flat' / 'flat.npy'}: has an array of shape (64,): give (H, W), or th"),
    ):
        folder = write_galaxies(tmp_path / name, 11)
        np.save(folder / f"{name}.npy", image)
        with pytest.raises(InputError) as refusal:
            with_sources("hst_subhalo", str(folder))
        assert message in str(refusal.value)
        assert str(refusal.value).startswith("--sources ")
        assert "\n" not in str(refusal.value)
    with pytest.raises(
        InputError, match=r"9 galaxies that differ are too few to have training, validation and test im"
    ):
        with_sources("hst_subhalo", str(write_galaxies(tmp_path / "few", 9)))
    with pytest.raises(InputError, match=r"^--sources nowhere: does not exist: give a folder"):
        with_sources("hst_subhalo", "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"has no image: give a folder of FITS, .npy or pictures"):
        with_sources("hst_subhalo", str(tmp_path / "empty"))
    (tmp_path / "empty" / "x.npy").write_text("no array")
    with pytest.raises(InputError, match=r"x.npy: cannot be read \("):
        with_sources("hst_subhalo", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"^model_iv: its sources are real galaxies: make it by `python -m deeplense"):
        find_set("model_iv")
    with pytest.raises(InputError, match=r"^--sources field: the sources of model_iv are real galaxies: give a folder"):
        with_sources("model_iv", "field")
