import copy

import pytest
import torch

from deeplense.network.model import build_model, placed
from deeplense.network.smallmaps import SmallMapConv2d, with_small_maps


def pair(channels, out, stride=1, kind=torch.double):
    """A convolution, and the same one that takes the short way."""
    plain = torch.nn.Conv2d(channels, out, 3, stride, 1, bias=False).to(kind)
    ours = with_small_maps(torch.nn.Sequential(copy.deepcopy(plain)))[0]
    assert type(ours) is SmallMapConv2d
    return plain, ours.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_values_and_gradients_are_those_of_a_convolution(side, stride, layout):
    plain, ours = pair(6, 5, stride)
    images = torch.randn(35, 6, side, side, dtype=torch.double).contiguous(memory_format=layout).requires_grad_()
    results = [layer(images) for layer in (plain, ours)]
    torch.testing.assert_close(*results)
    gradient = torch.randn_like(results[0])
    for of in (images, None):
        gradients = [
            torch.autograd.grad(result, layer.weight if of is None else of, gradient, retain_graph=True)[0]
            for layer, result in zip((plain, ours), results, strict=True)
        ]
        torch.testing.assert_close(*gradients)


def test_maps_that_are_not_square():
    plain, ours = pair(3, 4)
    images = torch.randn(40, 3, 1, 2, dtype=torch.double, requires_grad=True)
    results = [layer(images) for layer in (plain, ours)]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad(result.square().sum(), images) for result in results))


def test_the_short_way_is_taken_where_the_map_is_small(monkeypatch, compiler):
    """At 64 px by the eight 3 x 3 convolutions of the last two stages. Not on larger images, of a few, in the layout
    that does not suit it, or when it is exported or compiled."""
    calls = []
    convolve = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: calls.append(self) or convolve(self, x))
    networks = {last: placed(build_model(2, 1), torch.device("cpu"), last).eval() for last in (True, False)}
    network = networks[True]
    every = sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules())
    cases = ((64, 32, True, 8), (150, 32, True, 0), (64, 8, True, 0), (64, 32, False, 0))
    for size, count, channels_last, short in cases:
        calls.clear()
        networks[channels_last](torch.zeros(count, 1, size, size))
        assert every - len(calls) == short
    program = torch.export.export(network, (torch.zeros(32, 1, 64, 64),))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called.count(torch.ops.aten.conv2d.default) == every
    captured = []
    torch.compile(network, backend=lambda graph, _: captured.append(graph) or graph)(torch.zeros(32, 1, 64, 64))
    called = [node.target for graph in captured for node in graph.graph.nodes if node.op == "call_function"]
    assert called.count(torch.conv2d) == every


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


@pytest.mark.parametrize("side", [2, 4])
def test_in_bf16_result_and_gradients_are_as_close_as_those_of_a_convolution(side):
    torch.manual_seed(0)
    plain, ours = pair(64, 64, kind=torch.float32)
    images = torch.randn(32, 64, side, side, requires_grad=True)
    exact = plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        results = [layer(images) for layer in (plain, ours)]
        assert ours(images).dtype == torch.bfloat16
        assert (
            pair(4, 4)[1](torch.zeros(32, 4, side, side, dtype=torch.double)).dtype == torch.double
        )  # as of a convolution
    gradient = torch.randn_like(exact)
    found = [
        (exact, *torch.autograd.grad(exact, (images, plain.weight), gradient)),
        *(
            (result.float(), *torch.autograd.grad(result, (images, layer.weight), gradient.bfloat16()))
            for layer, result in zip((plain, ours), results, strict=True)
        ),
    ]
    for right, theirs, own in zip(*found, strict=True):
        assert (own - right).square().mean() < 2 * (theirs - right).square().mean()
