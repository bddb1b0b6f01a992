import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import expit, softmax
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from deeplense.errors import InputError
from deeplense.scores.calibration import (
    LIKELIEST,
    calibrate,
    choose_threshold,
    fit_temperature,
    refuse_rate,
    reliability,
)
from deeplense.scores.metrics import calibration_scores, expected_calibration_error, tpr_at_fpr


def two_classes(count, temperature, seed=0):
    """Labels, and logits (n, 1) float32 that are `temperature` times too sure."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 3, count)
    labels = (random.random(count) < expit(honest)).astype(int)
    return labels, (temperature * honest).astype(np.float32)[:, None]


def three_classes(count, temperature, seed=0):
    random = np.random.default_rng(seed)
    honest = random.normal(0, 2, (count, 3))
    labels = (random.random(count)[:, None] > softmax(honest, 1).cumsum(1)).sum(1)
    return labels, (temperature * honest).astype(np.float32)


def columns(logits):
    if logits.shape[1] > 1:
        return softmax(logits.astype(float), 1)
    return np.stack([expit(-logits[:, 0].astype(float)), expit(logits[:, 0].astype(float))], 1)


@pytest.mark.parametrize("make", [two_classes, three_classes])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_known_temperature_is_found(make, temperature):
    labels, logits = make(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("make", [two_classes, three_classes])
def test_the_temperature_is_the_one_that_scipy_finds(make):
    """The same aim with scikit-learn's log loss, over 1/T instead of its logarithm, by another method."""
    labels, logits = make(150, 2.0)

    def aim(parameter):
        b = float(parameter[0])
        return len(labels) * sk.log_loss(labels, columns(b * logits)) + b - np.log(b)

    found = optimize.minimize(aim, x0=[1.0], bounds=[(1e-3, 50)], method="Nelder-Mead", options={"xatol": 1e-7})
    assert fit_temperature(logits, labels) == pytest.approx(1 / found.x[0], rel=1e-4)


def test_the_prior_weighs_next_to_nothing():
    """A logistic regression without penalty on the logit alone has 1/T for its coefficient."""
    labels, logits = two_classes(2000, 2.0)
    fit = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(logits.astype(float), labels)
    assert fit_temperature(logits, labels) == pytest.approx(1 / fit.coef_[0, 0], rel=0.005)


@pytest.mark.parametrize("size", [0.01, 1.0, 30.0, 1e6])
@pytest.mark.parametrize("count", [2, 800])
def test_images_all_in_their_places_do_not_blow_up(size, count):
    """Nothing is wrong at any temperature, and without a prior the best would be 0."""
    labels = np.arange(count) % 2
    logits = (size * (2.0 * labels - 1))[:, None]
    calibration = calibrate(logits, labels)
    assert 0.01 <= calibration.temperature <= 2  # small logits may be sharpened, large ones need not be
    if size >= 30:
        assert calibration.temperature == pytest.approx(1, abs=1e-4)
    assert calibration.threshold == pytest.approx(0.5)


def test_extreme_networks_stay_within_bounds():
    labels = np.arange(100) % 2
    assert fit_temperature(np.zeros((100, 1)), labels) == pytest.approx(1, abs=1e-4)
    assert 10 < fit_temperature((1e3 * (1.0 - 2 * labels))[:, None], labels) <= 100


def test_after_it_the_scores_of_fresh_images_are_better():
    labels, logits = two_classes(2000, 3.0)
    fresh, theirs = two_classes(4000, 3.0, seed=1)
    temperature = fit_temperature(logits, labels)
    before = calibration_scores(fresh, columns(theirs))
    after = calibration_scores(fresh, columns(theirs / temperature))
    assert all(after[name] < before[name] for name in ("log_loss", "brier", "ece"))
    assert after["ece"] < 0.02
    for scores, chances in ((before, columns(theirs)), (after, columns(theirs / temperature))):
        assert scores["log_loss"] == pytest.approx(sk.log_loss(fresh, chances))
        assert scores["brier"] == pytest.approx(sk.brier_score_loss(fresh, chances[:, 1]))


lists = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=4, max_size=40)


def both_kinds(drawn, scale=1.0):
    positive = np.array([kind for kind, _ in drawn])
    positive[:2] = [False, True]
    return positive, np.array([value * scale for _, value in drawn])


