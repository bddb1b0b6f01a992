"""Rates at a false-positive rate, against SciPy, scikit-learn and repeated experiments."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

from deeplense.scores.detection import crossing, detection_rate, proportion, threshold_at


def scores(seed, smooth=1000, positive=400, shift=2.0):
    random = np.random.default_rng(seed)
    return random.normal(0, 1, smooth), random.normal(shift, 1, positive)


@pytest.mark.parametrize("fpr", [0.01, 0.1, 0.29])
def test_the_rate_is_that_of_the_roc_curve(fpr):
    smooth, positive = scores(0, smooth=700)
    rate = detection_rate(positive, threshold_at(smooth, fpr))
    false, true, _ = roc_curve(np.repeat([0, 1], [700, 400]), np.concatenate([smooth, positive]))
    assert rate.value == true[false <= fpr].max()
    assert (rate.n, rate.hits) == (400, round(rate.value * 400))


def test_of_100_smooth_images_one_is_a_false_positive_at_one_per_cent():
    threshold = threshold_at(np.arange(100.0), 0.01)
    assert threshold.value == 98
    assert detection_rate(np.array([98.0, 98.5, 120.0]), threshold).hits == 2


@pytest.mark.parametrize(("hits", "n"), [(0, 30), (7, 30), (30, 30), (1999, 2000)])
def test_wilson_agrees_with_scipy(hits, n):
    rate = proportion(hits, n)
    interval = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (rate.low, rate.high) == pytest.approx((interval.low, interval.high), abs=1e-12)


@pytest.mark.parametrize(
    ("smooth", "positive", "fpr", "shift"),
    [(2000, 2000, 0.01, 2.3), (10_000, 250, 0.1, 0.2), (2000, 250, 0.01, 3.5), (10_000, 2000, 0.01, 5.0)],
)
def test_intervals_cover_the_truth_as_often_as_they_say(smooth, positive, fpr, shift):
    """And Wilson's alone, which takes the threshold for known, would not."""
    true = stats.norm.sf(stats.norm.isf(fpr) - shift)
    rates = []
    for seed in range(250):
        negatives, positives = scores(seed, smooth, positive, shift)
        rates.append(detection_rate(positives, threshold_at(negatives, fpr)))
    covered = np.mean([rate.low <= true <= rate.high for rate in rates])
    assert 0.915 < covered < 0.99
    if smooth == positive:
        alone = [proportion(rate.hits, rate.n) for rate in rates]
        assert np.mean([rate.low <= true <= rate.high for rate in alone]) < 0.6


def test_the_thresholds_interval_is_exact_for_any_law():
    inside = 0
    for seed in range(250):
        threshold = threshold_at(np.random.default_rng(seed).exponential(size=2000), 0.01)
        inside += threshold.low <= stats.expon.isf(0.01) <= threshold.high
    assert 0.92 < inside / 250 < 0.99


def test_too_few_smooth_images_leave_the_rate_open_below():
    """0.99^300 > 2.5 %: all of 300 may well lie below the threshold that is meant."""
    smooth, positive = scores(0, smooth=300)
    threshold = threshold_at(smooth, 0.01)
    assert threshold.high == np.inf
    assert detection_rate(positive, threshold).low == 0


def test_crossing_is_found_between_the_points():
    assert crossing(np.array([7.0, 8.0, 9.0]), np.array([0.1, 0.3, 0.7]), 0.5) == pytest.approx(8.5)
    assert crossing(np.array([7.0, 8.0]), np.array([0.1, 0.3]), 0.5) is None
    assert crossing(np.array([7.0, 8.0]), np.array([0.6, 0.9]), 0.5) is None
