import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplense.network.model import build_model
from deeplense.network.views import oriented, view_of
from deeplense.scores.symmetry import ALL


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.sampled_from([1, 3]), size=st.sampled_from([8, 33]))
def test_all_views_are_shown_as_one(seed, channels, size):
    images = torch.randn(6, channels, size, size, generator=torch.Generator().manual_seed(seed))
    plain = oriented(images)
    for view in ALL:
        assert torch.equal(oriented(view_of(images, view)), plain)


def test_the_light_lies_to_the_right_and_below():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 0, 3] = 1.0  # above and a little to the left
    expected = torch.zeros(1, 1, 9, 9)
    expected[0, 0, 5, 8] = 1.0
    assert torch.equal(oriented(image), expected)


@pytest.mark.parametrize("training", [True, False])
def test_an_oriented_network_says_the_same_of_all_views(training):
    torch.manual_seed(0)
    network, plain = build_model(2, 1, orient=True).train(training), build_model(2, 1).train(training)
    plain.load_state_dict(network.state_dict())  # the same weights under the same names
    images = torch.randn(8, 1, 32, 32)
    said = network(images)
    assert said.std() > 0
    for view in ALL:
        torch.testing.assert_close(network(view_of(images, view)), said)
    assert (plain(view_of(images, 1)) - plain(images)).abs().max() > 1e-3
    torch.testing.assert_close(plain(oriented(images)), said)
