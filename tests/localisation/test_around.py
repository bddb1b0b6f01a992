"""The view round the ring: there and back again, and the same at any angle."""

import math

import pytest
import torch

from deeplense.localisation.around import INNER, OUTER, WIDTHS, Around, Places, unrolled


def pattern(x, y):
    return (3 * x).sin() + (2 * y + x).cos()


def middles(count, step):
    axis = (torch.arange(count) + 0.5) * step - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


@pytest.mark.parametrize("size", [45, 56, 100])
def test_what_is_unrolled_comes_back_to_its_cells(size):
    cells = (size + 1) // 2
    polar = unrolled(pattern(*middles(size, 2 / size))[None, None])
    places = Places.of_cells(*polar.shape[2:], cells, 4 / size, torch.device("cpu"))
    (found,) = places.looked_up(polar)[0]
    torch.testing.assert_close(places.product(polar)[0, 0], found, atol=1e-4, rtol=0)
    x, y = middles(cells, 4 / size)
    away = torch.hypot(x, y)
    inside = (away > INNER + 0.03) & (away < OUTER - 0.03)
    assert inside.float().mean() > 0.6
    assert (found - pattern(x, y))[inside].abs().max() < 0.02
    torch.testing.assert_close(places.cos[inside], (x / away)[inside])
    torch.testing.assert_close(places.sin[inside], (y / away)[inside])


def test_a_map_begins_along_x_and_goes_on_along_y():
    polar = unrolled(middles(56, 2 / 56)[0][None, None])  # x itself
    radii, angles = polar.shape[2:]
    radius = INNER + (OUTER - INNER) * (torch.arange(radii) + 0.5) / radii
    angle = 2 * math.pi * torch.arange(angles) / angles
    inner = radius < 0.9  # farther out the pixels beyond the edge are missed
    torch.testing.assert_close(polar[0, 0, inner], (radius[:, None] * angle.cos())[inner], atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [56, 80, 100])
def test_a_quarter_turn_of_the_image_is_one_of_what_is_seen(size):
    torch.manual_seed(0)
    around = Around(1, 8)  # in training, where batch norm lets the coarse levels count
    with torch.no_grad():
        around.last.weight[:, WIDTHS[0] :] = 0  # what is told along x and y turns otherwise
        images = torch.randn(2, 1, size, size)
        seen, turned = around(images, 2), around(images.rot90(1, (2, 3)), 2)
    torch.testing.assert_close(turned, seen.rot90(1, (2, 3)), atol=1e-3 * float(seen.std()), rtol=0)
    assert seen.std() > 1e-3


def test_what_is_scored_is_what_was_trained():
    """A lookup where nothing is to be learned from it, and a product of matrices where something is."""
    around, images = Around(1, 8).eval(), torch.randn(2, 1, 56, 56)
    learning = around(images, 2)
    with torch.inference_mode():
        scoring = around(images, 2)
    assert learning.requires_grad
    torch.testing.assert_close(scoring, learning.detach(), atol=1e-5, rtol=1e-5)


def test_the_gradient_has_one_order_on_any_device():
    """No lookup has a gradient: its sum would be in any order on a GPU, and `--deterministic` would refuse it."""
    around = Around(1, 8)
    torch.use_deterministic_algorithms(True)
    try:
        around(torch.randn(2, 1, 56, 56), 2).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(parameter.grad is not None for parameter in around.parameters())
    names, open_ = set(), [around(torch.randn(2, 1, 56, 56), 2).grad_fn]
    while open_:
        node = open_.pop()
        if node is not None:
            names.add(type(node).__name__)
            open_ += [other for other, _ in node.next_functions]
    unordered = ("GridSampler", "Index", "Gather", "Adaptive", "Pad")  # as torch.use_deterministic_algorithms lists
    assert not [name for name in names if any(own in name for own in unordered)]
