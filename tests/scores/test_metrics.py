import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from deeplense.scores.metrics import (
    auc_delong,
    auc_macro,
    expected_calibration_error,
    predict_labels,
    score,
    tpr_at_fpr,
)

TWO = ("no_sub", "sub")
CONTRACT = {
    "n", "classes", "roc_auc", "roc_auc_low", "roc_auc_high", "average_precision", "accuracy", "balanced_accuracy",
    "log_loss", "brier", "ece", "threshold", "confusion_matrix", "tpr_at_fpr_0.01", "tpr_at_fpr_0.1", "errors",
    "recall_at_precision_0.5", "recall_at_precision_0.9",
}  # fmt: skip


def sample(count=400, shift=1.5, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    return labels, random.normal(labels * shift)


def two_columns(score):
    chance = 1 / (1 + np.exp(-score))
    return np.stack([1 - chance, chance], 1)


@settings(max_examples=100, deadline=None)
@given(scores=st.lists(st.integers(-5, 5), min_size=4, max_size=40), seed=st.integers(0, 100))
def test_the_area_is_that_of_scikit_learn_with_ties(scores, seed):
    labels = np.random.default_rng(seed).integers(0, 2, len(scores))
    labels[:2] = [0, 1]
    auc = auc_delong(labels == 1, np.array(scores, float))
    assert auc.value == pytest.approx(sk.roc_auc_score(labels, scores))
    assert auc.low <= auc.value <= auc.high


def test_delong_by_its_definition():
    """The quadratic sums of DeLong et al. (1988), equations 4 to 6, written out."""
    labels, scores = sample(60)
    above, below = scores[labels == 1], scores[labels == 0]
    kernel = (above[:, None] > below) + 0.5 * (above[:, None] == below)  # (m, n)
    variance = kernel.mean(1).var(ddof=1) / len(above) + kernel.mean(0).var(ddof=1) / len(below)
    auc = auc_delong(labels == 1, scores)
    assert auc.value == pytest.approx(kernel.mean())
    assert (auc.influence**2).sum() == pytest.approx(variance)
    half = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert (auc.low, auc.high) == pytest.approx((kernel.mean() - half, kernel.mean() + half))


@pytest.mark.parametrize("shift", [0.5, 1.5, 2.5])
def test_the_interval_is_that_of_a_bootstrap(shift):
    labels, scores = sample(500, shift)
    random = np.random.default_rng(1)
    areas = []
    for _ in range(1000):
        again = random.integers(0, len(labels), len(labels))
        areas.append(auc_delong(labels[again] == 1, scores[again]).value)
    auc = auc_delong(labels == 1, scores)
    assert np.sqrt((auc.influence**2).sum()) == pytest.approx(np.std(areas), rel=0.1)
    assert (auc.low, auc.high) == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.1 * (auc.high - auc.low))


def test_the_interval_covers_the_truth():
    truth = stats.norm.cdf(1.5 / np.sqrt(2))
    intervals = [auc_delong(labels == 1, scores) for labels, scores in (sample(300, 1.5, seed) for seed in range(400))]
    assert 0.91 < np.mean([auc.low <= truth <= auc.high for auc in intervals]) < 0.98


def test_a_perfect_ranking_is_not_certain():
    auc = auc_delong(np.repeat([False, True], 50), np.arange(100.0))
    assert auc.value == auc.high == 1
    assert auc.low == pytest.approx(0.025 ** (1 / 50))


def test_one_kind_has_no_area():
    with pytest.raises(ValueError, match="both kinds"):
        auc_delong(np.ones(5, bool), np.arange(5.0))


def test_scores_are_those_of_scikit_learn():
    labels, raw = sample()
    chances = two_columns(raw)
    scores = score(labels, chances, TWO)
    predicted = (chances[:, 1] >= 0.5).astype(int)
    assert set(scores) == CONTRACT
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, raw))
    assert scores["average_precision"] == pytest.approx(sk.average_precision_score(labels, raw))
    assert scores["accuracy"] == pytest.approx((predicted == labels).mean())
    assert scores["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert scores["log_loss"] == pytest.approx(-np.log(chances[np.arange(400), labels]).mean())
    assert scores["brier"] == pytest.approx(sk.brier_score_loss(labels, chances[:, 1]))
    assert scores["confusion_matrix"] == sk.confusion_matrix(labels, predicted).tolist()
    assert scores["errors"] == (predicted != labels).sum()
    assert scores["n"] == 400


def test_threshold_moves_the_labels_and_nothing_else():
    labels, raw = sample()
    low, high = (score(labels, two_columns(raw), TWO, threshold) for threshold in (0.2, 0.8))
    assert low["roc_auc"] == high["roc_auc"]
    assert low["confusion_matrix"] != high["confusion_matrix"]
    assert (low["threshold"], high["threshold"]) == (0.2, 0.8)
    assert predict_labels(np.array([[0.5, 0.5], [0.51, 0.49]])).tolist() == [1, 0]


def test_true_positive_rate_by_hand():
    positive = np.array([0] * 10 + [1] * 4, bool)
    scores = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 6.5, 9, 10, 30.0])
    assert tpr_at_fpr(positive, scores, 0.01) == 0.25
    assert tpr_at_fpr(positive, scores, 0.1) == 0.75
    assert tpr_at_fpr(positive, scores, 0.3) == 1


def test_calibration_by_hand():
    chances = np.array([0.95] * 10 + [0.05] * 10)
    labels = np.array([1] * 8 + [0] * 2 + [0] * 10)
    # Bins of 1/15: gaps of 0.15 and 0.05, half of the images in each.
    assert expected_calibration_error(labels, np.stack([1 - chances, chances], 1)) == pytest.approx(0.1)
    random = np.random.default_rng(0)
    chances = random.random(200_000)
    calibrated = (random.random(200_000) < chances).astype(int)
    assert expected_calibration_error(calibrated, np.stack([1 - chances, chances], 1)) < 0.01


def test_three_classes_are_one_against_rest():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600)
    logits = random.normal(size=(600, 3)) + 2 * np.eye(3)[labels]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    scores = score(labels, chances, ("no_sub", "axion", "cdm"))
    assert set(scores) == CONTRACT | {"roc_auc_per_class"}
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, chances, multi_class="ovr"))
    assert scores["roc_auc_per_class"]["cdm"]["roc_auc"] == pytest.approx(sk.roc_auc_score(labels == 2, chances[:, 2]))
    assert scores["threshold"] is None
    assert np.sum(scores["confusion_matrix"]) == 600
    areas = []
    for _ in range(400):
        again = random.integers(0, 600, 600)
        areas.append(auc_macro(labels[again], chances[again])[0].value)
    half = (scores["roc_auc_high"] - scores["roc_auc_low"]) / 2
    assert half == pytest.approx(1.96 * np.std(areas), rel=0.15)


def test_one_class_leaves_null_and_a_reason():
    labels, chances = np.ones(20, int), two_columns(np.linspace(-1, 3, 20))
    scores = score(labels, chances, TWO)
    assert scores["roc_auc"] is scores["balanced_accuracy"] is scores["tpr_at_fpr_0.01"] is None
    assert "no images of class no_sub" in scores["undefined"]
    assert scores["accuracy"] == pytest.approx((chances[:, 1] >= 0.5).mean())
