"""The network that says where subhalos are: any image it may be shown, and each of its weights of use."""

import pytest
import torch

from deeplense.localisation.network import REACH, Localizer


@pytest.mark.parametrize(("size", "channels"), [(45, 1), (57, 3), (80, 1), (100, 1)])
def test_images_of_any_size_get_a_word_on_each_cell(size, channels):
    torch.manual_seed(0)
    network = Localizer(channels)
    said = network(torch.randn(2, channels, size, size))
    cells = (size + 1) // 2
    assert said.shape == (2, 6, cells, cells)
    assert said[:, 1:3].abs().max() <= REACH
    said.square().mean().backward()
    # Processes that train together wait for the gradient of each.
    assert all(own.grad is not None and own.grad.isfinite().all() for own in network.parameters())
    assert all(own.grad.abs().max() > 0 for name, own in network.named_parameters() if name.endswith("conv.weight"))
