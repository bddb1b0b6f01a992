"""One image in several forms is one image; and two images are two."""

import dataclasses
import io
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import lens_image, write_lenses
from PIL import Image

from deeplense.config import SplitConfig
from deeplense.data.images import load_images
from deeplense.data.near import NEAR, look_of, near_pairs
from deeplense.data.split import PARTS, families, split_images

RANDOM = np.random.default_rng(0)
LENSES = [lens_image(RANDOM, bool(index % 2), size=100) for index in range(40)]
LOOKS = np.array([look_of(image[None]) for image in LENSES])


def jpeg(image: np.ndarray, quality: int = 95) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


FORMS = {
    "floats": lambda image: image / 255,
    "counts": lambda image: image * 31.5 - 40,
    "faint": lambda image: image * 1e-24,
    "bright": lambda image: image * 1e24,
    "words": lambda image: image.astype(np.uint16) * 257,
    "jpeg": jpeg,
    "larger": lambda image: np.kron(image, np.ones((2, 2), np.uint8)),
    "turned": np.rot90,
    "turned twice": lambda image: np.rot90(image, 2),
    "mirrored": np.fliplr,
    "mirrored and turned": lambda image: np.rot90(np.flipud(image)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_image_are_near(form):
    other = np.array([look_of(np.asarray(FORMS[form](image))[None]) for image in LENSES])
    assert sorted(near_pairs(LOOKS, other)) == [(index, index) for index in range(40)]
    both = np.concatenate([LOOKS, other])
    assert sorted(near_pairs(both)) == [(index, index + 40) for index in range(40)]


def test_colours_that_are_grey_are_near():
    for image in LENSES[:5]:
        assert np.linalg.norm(look_of(np.stack([image] * 3), rgb=True) - look_of(image[None])) < NEAR / 10


def test_two_images_are_two():
    assert list(near_pairs(LOOKS)) == []
    dark = np.array([look_of(np.zeros((1, 40, 40)))] * 3)
    assert list(near_pairs(dark)) == []


def test_all_pairs_are_found():
    """As one by one."""
    looks = RANDOM.normal(0, 0.01, (300, 40)).astype(np.float32)
    looks[100:110] = looks[:10] + 1e-3
    expected = {(i, j) for i in range(300) for j in range(i + 1, 300) if np.linalg.norm(looks[i] - looks[j]) < 0.05}
    assert set(near_pairs(looks, near=0.05)) == expected
    assert len(expected) > 10


def test_near_copies_stay_on_one_side(tmp_path, capsys):
    folder = write_lenses(tmp_path / "set", 40)
    for index, file in enumerate(sorted(folder.rglob("*.png"))):
        if index % 2:
            image = np.asarray(Image.open(file))
            np.save(file.with_name(f"copy{index}.npy"), np.rot90(image) / 255.0)
    images = load_images(str(folder))
    split = split_images(images, SplitConfig())
    part_of = {images.paths[index]: part for part in PARTS for index in split.part(part)}
    copies = [path for path in images.paths if "copy" in path]
    assert len(copies) == 40
    own = sorted(path for path in images.paths if "copy" not in path)
    for path in copies:
        original = own[int(path.split("copy")[1].split(".")[0])]
        assert part_of[path] == part_of[original]
    assert "40 images are near-copies of others" in capsys.readouterr().err


def test_images_without_near_copies_are_split_as_ever(tmp_path):
    images = load_images(str(write_lenses(tmp_path / "set", 40)))
    assert families(images) == images.hashes
    without = dataclasses.replace(images, looks=None)
    one, other = (split_images(some, SplitConfig()) for some in (images, without))
    assert all(np.array_equal(one.part(part), other.part(part)) for part in PARTS)


def test_a_crowd_of_images_that_are_alike_is_no_family(tmp_path, capsys):
    """Simulations without noise differ by less than formats do."""
    images = load_images(str(write_lenses(tmp_path / "set", 80)))
    alike = dataclasses.replace(images, looks=np.repeat(images.looks[:1], len(images), 0))
    assert families(alike) == images.hashes
    assert "80 images look so much alike" in capsys.readouterr().err


@pytest.mark.slow
def test_no_false_alarm_among_ten_thousand_simulated_images(tmp_path):
    from deeplense.simulation.write import simulate_set

    for name in ("model_i", "morphology_2019"):
        simulate_set(name, tmp_path / name, 10_000, ("no_sub", "cdm"), seed=3, progress=False)
        pixels = np.load(tmp_path / name / "images.npy", mmap_mode="r").reshape(10_000, 1, 150, 150)
        assert list(near_pairs(np.array([look_of(image) for image in pixels]))) == []


@pytest.mark.slow
@pytest.mark.skipif("DEEPLENSE_REAL_DATA" not in os.environ, reason="DEEPLENSE_REAL_DATA is not set")
def test_no_false_alarm_among_the_real_images():
    files = sorted(Path(os.environ["DEEPLENSE_REAL_DATA"]).rglob("*.jpg"))
    looks = np.array([look_of(np.asarray(Image.open(file))[None]) for file in files])
    assert list(near_pairs(looks)) == []
