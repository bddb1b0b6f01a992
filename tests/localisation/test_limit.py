"""What the network finds beside what could be found, of images that are drawn again from their numbers."""

import json

import numpy as np
import pytest
import torch
from scipy import stats

from deeplense.data.images import load_images
from deeplense.localisation.detections import Detections
from deeplense.localisation.limit import found_at, limit_of
from deeplense.localisation.scores import Findings, mass_edges
from deeplense.localisation.truth import read_truth
from deeplense.simulation.limit import signal_to_noise
from deeplense.simulation.sets import find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.write import simulate_set


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """64 images, and what a network might say: it finds what is heavier than 10^9.5 Msun."""
    folder = tmp_path_factory.mktemp("sets") / "one"
    simulate_set("one_subhalo", folder, 64, seed=4, progress=False)
    images = load_images(str(folder))
    truth = read_truth(images, "here").take(np.arange(64)[::-1])
    expected = 0.1 + 0.8 * (truth.mass[:, 0] > 10**9.5)
    nothing = Detections(*(np.empty(0, dtype=np.int64 if k == 0 else np.float64) for k in range(8)))
    edges = mass_edges(truth)
    return images, truth, Findings(expected, expected, nothing, np.empty(0), edges, np.zeros((64, 4)))


def test_the_limit_is_that_of_the_very_images(found):
    images, truth, findings = found
    limit = limit_of(images, np.arange(64)[::-1], truth, findings)
    assert limit.rows.tolist() == np.flatnonzero(truth.mass[:, 0] > 0).tolist()

    simulator = Simulator(find_set("one_subhalo"), find_classes(), 4, "cpu")

    draws = simulator.draw(torch.arange(32), torch.ones(32, dtype=torch.int64))
    wanted = signal_to_noise(draws, simulator.lens_set, each=False).whole.numpy()[::-1]
    np.testing.assert_allclose(limit.snr, wanted, rtol=1e-6)
    mass = np.log10(truth.mass[limit.rows, 0])
    for row in limit.summary["by_mass"]:
        own = (mass >= row["from"]) & (mass < row["to"])
        for name, rate in (("fpr_0.01", 0.01), ("fpr_0.1", 0.1)):
            best = stats.norm.cdf(limit.snr[own] - stats.norm.isf(rate / 60)).mean()
            assert row[name]["limit"]["rate"] == pytest.approx(best)
            assert row[name]["found"]["rate"] == (row["from"] >= 9.5)
            assert row[name]["ratio"] == pytest.approx((row["from"] >= 9.5) / best)
    assert sum(row["n"] for row in limit.summary["by_snr"]) == 32
    json.dumps(limit.summary, allow_nan=False)


def test_images_that_cannot_be_drawn_again_have_none(found):
    """Of another version or a variant of a set, of no set at all, or with other subhalos than are written down."""
    images, truth, findings = found
    indices = np.arange(64)[::-1]
    file = images.folder / "dataset.json"
    before = file.read_text()
    variant = json.loads(before)["parameters"]
    variant["camera"]["psf"]["fwhm"] *= 1.5
    try:
        for change in ({"version": 0}, {"name": "mine"}, {"seed": 5}, {"parameters": variant}):
            file.write_text(json.dumps({**json.loads(before), **change}))
            assert limit_of(images, indices, truth, findings) is None
    finally:
        file.write_text(before)


def test_rates_at_the_limit_are_those_of_the_normal_law():
    assert found_at(np.array([0.0]), 0.1)[0] == pytest.approx(0.1 / 60)  # of one place
    assert found_at(np.array([stats.norm.isf(0.01 / 60)]), 0.01)[0] == pytest.approx(0.5)
