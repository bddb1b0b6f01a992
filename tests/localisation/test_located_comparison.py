"""Which run finds more: differences of made-up runs whose difference is known."""

import numpy as np
import pytest

from deeplense.errors import InputError
from deeplense.localisation.comparison import Contestant, compare, say
from deeplense.localisation.truth import TrueSubhalos


def made_up(random, truth, strength, noise=1.0):
    """A run whose scores rise with the mass, and with noise of its own."""
    mass = np.where(truth.mass[:, 0] > 0, np.log10(np.maximum(truth.mass[:, 0], 1)) - 8.5, 0)
    score = strength * mass + random.normal(0, noise, len(mass))
    return score, truth.present & (random.uniform(size=len(mass)) < 0.8)


@pytest.fixture
def truth():
    random = np.random.default_rng(0)
    mass = np.where(np.arange(2000) % 2, 10 ** random.uniform(8.5, 10.5, 2000), 0)
    place = random.uniform(-1, 1, (2, 2000, 1))
    return TrueSubhalos(*place, mass[:, None])


def test_a_stronger_run_finds_more_and_the_interval_says_so(truth):
    random = np.random.default_rng(1)
    weak, strong = (Contestant(name, *made_up(random, truth, own)) for name, own in (("weak", 1.0), ("strong", 2.5)))
    comparison = compare([weak, strong], truth)
    first, second = comparison["runs"]
    assert first["roc_auc"]["minus_first"] is None
    assert second["roc_auc"]["minus_first"]["low"] > 0
    for row, own in zip(first["by_mass"], second["by_mass"], strict=True):
        difference = own["fpr_0.1"]["found"]["minus_first"]
        assert difference["value"] == pytest.approx(own["fpr_0.1"]["found"]["rate"] - row["fpr_0.1"]["found"]["rate"])
        assert difference["low"] <= difference["value"] <= difference["high"]
    heavy = second["by_mass"][-1]["fpr_0.1"]["found"]["minus_first"]
    assert heavy["low"] > 0
    # Two independent runs: the width is that of two binomials, and of the two thresholds.
    rates = [run["by_mass"][-1]["fpr_0.1"]["found"]["rate"] for run in (first, second)]
    n = first["by_mass"][-1]["n"]
    binomial = 2 * 1.96 * np.sqrt(sum(rate * (1 - rate) / n for rate in rates))
    assert binomial * 0.85 < heavy["high"] - heavy["low"] < binomial * 2.5
    assert "strong: any subhalo, ROC AUC" in say(comparison)


def test_what_moves_both_alike_is_no_difference(truth):
    own = Contestant("a", *made_up(np.random.default_rng(2), truth, 1.5))
    same = Contestant("b", own.expected * 3 + 1, own.placed)
    second = compare([own, same], truth)["runs"][1]
    assert second["roc_auc"]["minus_first"] == {"value": 0, "low": 0, "high": 0}
    for row in second["by_mass"]:
        for what in ("found", "placed"):
            assert row["fpr_0.01"][what]["minus_first"] == {"value": 0, "low": 0, "high": 0}


def test_a_classifier_stands_beside_for_its_area_alone(truth):
    random = np.random.default_rng(3)
    own = Contestant("where", *made_up(random, truth, 1.5))
    whether = Contestant("whether", made_up(random, truth, 1.5)[0])
    second = compare([own, whether], truth)["runs"][1]
    assert second["by_mass"] is None
    assert second["roc_auc"]["minus_first"]["low"] < 0 < second["roc_auc"]["minus_first"]["high"]
    with pytest.raises(InputError, match="needs smooth images and others"):
        compare([own, whether], TrueSubhalos(truth.x, truth.y, truth.mass * 0))
