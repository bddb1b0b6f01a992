"""Scores against computations of their own, of findings that are made up."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from deeplense.localisation.detections import Detections
from deeplense.localisation.promise import Promise, sigma_factor, straight
from deeplense.localisation.scores import Findings, counted, mass_edges, placed, score
from deeplense.localisation.told import mass_table, say, score_rows
from deeplense.localisation.truth import Scale, TrueSubhalos

SCALE = Scale(pixel=0.08, side=56, crop=1.0, size=56)
"""Cells of 0.16 arcsec, and found within 0.16 arcsec."""


@pytest.fixture(scope="module")
def made_up():
    """4,000 images, half of them with a subhalo; found the more often the heavier it is, some misplaced."""
    random = np.random.default_rng(5)
    n = 4000
    has = np.arange(n) % 2 == 1
    log_mass = random.uniform(8.5, 10.5, n)
    angle, radius = random.uniform(0, 2 * np.pi, n), random.uniform(0.7, 1.9, n)
    truth = TrueSubhalos(
        (radius * np.cos(angle))[:, None], (radius * np.sin(angle))[:, None], np.where(has, 10**log_mass, 0.0)[:, None]
    )
    seen = has & (random.random(n) < (log_mass - 8.5) / 2)
    p = np.where(seen, random.beta(6, 1, n), random.beta(0.3, 6, n))
    sigma = 0.2 * np.ones(n)  # cells
    misplaced = random.random(n) < 0.1
    x = SCALE.to_cells(truth.x[:, 0]) + sigma * random.normal(size=n) + 6.0 * (misplaced | ~seen)
    y = SCALE.to_cells(truth.y[:, 0]) + sigma * random.normal(size=n)
    own = p > 0.01
    said = log_mass + 0.1 * random.normal(size=n)
    columns = (p, x, y, sigma, sigma, said, np.full(n, 0.1))
    detections = Detections(np.flatnonzero(own), *(column[own] for column in columns))
    edges = mass_edges(truth)
    findings = Findings(p, p, detections, p[own], edges, np.tile(p[:, None] / 4, 4))
    return findings, truth, has, log_mass, p, (x, y)


def test_of_several_subhalos_as_many_detections_may_be_at_the_heaviest():
    """Four images: one subhalo and two detections, two and two, two and three, none and one."""
    nowhere = [0.0, 0.0]
    truth = TrueSubhalos(
        np.array([[1.0, 0.0], [1.0, -1.0], [1.0, -1.0], nowhere]),
        np.zeros((4, 2)),
        np.array([[1e10, 0.0], [1e10, 1e9], [1e10, 1e9], nowhere]),
    )
    image = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    x = SCALE.to_cells(np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 0.0, 1.0, 1.0]))
    some = np.full(len(image), 0.1)
    detections = Detections(image, some, x, SCALE.to_cells(np.zeros(len(image))), some, some, some, some)
    assert placed(detections, truth, SCALE, 4).tolist() == [False, True, False, False]


def test_found_and_placed_by_mass_are_what_counting_gives(made_up):
    findings, truth, has, log_mass, p, (x, y) = made_up
    scores = score(findings, truth, SCALE)
    away = np.hypot(SCALE.from_cells(x) - truth.x[:, 0], SCALE.from_cells(y) - truth.y[:, 0])
    assert [row["from"] for row in scores["by_mass"]] == [8.5, 9.0, 9.5, 10.0]
    for row in scores["by_mass"]:
        own = has & (log_mass >= row["from"]) & (log_mass < row["to"])
        assert row["n"] == own.sum()
        for name, rate in (("fpr_0.01", 0.01), ("fpr_0.1", 0.1)):
            threshold = np.sort(p[~has])[::-1][int(rate * (~has).sum())]  # that many are above it
            found = p[own] > threshold
            assert row[name]["found"]["rate"] == pytest.approx(found.mean())
            assert row[name]["placed"]["rate"] == pytest.approx((found & (away[own] < 0.16)).mean())
            assert row[name]["found"]["low"] < row[name]["found"]["rate"] < row[name]["found"]["high"]
            # 0.16" either way of a ring of 0.7 to 1.9", of those that are found.
            assert 0.02 * found.mean() < row[name]["placed_by_chance"] < 0.06 * found.mean()
    assert scores["roc_auc"] == pytest.approx(
        stats.mannwhitneyu(p[has], p[~has]).statistic / (has.sum() * (~has).sum())
    )


def test_froc_false_detections_errors_and_sums(made_up):
    findings, truth, has, log_mass, p, (x, y) = made_up
    scores = score(findings, truth, SCALE)
    away = np.hypot(x - SCALE.to_cells(truth.x[:, 0]), y - SCALE.to_cells(truth.y[:, 0])) * 0.16
    right = has & (away < 0.16)
    for row in scores["froc"]:
        assert row["found"]["hits"] == (right & (p >= row["probability"])).sum()
        assert row["false_an_image"]["count"] == (~right & (p >= row["probability"])).sum()
        assert sum(own["hits"] for own in row["found_by_mass"]) == row["found"]["hits"]
        assert row["found_by_chance"] <= row["found"]["rate"]
    false = scores["false_detections"]
    assert false["per_100_smooth"]["rate"] == pytest.approx(100 * (p[~has] >= 0.5).mean())
    sure = right & (p >= 0.5)
    assert scores["position"]["median"]["value"] == pytest.approx(np.median(away[sure]))
    assert scores["position"]["median_above_9.5"]["n"] == (sure & (log_mass >= 9.5)).sum()
    assert scores["position"]["pulls"]["within_1_sigma"]["rate"] == pytest.approx(0.683, abs=0.03)
    assert scores["mass"]["bias"]["low"] < 0 < scores["mass"]["bias"]["high"]
    assert scores["mass"]["scatter"] == pytest.approx(0.1, rel=0.1)
    numbers = scores["calibration"]["expected_numbers"]
    assert numbers[0]["expected"] == pytest.approx(p.sum())
    assert numbers[0]["true"] == has.sum()
    assert numbers[0]["low"] < numbers[0]["ratio"] < numbers[0]["high"]


def test_what_is_said_names_the_numbers(made_up):
    findings, truth, *_ = made_up
    scores = score(findings, truth, SCALE)
    told = say(scores)
    first = scores["by_mass"][0]["fpr_0.01"]["found"]["rate"]
    assert f"10^8.5 to 10^9 Msun: {100 * first:.0f} % found" in told
    assert "in 100 smooth images" in told
    head, rows = mass_table(scores)
    assert len(rows) == 4
    assert all(len(row) == len(head) for row in rows)
    assert any("expected number against what is there, all" in row[0] for row in score_rows(scores))


def test_images_of_one_kind_alone_have_what_can_be_said_of_them(made_up):
    findings, truth, has, *_ = made_up

    def part(keep):
        rows = np.flatnonzero(keep)
        number = np.isin(findings.detections.image, rows)
        detections = findings.detections.take(number)
        detections = dataclasses.replace(detections, image=np.searchsorted(rows, detections.image))
        own = Findings(
            findings.expected[rows], findings.p_any[rows], detections, findings.probability[number], findings.edges,
            findings.expected_in[rows],
        )  # fmt: skip
        return score(own, truth.take(rows), SCALE)

    smooth, full = part(~has), part(has)
    assert smooth["roc_auc"] is full["roc_auc"] is None
    assert smooth["by_mass"] == full["by_mass"] == []
    assert smooth["froc"] == []
    assert smooth["position"]["median"] is None
    assert smooth["calibration"]["expected_numbers"][0]["ratio"] is None
    assert full["false_detections"]["per_100_smooth"] is None
    assert "false detections" in say(smooth)
    assert "position" in say(full)
    assert score_rows(smooth)
    assert mass_table(smooth)[1] == []


@pytest.mark.parametrize(("number", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.39)])
def test_intervals_of_rare_things_are_garwood_s(number, low, high):
    """His table of 1936, for 95 %."""
    told = counted(number, 1)
    assert (told["low"], told["high"]) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))


def test_bins_hold_all_masses_and_start_where_the_lightest_does():
    def edges(*masses):
        mass = np.array([masses])
        return mass_edges(TrueSubhalos(mass, mass, mass)).tolist()

    assert edges(10**8.5, 10**10.5) == [8.5, 9, 9.5, 10, 10.5]
    assert edges(float(np.float32(10**8.5)), 2e9) == [8.5, 9, 9.5]
    assert edges(3e9, 0.0) == [9, 9.5]
    assert edges(0.0) == [9, 9.5]


def test_a_promise_learns_what_came_true_and_leaves_alone_what_is_true():
    random = np.random.default_rng(0)
    expected = random.beta(0.5, 1, 20_000)
    true = random.random(20_000) < expected
    honest = Promise.fitted(expected, true)
    assert (honest.offset, honest.low, honest.high) == (
        pytest.approx(0, abs=0.15), pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.1)
    )  # fmt: skip
    # What says too much where it is faint and too little where it is strong is mended at both ends.
    said = 1 / (1 + np.exp(-(0.5 + 1.5 * np.log(expected) - 0.6 * np.log1p(-expected))))
    mended = Promise.fitted(said, true)
    for low, high in ((0.0, 0.1), (0.4, 0.6), (0.8, 1.0)):
        own = (expected >= low) & (expected < high)
        assert mended.probability(said[own]).mean() == pytest.approx(true[own].mean(), abs=0.03)
    assert (np.diff(mended.probability(np.linspace(0, 1.5, 50))) >= 0).all()
    few = Promise.fitted(np.array([0.9, 0.1]), np.array([True, False]))
    assert 0.5 < few.low < 2  # two cases do not make a certainty
    nothing = Promise.fitted(np.empty(0), np.empty(0, dtype=bool))
    assert nothing == Promise()


def test_sigmas_are_corrected_by_their_pulls_and_not_by_outliers():
    random = np.random.default_rng(0)
    errors = 0.3 * random.normal(size=5000)
    errors[:50] = 100.0
    assert sigma_factor(errors, np.full(5000, 0.1)) == pytest.approx(3, rel=0.06)
    assert sigma_factor(errors[:10], np.ones(10)) == 1
    assert math.isclose(sigma_factor(np.ones(100), np.ones(100)), 1)


def test_masses_are_mended_by_a_line_that_few_of_them_do_not_draw():
    random = np.random.default_rng(0)
    said = random.uniform(9, 11, 4000)
    true = 10.2 + 1.2 * (said - 10) + 0.1 * random.normal(size=4000)
    offset, slope = straight(said, true)
    assert slope == pytest.approx(1.2, abs=0.01)
    assert offset + 10 * slope == pytest.approx(10.2, abs=0.01)
    assert straight(said[:10], true[:10]) == (0.0, 1.0)
    near = 10 + 0.001 * random.normal(size=50)  # all of one mass: their mean tells the offset, and nothing a slope
    offset, slope = straight(near, near + 0.1 + 0.1 * random.normal(size=50))
    assert slope == pytest.approx(1, abs=0.1)
    assert offset + 10 * slope == pytest.approx(10.1, abs=0.06)
    assert straight(said, 20 - said)[1] > 0
