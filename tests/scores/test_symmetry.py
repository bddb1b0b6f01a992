import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from deeplense.config import AugmentConfig
from deeplense.network.views import Views, average, shown_views, view_of
from deeplense.scores.symmetry import ALL, VIEWED, VIEWS, Symmetry, viewed_of


def pixels(seed=0, count=5, size=8):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 1, size, size))).float()


class Places(torch.nn.Module):
    """Logits that depend on where things are."""

    def __init__(self, logits=1):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.randn(logits, 64, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        return images.flatten(1) @ self.weights.T


def test_the_views_are_those_of_numpy():
    images = pixels()
    views = [view_of(images, view) for view in ALL]
    assert len(views) == len(VIEWS) == 8
    for turns in range(4):
        np.testing.assert_array_equal(views[turns], np.rot90(images.numpy(), turns, (2, 3)))
        np.testing.assert_array_equal(views[4 + turns], np.rot90(images.numpy()[..., ::-1], turns, (2, 3)))
    assert len({view.numpy().tobytes() for view in views}) == 8


@pytest.mark.parametrize("logits", [1, 3])
def test_each_view_has_its_own_logits(logits):
    network, images = Places(logits), pixels()
    views = Views(network)(images).unflatten(1, (8, -1))  # (5, 8, L)
    assert views.shape == (5, 8, logits)
    for view in ALL:
        torch.testing.assert_close(views[:, view], network(view_of(images, view)))
    torch.testing.assert_close(average(views), sum(network(view_of(images, view)) for view in ALL) / 8)


def test_the_average_is_the_same_whichever_way_an_image_is_turned():
    network, images = Views(Places()), pixels()
    expected = average(network(images).unflatten(1, (8, -1)))
    for turned in (view_of(images, view) for view in ALL):
        torch.testing.assert_close(average(network(turned).unflatten(1, (8, -1))), expected, atol=1e-5, rtol=0)
        assert not torch.allclose(Places()(turned), Places()(images)) or torch.equal(turned, images)


@pytest.mark.parametrize(
    ("rotation", "flips", "shown"),
    [
        (30, False, [0]),
        (120, False, [0]),  # never by half
        (90, True, list(range(8))),  # a quarter turn and a flip
        (30, True, [0, 2, 4, 6]),  # an image mirrored both ways is turned by half
        (180, False, [0, 1, 2, 3]),
        (180, True, list(range(8))),
    ],
)
def test_averages_are_over_the_views_that_training_shows(rotation, flips, shown):
    assert sorted(shown_views(AugmentConfig(rotation, flips))) == shown
    images = pixels()
    mirrored = {images.flip(dims).numpy().tobytes() for dims in ((), (2,), (3,), (2, 3))}
    if len(shown) == 4 and flips:
        assert {view_of(images, view).numpy().tobytes() for view in shown} == mirrored


def measured(chances, threshold=0.5, averaged=None):
    """Of the probabilities (n, 8) of label 1."""
    chances = np.asarray(chances, float)
    two = np.stack([1 - chances, chances], 2)
    return Symmetry(np.arange(len(chances)), two, two.mean(1) if averaged is None else averaged, ALL, threshold)


def test_the_summary_by_hand():
    rows = [[0.9] * 8, [0.4, 0.6] * 4, [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9], [0.2] * 8]
    summary = measured(rows).summary(np.array([1, 1, 0, 0]))
    spreads = [0, 0.1, 0.8 * np.sqrt(7) / 8, 0]
    assert summary["probability_std_mean"] == pytest.approx(np.mean(spreads))
    assert summary["probability_std_max"] == pytest.approx(max(spreads))
    assert summary["averaged"] == list(VIEWS)
    assert (summary["n"], summary["views"], summary["class_changes"], summary["class_changes_share"]) == (4, 8, 2, 0.5)
    interval = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert (summary["class_changes_share_low"], summary["class_changes_share_high"]) == (interval.low, interval.high)
    assert summary["roc_auc_of_views"] == [1, 1, 1, 1, 1, 1, 1, 0.625]
    assert summary["roc_auc_of_average"] == 1
    # The threshold decides what a change is.
    assert measured(rows, threshold=0.3).changed.tolist() == [False, False, True, False]


def test_the_areas_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    logits = random.normal(size=(200, 8, 3)) + np.eye(3)[labels][:, None]
    chances = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    symmetry = Symmetry(np.arange(200), chances, chances.mean(1), ALL, 0.5)
    views, averaged = symmetry.areas(labels)
    expected = [roc_auc_score(labels, chances[:, view], multi_class="ovr") for view in range(8)]
    assert [one.value for one in views] == pytest.approx(expected)
    assert averaged.value == pytest.approx(roc_auc_score(labels, chances.mean(1), multi_class="ovr"))
    assert symmetry.spread == pytest.approx(chances.std(1).max(1))


def test_one_class_has_no_areas():
    summary = measured([[0.9] * 8] * 3).summary(np.ones(3, int))
    assert summary["roc_auc_of_views"] is summary["roc_auc_of_average"] is None
    assert summary["class_changes"] == 0


def test_which_images_are_looked_at():
    assert viewed_of(7).tolist() == list(range(7))
    some = viewed_of(5 * VIEWED)
    assert len(set(some.tolist())) == VIEWED
    assert (np.diff(some) > 0).all()
    assert some.max() > 4 * VIEWED
    np.testing.assert_array_equal(some, viewed_of(5 * VIEWED))
