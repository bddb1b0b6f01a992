"""Pictures with boxes: what a detector of boxes is given must be where the truth is."""

import csv
import math

import numpy as np
import pytest
from conftest import run_python
from galaxies import write_galaxies
from PIL import Image

from deeplense.errors import InputError
from deeplense.simulation.sets import SETS
from deeplense.simulation.variants import with_sources
from deeplense.simulation.yolo import PARTS, beam, boxes, part_of, write_image, write_yolo

SET = SETS["one_subhalo"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("yolo") / "set"
    write_yolo(SET, where, 40, ("no_sub", "cdm"), 0, "cpu", min_snr=5.0)
    return where


def test_boxes_lie_round_the_subhalos_that_can_be_seen(folder):
    rows = list(csv.DictReader((folder / "truth.csv").open()))
    assert [int(row["image"]) for row in rows] == list(range(1, 40, 2))  # every other image has one
    seen = 0
    for number in range(40):
        part = part_of(number // 2)
        with Image.open(folder / "images" / part / f"{number:06d}.png") as picture:
            assert (picture.mode, picture.size) == ("L", (80, 80))
            assert np.asarray(picture).max() == 255
        lines = (folder / "labels" / part / f"{number:06d}.txt").read_text().splitlines()
        wanted = [row for row in rows if int(row["image"]) == number and float(row["snr"]) >= 5]
        assert len(lines) == len(wanted)
        for line, row in zip(lines, wanted, strict=True):
            kind, x, y, width, height = line.split()
            assert kind == "0"
            assert (float(x) - 0.5) * 6.4 == pytest.approx(float(row["x"]), abs=1e-4)
            assert (float(y) - 0.5) * 6.4 == pytest.approx(float(row["y"]), abs=1e-4)
            assert float(width) * 6.4 == float(height) * 6.4 == pytest.approx(beam(SET.camera), abs=1e-4)
            seen += 1
    assert 4 < seen < 20
    assert [len(list((folder / "images" / part).iterdir())) for part in PARTS] == [32, 4, 4]
    assert (folder / "data.yaml").read_text().splitlines()[:2] == [f"path: {folder}", "train: images/train"]


@pytest.mark.parametrize("classes", [("cdm",), ("no_sub", "cdm")])
def test_every_part_has_every_class(tmp_path, classes):
    ways = len(classes)
    write_yolo(SET, tmp_path / "set", 20 * ways, classes, 0, "cpu", min_snr=0.0)
    for part, count in zip(PARTS, (16, 2, 2), strict=True):
        files = sorted((tmp_path / "set" / "labels" / part).iterdir())
        assert [sum(int(file.stem) % ways == label for file in files) for label in range(ways)] == [count] * ways
        assert {int(file.stem) % ways for file in files if file.read_text()} == {classes.index("cdm")}
    rows = list(csv.DictReader((tmp_path / "set" / "truth.csv").open()))
    assert len(rows) == 20
    assert {row["snr"] for row in rows} == {""}  # nothing was measured
    assert all(float(row["mass"]) > 1e8 for row in rows)


def test_bands_are_shown_by_their_mean(tmp_path):
    lens_set = with_sources("model_iv", str(write_galaxies(tmp_path / "galaxies", 10, bands=3)))
    camera = lens_set.camera
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    colour = np.random.default_rng(0).normal(1, 0.5, (3, 64, 64)).astype(np.float32)
    pictures = []
    for number, counts in enumerate((colour, colour.mean(0))):
        write_image(tmp_path, "val", number, counts, np.zeros((1, 2)), camera)
        with Image.open(tmp_path / "images" / "val" / f"{number:06d}.png") as picture:
            pictures.append(np.asarray(picture))
    assert pictures[0].shape == (64, 64)
    assert np.array_equal(*pictures)


def test_a_beam_is_what_the_telescope_makes_of_a_point():
    # The Gaussian of 0.1", sampled in pixels of 0.08" and cut off, and two pixels.
    assert beam(SET.camera) == pytest.approx(math.hypot(0.1, 0.16), rel=0.15)
    assert beam(SETS["model_i"].camera) == pytest.approx(math.hypot(0.087, 0.1), rel=0.1)
    # At the edge a box ends with the image, and beyond it there is none.
    (box,) = boxes(np.array([[3.2, 0.0], [4.0, 0.0]]), SET.camera)
    assert box[0] + box[2] / 2 == pytest.approx(1.0)
    assert box[2] == pytest.approx(box[3] / 2)


def test_what_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        write_yolo(SET, tmp_path / "own", 20, ("no_sub", "cdm"), 0, "cpu", 0.0)
    with pytest.raises(InputError, match="--count 15: --format yolo has three parts with no_sub and sub in each"):
        write_yolo(SET, tmp_path / "few", 15, ("no_sub", "cdm"), 0, "cpu", 0.0)
    with pytest.raises(InputError, match=r"^--min-snr 5: images of model_ii_published have no noise to measure by: g"):
        write_yolo(SETS["model_ii_published"], tmp_path / "bare", 20, ("no_sub", "cdm"), 0, "cpu", 5.0)
    done = run_python("-m", "deeplense.simulation", "one_subhalo", "--out", tmp_path / "x", "--format", "yolo", "--snr")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --format yolo: is made in one go")
