import copy

import pytest
import torch

from deeplense.model import build_model, placed
from deeplense.smallmaps import SmallMapConv2d, with_small_maps


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_a_convolution(side, stride, layout):
    plain = torch.nn.Conv2d(6, 5, 3, stride, 1, bias=False).double()
    ours = with_small_maps(torch.nn.Sequential(copy.deepcopy(plain)))[0]
    assert type(ours) is SmallMapConv2d
    images = torch.randn(7, 6, side, side, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    results = [layer(images) for layer in (plain, ours)]
    torch.testing.assert_close(*results)
    gradient = torch.randn_like(results[0])
    for of in (images, None):
        pair = [
            torch.autograd.grad(result, layer.weight if of is None else of, gradient, retain_graph=True)[0]
            for layer, result in zip((plain, ours), results, strict=True)
        ]
        torch.testing.assert_close(*pair)


def test_maps_that_are_not_square():
    plain = torch.nn.Conv2d(3, 4, 3, 1, 1, bias=False).double()
    ours = with_small_maps(torch.nn.Sequential(copy.deepcopy(plain)))[0]
    images = torch.randn(2, 3, 1, 2, dtype=torch.double)
    torch.testing.assert_close(ours(images), plain(images))


def test_the_short_way_is_taken_where_the_map_is_small(monkeypatch):
    """At 64 px by the four 3 x 3 convolutions of the last stage; by none on larger images, or when it is exported."""
    calls = []
    convolve = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: calls.append(self) or convolve(self, x))
    network = placed(build_model(2, 1), torch.device("cpu")).eval()
    every = sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules())
    for size, short in ((64, 4), (150, 0)):
        calls.clear()
        network(torch.zeros(1, 1, size, size))
        assert every - len(calls) == short
    program = torch.export.export(network, (torch.zeros(2, 1, 64, 64),))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called.count(torch.ops.aten.conv2d.default) == every


def test_a_network_keeps_its_names_and_weights():
    network = build_model(2, 1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    after = placed(network, torch.device("cpu")).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_kernels_of_another_kind_are_left_alone():
    plain = {"kernel_size": 3, "padding": 1, "bias": False}
    settings = [{"padding": 0}, {"groups": 2}, {"dilation": 2}, {"kernel_size": 5}, {"bias": True}]
    layers = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, **plain | other) for other in settings))
    assert not any(isinstance(layer, SmallMapConv2d) for layer in with_small_maps(layers))


def test_in_bf16_the_result_is_as_close_as_that_of_a_convolution():
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(64, 64, 3, 1, 1, bias=False)
    ours = with_small_maps(torch.nn.Sequential(copy.deepcopy(plain)))[0]
    images = torch.randn(16, 64, 2, 2)
    exact = plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        errors = [(layer(images).float() - exact).square().mean() for layer in (plain, ours)]
    assert ours(images).dtype == torch.float32
    assert errors[1] < 2 * errors[0]
