"""On the public DeepLense images, where `DEEPLENSE_REAL_DATA` names their folder (`no_sub` and `sub`, 4,000 each)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_python
from PIL import Image

from deeplense.config import SplitConfig
from deeplense.data.images import load_images
from deeplense.data.split import split_images
from deeplense.scores.metrics import auc_delong
from deeplense.simulation.camera import blur
from deeplense.simulation.sets import SETS, find_classes
from deeplense.simulation.simulator import Simulator

WHERE = os.environ.get("DEEPLENSE_REAL_DATA", "")
pytestmark = pytest.mark.skipif(not WHERE, reason="DEEPLENSE_REAL_DATA names no folder of real images")


@pytest.fixture(scope="module")
def real():
    return load_images(WHERE)


def test_all_of_them_open(real):
    assert (len(real), real.classes, real.pixels.shape[1:]) == (8000, ("no_sub", "sub"), (1, 150, 150))
    assert len(set(real.hashes)) == 8000
    for index in (0, 4000, 7999):
        np.testing.assert_array_equal(real.pixels[index, 0], np.asarray(Image.open(Path(WHERE) / real.paths[index])))


def test_brightness_tells_nothing(real):
    """The published figure for mean brightness is an AUC of 0.522 on the full set."""
    brightness = real.pixels.reshape(8000, -1).mean(1)
    assert auc_delong(real.labels == 1, brightness).value == pytest.approx(0.522, abs=0.02)


def test_the_split(real):
    split = split_images(real, SplitConfig())
    assert (len(split.train), len(split.val), len(split.test)) == (5600, 800, 1600)


def test_substructure_widens_the_ring_as_in_morphology_2019(real):
    """What the classes differ in most. With 1 % of the mass, as in the paper's table, it would be a seventh of this."""
    row, column = np.mgrid[:150, :150] - 74.5
    radius = np.hypot(row, column)  # pixels from the lens; the ring is at 20
    within = (radius > 8) & (radius < 18)

    def brightness(images):
        return (images[:, within].mean(1) / images.max((1, 2))).mean()

    theirs = [brightness(real.pixels[real.labels == label, 0]) for label in (0, 1)]
    lens_set = SETS["morphology_2019"]
    simulator = Simulator(lens_set, find_classes(["cdm"]), seed=0, device="cpu")
    draws = simulator.draw(torch.arange(256), torch.zeros(256, dtype=torch.int64))
    ours = [brightness(blur(simulator.render(lenses), lens_set.camera).numpy()) for lenses in (draws.smooth(), draws)]
    assert ours[1] - ours[0] == pytest.approx(theirs[1] - theirs[0], rel=0.4)


@pytest.mark.slow
def test_quickstart_beats_what_needs_no_network(tmp_path):
    """100 principal components and boosted trees reach 0.986 on these images."""
    done = run_python(
        "train.py", "quickstart", "--data", WHERE, "--output-dir", tmp_path, "--name", "run", "--wandb", "disabled",
        timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["test"]["roc_auc"] > 0.986
