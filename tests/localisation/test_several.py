"""Several subhalos of one image: found together, and weighed against each other."""

import dataclasses

import numpy as np
import pytest
import torch

from deeplense.localisation.refit.fit import Observed, fit, predicted
from deeplense.localisation.refit.maxima import Maxima
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.scan import Scan
from deeplense.localisation.refit.several import JOINS, fit_several
from deeplense.localisation.refit.smooth import weights
from deeplense.simulation.priors import Fixed
from deeplense.simulation.sets import SETS, find_classes
from deeplense.simulation.simulator import Simulator

COUNT, NEAR = 16, 0.16

pytestmark = pytest.mark.slow


def fits_of(number):
    """`COUNT` images with so many subhalos: their truth, and where fits with one and with several end."""
    single = SETS["one_subhalo"]
    lens_set = dataclasses.replace(single, subhalos=dataclasses.replace(single.subhalos, number=Fixed(number)))
    counts, draws = Simulator(lens_set, find_classes(["cdm"]), 5, "cpu").make(torch.arange(COUNT))
    family = Family(lens_set)
    subhalos = torch.stack([draws.x, draws.y, draws.mass.log10()], 2)  # (n, K, 3)
    smooth = family.vectors(draws)
    observed = Observed(
        counts.flatten(1) / 1000, weights(predicted(family, torch.cat([smooth, subhalos.flatten(1)], 1)), family)
    )
    without = fit(family, observed, smooth)
    scan = Scan(family)
    rows, places = scan.promising(observed, without, 3)
    one = fit(family, observed.take(rows), torch.cat([without.vectors[rows], places], 1), 15)
    own = slice(len(family), None)
    singles = Maxima.of(rows, one.vectors[:, own], one.covariance[:, own, own], 0.5 * (without.chi2[rows] - one.chi2))
    return family, observed, smooth, subhalos, singles, fit_several(family, scan, observed, without, singles, NEAR)


@pytest.fixture(scope="module")
def pairs():
    return fits_of(2)


def lost(family, observed, smooth, subhalos):
    """(n, 2) what the likelihood loses without each of two subhalos, by fits that start from the truth."""
    whole = fit(family, observed, torch.cat([smooth, subhalos.flatten(1)], 1))
    kept = [fit(family, observed, torch.cat([smooth, subhalos[:, other]], 1)) for other in (1, 0)]
    return torch.stack([0.5 * (one.chi2 - whole.chi2) for one in kept], 1)


def matched(maxima, subhalos, image, place):
    """The number of the likeliest subhalo that was found within `NEAR` of a true one; None: there is none."""
    own = np.flatnonzero((maxima.image == image) & (maxima.gain > JOINS))
    x, y = maxima.place[own, :2].T
    apart = np.hypot(x - float(subhalos[image, place, 0]), y - float(subhalos[image, place, 1]))
    return own[apart.argmin()] if len(own) and apart.min() < NEAR else None


def test_both_of_two_are_found_with_their_masses(pairs):
    family, observed, smooth, subhalos, singles, together = pairs
    gains = lost(family, observed, smooth, subhalos)
    strong = [(image, place) for image in range(COUNT) for place in range(2) if gains[image, place] > 20]
    assert len(strong) >= 10
    found = {way: [matched(maxima, subhalos, *own) for own in strong] for way, maxima in
             (("alone", singles), ("together", together))}  # fmt: skip
    share = {way: np.mean([number is not None for number in own]) for way, own in found.items()}
    assert share["together"] >= max(0.8, share["alone"])
    errors = [
        together.place[number, 2] - float(subhalos[image, place, 2])
        for (image, place), number in zip(strong, found["together"], strict=True)
        if number is not None
    ]
    assert np.median(np.abs(errors)) < 0.1  # dex
    # What each is worth is what is lost without it, however well the other could stand in for it.
    ratios = [
        together.gain[number] / float(gains[image, place])
        for (image, place), number in zip(strong, found["together"], strict=True)
        if number is not None
    ]
    assert 0.8 < np.median(ratios) < 1.25


def test_an_image_with_one_keeps_what_was_found(pairs):
    _, _, _, _, singles, together = pairs
    strong = np.bincount(together.together(NEAR)[0][together.together(NEAR)[3] > JOINS], minlength=COUNT)
    assert (strong == 1).sum() >= 2
    for image in np.flatnonzero(strong == 1):
        own = together.take((together.image == image) & (together.gain > JOINS))
        assert own.gain.max() >= singles.take(singles.image == image).gain.max() - 0.5


@pytest.mark.slow
def test_nothing_is_added_to_an_image_with_one():
    _, _, _, _, _, together = fits_of(1)
    image, _, _, gain = together.together(NEAR)
    counted = np.bincount(image[gain > JOINS], minlength=COUNT)
    assert (counted == 1).sum() > COUNT / 2
    assert (counted > 1).sum() <= 1
