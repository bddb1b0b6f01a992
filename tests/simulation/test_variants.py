"""Sets with a share of the mass, without the lens's light, and beside a telescope's images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_python
from galaxies import write_galaxies
from PIL import Image

from deeplense.errors import InputError
from deeplense.simulation.beside import draw_beside
from deeplense.simulation.camera import blur
from deeplense.simulation.priors import Fixed, PowerLaw, mean_mass
from deeplense.simulation.sets import LensSet, find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.substructure import Share
from deeplense.simulation.variants import with_share, with_sources, without_lens_light


def small(name: str) -> LensSet:
    lens_set = find_set(name)
    return replace(lens_set, camera=replace(lens_set.camera, pixels=48, oversample=1))


def test_a_share_of_the_mass_is_given() -> None:
    """The same lenses, and subhalos of so much mass in the mean; in twice the Einstein radius is twice the mass."""
    number = torch.arange(3000)
    draws = {
        share: Simulator(with_share(find_set("euclid"), share), find_classes(["cdm"]), 1, "cpu").draw(
            number, 0 * number
        )
        for share in (0.01, 0.05)
    }
    for share, there in draws.items():
        own = there.scalars
        square = find_set("euclid").cosmology.mass_to_square(own["z_lens"], own["z_source"])
        found = there.mass.sum(1) / (2 * own["einstein_radius"] ** 2 / square)
        assert float(found.mean()) == pytest.approx(share, rel=0.1)
        assert (own["share"] == share).all()
    assert torch.equal(draws[0.01].scalars["einstein_radius"], draws[0.05].scalars["einstein_radius"])


@pytest.mark.parametrize(("name", "times"), [("euclid", 1.24), ("hst", 1.17), ("jwst", 1.29)])
def test_all_that_deflects_is_more_than_the_share(name: str, times: float) -> None:
    """What the docstring of `Share` says: it counts M200."""
    lens_set, number = with_share(find_set(name), 0.01), torch.arange(1000)
    draws = Simulator(lens_set, find_classes(["cdm"]), 1, "cpu").draw(number, 0 * number)
    square = lens_set.cosmology.mass_to_square(draws.scalars["z_lens"], draws.scalars["z_source"])
    total = (draws.radius**2).sum(1) / square
    assert float(total.sum() / draws.mass.sum()) == pytest.approx(times, abs=0.01)


@pytest.mark.parametrize(("name", "share"), [("euclid", 0.2), ("jwst", 0.2), ("model_iv", 0.1), ("model_iv", 0.2)])
def test_a_large_share_is_not_cut(tmp_path: Path, name: str, share: float) -> None:
    lens_set = with_sources(name, str(write_galaxies(tmp_path / "galaxies", 10, 3)) if name == "model_iv" else None)
    number = torch.arange(500)
    draws = Simulator(with_share(lens_set, share), find_classes(["cdm"]), 1, "cpu").draw(number, 0 * number)
    own, law = draws.scalars, lens_set.subhalos.mass
    assert isinstance(law, PowerLaw)
    square = lens_set.cosmology.mass_to_square(own["z_lens"], own["z_source"])
    expected = share * 2 * own["einstein_radius"] ** 2 / square / mean_mass(law)
    assert float(own["subhalos"].sum() / expected.sum()) == pytest.approx(1, abs=0.01)


def test_a_share_that_the_set_has_changes_nothing_else() -> None:
    lens_set = find_set("euclid")
    assert isinstance(lens_set.subhalos.number, Share)
    for share in (0.001, 0.01, 0.05):
        changed = with_share(lens_set, share).subhalos
        assert changed == replace(lens_set.subhalos, number=replace(lens_set.subhalos.number, fraction=Fixed(share)))


def test_the_lenss_light_is_taken_out_with_residuals() -> None:
    """What stays has the noise of the lens's photons everywhere, and more than that in the lens's middle."""
    lens_set = small("hst")
    lens_set = replace(lens_set, neighbours=None, z_lens=Fixed(0.3))
    number = torch.arange(64)
    classes = find_classes(["no_sub"])
    seen, draws = Simulator(without_lens_light(lens_set), classes, 1, "cpu").make(number, 0 * number)
    whole, _ = Simulator(lens_set, classes, 1, "cpu").make(number, 0 * number)
    dark = replace(lens_set, lens_light=None)
    source = blur(Simulator(dark, classes, 1, "cpu").render(draws), lens_set.camera)
    full = blur(Simulator(lens_set, classes, 1, "cpu").render(draws), lens_set.camera)
    assert (seen - whole).amax() < 0  # something is taken out everywhere
    noise = (full / lens_set.camera.exposure.value + lens_set.camera.background_rms**2).sqrt()
    off = (seen - source) / noise
    rim = torch.cat([off[:, :4].flatten(), off[:, -4:].flatten()])
    assert float(rim.std()) == pytest.approx(1, abs=0.5)
    assert float(off[:, 20:28, 20:28].std()) > 1.3 * float(rim.std())
    left = (seen - source).abs().sum((1, 2)) / (full - source).sum((1, 2))
    assert 0.002 < float(left.median()) < 0.1
    for name in ("amplitude", "radius", "axis_ratio", "angle", "x", "y"):
        assert draws.scalars[f"off_{name}"].std() > 0


def test_neighbours_stand_beside_the_lens() -> None:
    lens_set = find_set("hst")
    number = torch.arange(1000)
    draws = Simulator(lens_set, find_classes(["no_sub"]), 1, "cpu").draw(number, 0 * number)
    x, y, radius, amplitude = draws.neighbours.unbind(1)
    there = amplitude > 0
    assert (there.sum(1) == draws.scalars["neighbours"]).all()
    assert float(there.sum(1).float().mean()) == pytest.approx(3, abs=0.2)
    half = 0.5 * lens_set.camera.pixels * lens_set.camera.pixel_scale
    assert max(x.abs().max(), y.abs().max()) <= half
    # A Gaussian of half-light radius R and brightness I there: its light is 2 pi s^2 times 2 I, and R^2 = 2 ln 2 s^2.
    light = (amplitude * 2 * torch.pi * radius**2 / (2 * np.log(2)) * 2)[there]
    magnitude = -2.5 * light.log10() + lens_set.camera.zero_point
    assert 24.4 < magnitude.min() < magnitude.max() < 27.6


def test_a_set_beside_a_telescopes_images(tmp_path: Path, figures: None) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "real").mkdir()
    for number in range(2):
        np.save(tmp_path / "real" / f"{number}.npy", random.normal(size=(100, 60)).astype(np.float32))
    draw_beside(small("hst_subhalo"), tmp_path / "real", tmp_path / "beside.png", 0)
    with Image.open(tmp_path / "beside.png") as picture:
        assert picture.size[0] > 1000
    with pytest.raises(InputError, match=r"^--beside .*nothing: does not exist"):
        draw_beside(small("hst_subhalo"), tmp_path / "nothing", tmp_path / "beside.png", 0)


def test_pictures_with_boxes_beside_a_telescopes_images(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    np.save(tmp_path / "real" / "0.npy", np.random.default_rng(0).normal(size=(80, 80)).astype(np.float32))
    done = run_python(
        *("-m", "deeplense.simulation", "one_subhalo", "--out", tmp_path / "set", "--count", "20", "--format", "yolo"),
        *("--min-snr", "0", "--beside", tmp_path / "real"),
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "set" / "beside.png") as picture:
        assert picture.size[0] > 1000


def test_variants_that_a_set_has_not_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"^--share 0.01: hst_subhalo draws no share of the mass in subhalos: leave it"
    ):
        with_share(find_set("hst_subhalo"), 0.01)
    for share in (0.0, -1.0, 0.5):
        with pytest.raises(InputError, match=rf"^--share {share:g}: give the part of the mass in subhalos, above 0 up"):
            with_share(find_set("euclid"), share)
    with pytest.raises(InputError, match=r"^--lens-light subtracted: one_subhalo has no lens light: leave it out$"):
        without_lens_light(find_set("one_subhalo"))
