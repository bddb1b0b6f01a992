"""Which images are foreign, how often that is so by chance, and whether a set is one of the run's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplense.scores.familiarity import FEWEST, Look, fit, split_scores, two_sample

P, L, F = 4, 6, 16  # of pixels, of the last stage, of all


def features(count, seed=0, shift=0.0, wide=1.0):
    """Correlated, of very different scales, and with one that never changes."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(0, 1, (F, F)) * np.logspace(-2, 2, F)
    values = random.normal(0, wide, (count, F)) @ mixing + 5
    values += shift * mixing[0]
    values[:, 1] = 3.0
    return values.astype(np.float32)


@pytest.fixture(scope="module")
def known():
    usual = features(2000)
    moved = features(2000, shift=1.5)[:300]
    return fit(usual, [moved], features(1000, seed=1), P, L, ("early", "last"))


def test_images_of_the_same_kind_are_foreign_as_rarely_as_promised(known):
    """The validation images had no part in the fit: the rank of a new one is uniform."""
    look = known.look(features(4000, seed=2))
    assert look.unfamiliar == pytest.approx(0.01, abs=0.007)
    assert np.mean(look.familiarity < 0.3) == pytest.approx(0.3, abs=0.04)
    assert not look.many_foreign


def test_familiarity_is_the_share_of_validation_images_that_are_at_least_as_strange(known):
    some = features(300, seed=3, wide=1.3)
    look = known.look(some)
    expected = [(known.known.max(1) >= own).mean() for own in look.strangeness]
    np.testing.assert_allclose(look.familiarity, expected, atol=1e-12)
    np.testing.assert_array_equal(look.foreign, look.strangeness > look.border)
    assert (known.look(features(1000, seed=1)).familiarity >= 1 / 1000).all()  # none is stranger than itself


def test_what_nobody_thought_of_and_what_is_small_but_expected_are_both_seen(known):
    wide = known.look(features(500, seed=4, wide=2.5))
    assert wide.unfamiliar > 0.5
    assert wide.many_foreign
    distances = known.known.shape[1] - known.directions.shape[1]
    flagged = {}
    for shift in (4.0, -4.0):
        measures = known.measures(features(500, seed=5, shift=shift))
        borders = np.quantile(known.known, 0.99, axis=0)
        flagged[shift] = (measures > borders).mean(0)
    assert flagged[4.0][distances:].max() > 0.85
    assert flagged[4.0][distances:].max() > flagged[4.0][:distances].max() + 0.1
    assert flagged[-4.0][distances:].max() == 0  # directions are one-sided,
    assert flagged[-4.0][:distances].max() == pytest.approx(flagged[4.0][:distances].max(), abs=0.1)  # distances not


def test_a_feature_that_never_changed_tells_when_it_does(known):
    changed = features(20, seed=6)
    changed[:, 1] += 0.1
    assert known.look(changed).foreign.all()


def test_rounding_is_not_taken_for_a_change():
    """Means of standardised pixels are 0 but for rounding, which another program rounds otherwise."""

    def rounded(count, seed, shift=0.0, by=1e-7):
        some = features(count, seed, shift)
        some[:, 1] = np.random.default_rng(seed).normal(0, by, count) + 1e-7 * (shift > 0)
        return some

    known = fit(rounded(2000, 0), [rounded(2000, 0, shift=1.5)[:300]], rounded(1000, 1), P, L)
    own, elsewhere = rounded(500, 2), rounded(500, 2, by=5e-6)
    np.testing.assert_allclose(known.measures(elsewhere), known.measures(own), atol=0.05)
    elsewhere[:, 1] += 0.01
    assert known.look(elsewhere).foreign.all()


def test_too_few_images_give_nothing():
    assert fit(features(FEWEST - 1), [], features(50), P, L) is None
    assert fit(features(50), [], features(FEWEST - 1), P, L) is None
    few = fit(features(FEWEST), [features(3)], features(FEWEST), P, L)
    assert np.isfinite(few.look(features(5)).strangeness).all()


def look_of(scored, validation):
    """A look whose only measure is given."""
    scored, validation = np.asarray(scored, float), np.asarray(validation, float)
    share = (validation[None] >= scored[:, None]).mean(1)
    return Look(share, scored, scored[:, None], validation[:, None])


def test_with_few_validation_images_chance_is_not_taken_for_strangeness():
    """Of 24, one in 25 images is stranger than all; 4 of 48 happen often, 40 of 48 never do."""
    validation = np.arange(24.0)
    some = look_of([*np.full(4, 30.0), *np.full(44, 10.0)], validation)
    assert some.unfamiliar > 0.05
    assert not some.many_foreign
    assert look_of([*np.full(40, 30.0), *np.full(8, 10.0)], validation).many_foreign
    assert look_of([1e9], np.arange(800.0)).many_foreign  # a single stray file


@settings(max_examples=20, deadline=None)
@given(st.integers(10, 400), st.integers(1, 60), st.integers(0, 2**31))
def test_many_are_foreign_by_chance_as_rarely_as_is_said(m, n, seed):
    """In 300 draws of images of one kind, the chance is below 5 % in at most about 5 % of them."""
    random = np.random.default_rng(seed)
    chances = [look_of(random.random(n), random.random(m)).chance for _ in range(300)]
    assert np.mean(np.array(chances) < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 300)


def test_two_samples_of_one_law_have_any_p_and_of_two_a_small_one():
    random = np.random.default_rng(0)
    ps = [two_sample(random.normal(0, 1, (40, 3)), random.normal(0, 1, (60, 3)), seed).p for seed in range(60)]
    assert 0.3 < np.mean(ps) < 0.7
    assert np.mean(np.array(ps) < 0.1) < 0.25
    apart = two_sample(random.normal(0.7, 1, (60, 3)), random.normal(0, 1, (60, 3)))
    assert apart.p == 0.001
    assert apart.worth_a_line
    spread = two_sample(random.normal(0, 2, (100, 3)), random.normal(0, 1, (100, 3)))
    assert spread.p < 0.01
    # A few from very far away do not hide the others.
    stray = random.normal(0.7, 1, (60, 3))
    stray[:2] = 1e9
    assert two_sample(stray, random.normal(0, 1, (60, 3))).p < 0.01
    assert two_sample(stray, stray).p > 0.9


def test_a_set_may_be_unlike_though_no_image_is(known):
    look = known.look(features(300, seed=7, shift=0.8))
    assert not look.many_foreign
    assert look.shift().p < 0.005
    assert known.look(features(300, seed=8)).shift().p > 0.01
    assert look.shift(seed=1) == look.shift(seed=1)


def test_scores_of_familiar_and_foreign_images_stand_apart():
    look = look_of([0.0, 0.0, 50.0, 60.0], np.arange(24.0))
    apart = split_scores(look, lambda rows: {"n": len(rows), "rows": rows.tolist(), "more": 1}, ("n", "rows"))
    assert apart == {"familiar": {"n": 2, "rows": [0, 1]}, "foreign": {"n": 2, "rows": [2, 3]}}
    assert split_scores(look.take(np.array([0, 1])), dict, ()) == {}
