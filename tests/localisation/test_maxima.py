"""Several maxima of one likelihood, and what they say together."""

import numpy as np
import pytest

from deeplense.localisation.refit.maxima import Maxima

SMALL = np.diag([0.01, 0.01, 0.05]) ** 2


def maxima(*fits, covariance=SMALL):
    image, x, y, mass, gain = np.array(fits, dtype=float).T
    spread = np.tile(covariance, (len(fits), 1, 1))
    return Maxima(image.astype(int), np.stack([x, y, mass], 1), spread, gain)


def test_fits_are_sorted_by_image_and_gain():
    image, place, covariance, gain = maxima(
        (1, 0.0, 0.0, 9.0, 5), (0, 1.0, 0.0, 9.0, 7), (1, 1.0, 0.0, 9.5, 8), (0, -1.0, 0.0, 9.0, 9)
    ).together(0.16)
    assert image.tolist() == [0, 0, 1, 1]
    assert gain.tolist() == [9, 7, 8, 5]
    assert place[0].tolist() == [-1, 1, 1, 0]
    np.testing.assert_array_equal(covariance, np.tile(SMALL, (4, 1, 1)))


def test_a_maximum_that_is_found_twice_counts_once():
    _, place, covariance, gain = maxima((0, 0.0, 0.0, 9.0, 10), (0, 0.005, 0.0, 9.0, 9.9)).together(0.16)
    np.testing.assert_array_equal(place.T, [[0, 0, 9]])
    np.testing.assert_array_equal(covariance, [SMALL])
    assert gain == [10]


def test_two_maxima_are_a_mixture():
    fits = maxima((0, 0.0, 0.0, 9.0, 10.0), (0, 0.1, 0.0, 9.3, 10.0 - np.log(3)))
    image, place, covariance, gain = fits.together(0.16)
    assert image.tolist() == [0]
    assert gain.tolist() == [10]
    # As drawn from it: three quarters of one, and a quarter of the other.
    random = np.random.default_rng(0)
    which = random.random(400_000) < 0.25
    drawn = fits.place[which.astype(int)] + random.normal(size=(len(which), 3)) * np.sqrt(np.diag(SMALL))
    np.testing.assert_allclose(place[:, 0], drawn.mean(0), atol=1e-3)
    np.testing.assert_allclose(covariance[0], np.cov(drawn.T), atol=3e-4)


def test_a_wider_maximum_is_the_heavier_of_two_that_are_as_high():
    fits = maxima((0, 0.0, 0.0, 9.0, 10.0), (0, 0.1, 0.0, 9.0, 10.0))
    fits.covariance[1] *= 4
    _, place, _, _ = fits.together(0.16)
    assert place[0, 0] == pytest.approx(0.1 * 8 / 9)


def test_a_maximum_without_likelihood_changes_nothing():
    _, place, covariance, _ = maxima((0, 0.0, 0.0, 9.0, 100.0), (0, 0.1, 0.0, 9.0, 10.0)).together(0.16)
    np.testing.assert_allclose(place.T, [[0, 0, 9]], atol=1e-12)
    np.testing.assert_allclose(covariance, [SMALL], atol=1e-12)


def test_images_are_apart_and_there_may_be_none():
    image, place, _, _ = maxima((0, 0.0, 0.0, 9.0, 10.0), (1, 0.05, 0.0, 9.0, 11.0)).together(0.16)
    assert image.tolist() == [0, 1]
    assert place[0].tolist() == [0.0, 0.05]
    nothing = Maxima(np.zeros(0, int), np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0))
    assert [part.size for part in nothing.together(0.16)] == [0, 0, 0, 0]


def test_maxima_are_taken_and_joined():
    one = maxima((1, 0, 1, 9.0, 2), (0, 3, 4, 9.0, 1), (1, 6, 7, 9.0, 5))
    assert list(one.best()) == [1, 2]  # by image
    assert list(one.take(one.image == 1).gain) == [2.0, 5.0]
    near = one.of_best(2.0)  # of image 1 the other one is 6 arcsec off along each axis
    assert list(near.gain) == [1.0, 5.0]
    joined = Maxima.joined([one, one.take(np.array([0]))])
    assert list(joined.image) == [1, 0, 1, 1]
    assert joined.covariance.shape == (4, 3, 3)
