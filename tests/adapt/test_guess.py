import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplense.adapt.guess import guess, logarithms, shift_to


@settings(deadline=None)
@given(
    seed=st.integers(0, 10**6),
    bias=st.floats(-8, 8),
    share=st.floats(0.05, 0.95),
    classes=st.sampled_from([2, 3]),
)
def test_classes_get_their_shares(seed, bias, share, classes):
    random = np.random.default_rng(seed)
    logits = random.normal(bias, 3, (400, 1 if classes == 2 else classes))
    shares = np.array([1 - share, *([share / (classes - 1)] * (classes - 1))])
    log_chances = logarithms(torch.from_numpy(logits))
    assert log_chances.shape == (400, classes)
    shifted = np.exp(log_chances + shift_to(log_chances, shares))
    means = (shifted / shifted.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(means, shares, atol=1e-3)


def test_the_surest_of_each_class_are_kept():
    logits = torch.tensor([[-9.0], [-8.0], [-7.0], [-3.0], [-1.0], [0.0]])  # all taken for label 0
    found = guess(logits, np.array([0.5, 0.5]), 1 / 3)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.kept.tolist() == [True, False, False, False, False, True]
    assert guess(logits, np.array([0.5, 0.5]), 1.0).kept.all()


def test_ranks_stay_as_they_are():
    logits = 10 * torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    found = guess(logits, np.array([0.8, 0.2]), 0.5)
    assert logits[found.labels == 1].min() > logits[found.labels == 0].max()
    assert found.labels.mean() == pytest.approx(0.2, abs=0.02)
