"""From a density that was planted to the detections in it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.detections import FAINTEST, detect
from deeplense.localisation.maps import CHANNELS, physical
from deeplense.localisation.matching import match, turned_truths
from deeplense.localisation.network import DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA
from deeplense.localisation.truth import Scale, TrueSubhalos

SCALE = Scale(pixel=0.1, side=40, crop=1.0, size=40)
"""20 x 20 cells of 0.2 arcsec: from -2 to 2 arcsec."""


def planted(subhalos, side=20):
    """One image whose density is `subhalos`: x, y, number, sigma (cells), log-mass, its sigma."""
    outputs = torch.zeros(1, 6, side, side)
    outputs[:, LOG_DENSITY] = np.log(1e-7)
    outputs[:, LOG_MASS] = 9.0
    for x, y, number, sigma, mass, spread in subhalos:
        row, column = int(y), int(x)
        values = {LOG_DENSITY: np.log(number), DX: x - column - 0.5, DY: y - row - 0.5, LOG_SIGMA: np.log(sigma)}
        for channel, value in (values | {LOG_MASS: mass, LOG_MASS_SIGMA: np.log(spread)}).items():
            outputs[0, channel, row, column] = value
    return outputs


def test_what_was_planted_is_found_with_its_uncertainties():
    outputs = torch.cat([planted([(3.2, 5.7, 0.8, 0.2, 9.7, 0.3), (12.5, 5.1, 0.9, 0.1, 8.8, 0.4)]), planted([])])
    found = detect(outputs)
    assert found.image.tolist() == [0, 0]
    assert found.expected == pytest.approx([0.9, 0.8], rel=1e-4)  # the most probable first
    np.testing.assert_allclose([found.x, found.y], [[12.5, 3.2], [5.1, 5.7]], atol=1e-4)
    np.testing.assert_allclose([found.x_sigma, found.y_sigma], [[0.1, 0.2]] * 2, rtol=1e-2)
    np.testing.assert_allclose([found.log10_mass, found.log10_mass_sigma], [[8.8, 9.7], [0.4, 0.3]], rtol=1e-3)


def test_claims_of_neighbouring_cells_are_one_detection():
    found = detect(planted([(4.95, 7.5, 0.5, 0.1, 9.0, 0.2), (5.05, 7.5, 0.3, 0.1, 9.4, 0.2)]))
    assert len(found) == 1
    assert found.expected == pytest.approx([0.8], rel=1e-3)
    mean = (0.5 * 4.95 + 0.3 * 5.05) / 0.8
    assert found.x == pytest.approx([mean], abs=1e-3)
    assert found.x_sigma == pytest.approx([np.sqrt(0.01 + 15 / 64 * 0.1**2)], rel=1e-2)
    assert found.log10_mass_sigma == pytest.approx([np.sqrt(0.04 + 15 / 64 * 0.4**2)], rel=1e-2)


def test_numbers_are_not_counted_twice_and_no_two_are_within_a_beam():
    torch.manual_seed(0)
    outputs = torch.randn(6, 6, 20, 20)
    outputs[:, LOG_DENSITY] -= 4
    outputs[:, [DX, DY]] = outputs[:, [DX, DY]].tanh()
    found = detect(outputs)
    whole = outputs[:, LOG_DENSITY].exp().sum((1, 2)).numpy()
    for row in range(6):
        own = found.image == row
        assert own.sum() > 5
        assert found.expected[own].sum() <= whole[row] * (1 + 1e-5)
        assert (np.diff(found.expected[own]) <= 0).all()
        apart = np.hypot(*(part[own][:, None] - part[own] for part in (found.x, found.y)))
        assert (apart + 10 * np.eye(own.sum())).min() >= 1.0 - 1e-5  # a cell is two pixels
    assert (found.expected > FAINTEST).all()
    for row in range(6):  # an image's detections do not depend on its neighbours in the batch
        alone = detect(outputs[row : row + 1])
        np.testing.assert_allclose(alone.expected, found.expected[found.image == row], rtol=1e-6)


def test_images_without_density_have_none():
    assert len(detect(planted([]))) == 0


def test_each_subhalo_has_one_detection_and_each_detection_one_subhalo():
    """Two detections near one subhalo: the more probable one is it, and the other is false unless a second is near."""
    outputs = planted([(5.5, 5.5, 0.9, 0.1, 9, 0.2), (7.1, 5.5, 0.6, 0.1, 9, 0.2), (15.5, 15.5, 0.5, 0.1, 9, 0.2)])
    found = detect(outputs)
    near = SCALE.from_cells(np.array([[6.4, 5.5], [12.0, 3.0]]))  # nearer to the second one
    truth = TrueSubhalos(near[None, :, 0], near[None, :, 1], np.array([[1e9, 2e9]]))
    told = match(found, truth, SCALE)
    assert told.subhalo.tolist() == [0, -1, -1]
    assert told.detection.tolist() == [[0, -1]]


def test_turned_truth_keeps_its_distance_and_goes_all_round():
    truth = TrueSubhalos(np.array([[1.0, 0.3]]), np.array([[0.5, -0.7]]), np.array([[1e9, 0.0]]))
    turned = list(turned_truths(truth, 12))
    for one in turned:
        np.testing.assert_allclose(np.hypot(one.x, one.y), np.hypot(truth.x, truth.y))
    assert np.mean([one.x for one in turned]) == pytest.approx(0)
    assert len({round(float(one.x[0, 0]), 6) for one in turned}) > 6


def test_lengths_go_to_cells_and_back():
    scale = Scale(pixel=0.08, side=80, crop=0.7, size=56)
    assert scale.half == pytest.approx(2.24)
    assert scale.seen_pixel == pytest.approx(0.08)
    assert scale.to_cells(np.array([-2.24, 0.0, 2.24])) == pytest.approx([0, 14, 28])
    assert scale.from_cells(np.array([0.0, 14.0, 28.0])) == pytest.approx([-2.24, 0, 2.24])
    assert Scale(pixel=None, side=80, crop=1.0, size=40).seen_pixel == 2.0


def test_masses_and_their_errors_are_made_right_on_validation_images():
    random = np.random.default_rng(1)
    count = 400
    true = random.uniform(9.0, 11.0, count)
    said = 0.8 * true + 1.9 + 0.05 * random.normal(size=count)
    places = random.uniform(4, 16, (count, 2))
    outputs = torch.cat([planted([(x, y, 0.97, 0.2, mass, 0.2)]) for (x, y), mass in zip(places, said, strict=True)])
    x, y = SCALE.from_cells(places).T
    truth = TrueSubhalos(x[:, None], y[:, None], 10 ** true[:, None])
    plain = LocaliserCard(
        task="locate", classes=("no_sub", "sub"), image_size=40, channels=1, normalize="auto", epoch=1, pixel_scale=0.1
    )
    card = plain.calibrated(outputs, truth, SCALE)
    found = card.findings(outputs, np.array([9.0, 10.0, 11.0]))
    error = found.detections.log10_mass - true
    assert abs(error.mean()) < 0.01
    assert abs(np.polyfit(true, error, 1)[0]) < 0.02
    assert (np.abs(error) < found.detections.log10_mass_sigma).mean() == pytest.approx(0.68, abs=0.05)
    assert found.expected_in.sum(0) == pytest.approx([(true < 10).sum(), (true >= 10).sum()], rel=0.05)
    # What leaves this program says the same.
    row, column = places[0].astype(int)[::-1]
    told = physical(outputs[:1], card, 40)[0, :, row, column].numpy()
    at = CHANNELS.index("log10_mass")
    assert told[at] == pytest.approx(found.detections.log10_mass[0], abs=1e-3)
    assert told[at + 1] == pytest.approx(found.detections.log10_mass_sigma[0], rel=0.02)
    assert LocaliserCard.read(json.loads(json.dumps(dataclasses.asdict(card)))) == card
    older = {name: value for name, value in dataclasses.asdict(card).items() if name != "mass_law"}
    assert LocaliserCard.read(older).mass_law == (0.0, 1.0)