@settings(max_examples=100, deadline=None)
@given(drawn=lists)
def test_no_threshold_has_a_larger_j(drawn):
    positive, logits = both_kinds(drawn)
    chances = expit(logits)
    threshold, how = choose_threshold(positive, logits)
    false, true, _ = sk.roc_curve(positive, chances)
    best = (true - false).max()
    if best > 0:
        called = chances >= threshold
        assert called[positive].mean() - called[~positive].mean() == pytest.approx(best)
        assert how == "Youden's J on validation images"
    else:
        assert (threshold, how) == (0.5, "no threshold on validation images is better than chance")


@settings(max_examples=100, deadline=None)
@given(drawn=lists, fpr=st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5]), scale=st.sampled_from([1.0, 1e-9, 10.0]))
def test_the_false_positive_rate_is_kept_and_used(drawn, fpr, scale):
    """Also where logits are neighbours among numbers, or so large that their probabilities are all 1."""
    positive, logits = both_kinds(drawn, scale)
    chances = expit(logits)
    threshold, how = choose_threshold(positive, logits, fpr)
    called = chances >= threshold
    assert called[~positive].mean() <= fpr
    assert called[positive].mean() == pytest.approx(tpr_at_fpr(positive, chances, fpr))
    assert f"false-positive rate {fpr:g} on validation images" in how


def test_the_threshold_is_halfway_between_two_images():
    logits = np.array([-5.0, -1.0, 3.0, 4.0])
    positive = np.array([False, False, True, True])
    assert choose_threshold(positive, logits)[0] == pytest.approx(expit(1.0))
    # One false positive of two is allowed, and brings nothing.
    assert choose_threshold(positive, logits, 0.5)[0] == pytest.approx(expit(1.0))
    # The two highest are the negatives: none may be let in, so nothing is.
    threshold, how = choose_threshold(~positive, logits, 0.5)
    assert expit(4.0) < threshold == pytest.approx(expit(4.0))
    assert how == "false-positive rate 0.5 on validation images"


def test_too_few_negatives_are_told():
    positive = np.repeat([False, True], 50)
    how = choose_threshold(positive, np.linspace(-1, 1, 100), 0.01)[1]
    assert how.endswith("where 50 negatives are too few to resolve it")


def test_more_classes_have_no_threshold():
    labels, logits = three_classes(100, 1.0)
    calibration = calibrate(logits, labels, 0.01)
    assert (calibration.threshold, calibration.threshold_from) == (None, LIKELIEST)
    with pytest.raises(InputError, match="there are 3 classes, and a threshold is for two"):
        refuse_rate(0.01, ("no_sub", "axion", "cdm"))
    refuse_rate(0.01, ("no_sub", "sub"))
    refuse_rate(None, ("no_sub", "axion", "cdm"))


def test_the_diagram_is_that_of_scikit_learn():
    labels, logits = two_classes(3000, 2.0)
    chances = columns(logits)
    bins = reliability(labels, chances)
    true, promised = calibration_curve(labels, chances[:, 1], n_bins=15, strategy="uniform")
    np.testing.assert_allclose([one.true for one in bins], true)
    np.testing.assert_allclose([one.promised for one in bins], promised)
    assert sum(one.count for one in bins) == 3000
    gaps = [one.count / 3000 * abs(one.true - one.promised) for one in bins]
    assert sum(gaps) == pytest.approx(expected_calibration_error(labels, chances))


def test_the_intervals_are_wilsons():
    """His formula; and 95 of 100 hold what was promised, where promises are kept."""
    labels, logits = two_classes(3000, 2.0)
    for one in reliability(labels, columns(logits)):
        middle = (one.true + 1.96**2 / (2 * one.count)) / (1 + 1.96**2 / one.count)
        root = np.sqrt(one.true * (1 - one.true) / one.count + 1.96**2 / (4 * one.count**2))
        half = 1.96 * root / (1 + 1.96**2 / one.count)
        assert (one.low, one.high) == pytest.approx((middle - half, middle + half), abs=1e-4)
    inside = [
        one.low <= one.promised <= one.high
        for seed in range(40)
        for labels, logits in [two_classes(300, 1.0, seed)]
        for one in reliability(labels, columns(logits))
    ]
    assert 0.92 < np.mean(inside) < 0.99


def test_of_three_classes_the_likeliest_is_looked_at():
    labels, logits = three_classes(3000, 1.0)
    chances = columns(logits)
    bins = reliability(labels, chances)
    true, promised = calibration_curve(chances.argmax(1) == labels, chances.max(1), n_bins=15, strategy="uniform")
    np.testing.assert_allclose([one.true for one in bins], true)
    np.testing.assert_allclose([one.promised for one in bins], promised)
