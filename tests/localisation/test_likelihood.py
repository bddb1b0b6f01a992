"""The loss against a computation of its own, cell by cell in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplense.localisation.likelihood import Subhalos, expected_between, negative_log_likelihood
from deeplense.localisation.network import DX, DY, LOG_DENSITY, LOG_MASS, LOG_MASS_SIGMA, LOG_SIGMA, Localizer, Prior


def words(seed, count=3, side=10):
    """What a network might say, (count, 6, side, side)."""
    random = np.random.default_rng(seed)
    outputs = random.normal(size=(count, 6, side, side))
    outputs[:, LOG_DENSITY] -= 3
    outputs[:, [DX, DY]] = np.tanh(outputs[:, [DX, DY]])
    outputs[:, LOG_SIGMA] = np.log(random.uniform(0.1, 0.6, outputs[:, 0].shape))
    outputs[:, LOG_MASS] += 9.5
    outputs[:, LOG_MASS_SIGMA] = np.log(random.uniform(0.1, 0.8, outputs[:, 0].shape))
    return outputs


def by_hand(outputs, subhalos):
    """-log L of one image (6, h, w), with all cells and no logarithm of a sum of exponentials."""
    total = 0.0
    height, width = outputs.shape[1:]
    for row in range(height):
        for column in range(width):
            total += np.exp(outputs[LOG_DENSITY, row, column])
    for x, y, mass in subhalos:
        density = 0.0
        for row in range(height):
            for column in range(width):
                log_number, dx, dy, log_sigma, mean, log_spread = outputs[:, row, column]
                sigma, spread = np.exp(log_sigma), np.exp(log_spread)
                apart = (x - column - 0.5 - dx) ** 2 + (y - row - 0.5 - dy) ** 2
                place = np.exp(-apart / (2 * sigma**2)) / (2 * np.pi * sigma**2)
                weight = np.exp(-((mass - mean) ** 2) / (2 * spread**2)) / (np.sqrt(2 * np.pi) * spread)
                density += np.exp(log_number) * place * weight
        total -= np.log(density)
    return total


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_it_is_what_a_loop_over_all_cells_gives(seed, counts):
    outputs = words(seed, len(counts))
    random = np.random.default_rng(seed)
    places, there = np.full((len(counts), 4, 3), 123.0), np.zeros((len(counts), 4), dtype=bool)
    for row, count in enumerate(counts):
        where = random.permutation(4)[:count]  # the places that are taken need not come first
        places[row, where] = random.uniform([0, 0, 8.5], [10, 10, 10.5], (count, 3))
        there[row, where] = True
    told = negative_log_likelihood(torch.tensor(outputs), Subhalos(torch.tensor(places), torch.tensor(there)))
    wanted = [by_hand(outputs[row], places[row][there[row]]) for row in range(len(counts))]
    np.testing.assert_allclose(told.numpy(), wanted, rtol=1e-6)


def test_an_empty_image_pulls_the_density_down_and_nothing_else():
    outputs = torch.tensor(words(0), requires_grad=True)
    nothing = Subhalos(torch.zeros(3, 2, 3, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.bool))
    negative_log_likelihood(outputs, nothing).sum().backward()
    assert torch.allclose(outputs.grad[:, LOG_DENSITY], outputs.detach()[:, LOG_DENSITY].exp())
    assert (outputs.grad[:, LOG_DENSITY] > 0).all()
    assert (outputs.grad[:, 1:] == 0).all()
    assert outputs.grad.isfinite().all()


def test_sets_without_a_single_subhalo_have_a_loss():
    outputs = torch.tensor(words(0))
    nothing = Subhalos(torch.zeros(3, 0, 3), torch.zeros(3, 0, dtype=torch.bool))
    assert torch.equal(negative_log_likelihood(outputs, nothing), outputs[:, LOG_DENSITY].exp().sum((1, 2)))


def test_it_is_least_for_the_true_intensity_even_of_one_or_none():
    """At most one subhalo an image is no Poisson law, and yet the best density is the expected number."""
    outputs = torch.tensor(words(1, count=1, side=4))
    outputs[:, LOG_SIGMA] = np.log(0.3)
    shifts = torch.linspace(-3, 3, 601, dtype=torch.float64)
    many = outputs.repeat(601, 1, 1, 1)
    many[:, LOG_DENSITY] += shifts[:, None, None]
    place = torch.tensor([[[1.5, 2.5, 9.4]]]).expand(601, 1, 3)
    one, none = (Subhalos(place, torch.full((601, 1), there)) for there in (True, False))
    mean = 0.3 * negative_log_likelihood(many, one) + 0.7 * negative_log_likelihood(many, none)
    best = outputs[:, LOG_DENSITY] + shifts[mean.argmin()]
    assert best.exp().sum() == pytest.approx(0.3, rel=0.01)


def test_a_subhalo_at_the_edge_and_one_far_from_every_claim_are_finite():
    outputs = torch.tensor(words(2, count=1))
    outputs[:, LOG_SIGMA] = np.log(0.02)
    edge = Subhalos(torch.tensor([[[0.0, 9.999, 9.0], [9.999, 0.0, 14.0]]]), torch.ones(1, 2, dtype=torch.bool))
    outputs.requires_grad_()
    loss = negative_log_likelihood(outputs, edge)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert outputs.grad.isfinite().all()


def test_numbers_by_mass_sum_to_the_number():
    outputs = words(3, count=2)
    edges = np.array([8.5, 9.0, 9.5, 10.0])
    told = expected_between(torch.tensor(outputs), edges)
    from scipy.stats import norm

    for row, one in enumerate(outputs):
        number, mean, spread = np.exp(one[LOG_DENSITY]), one[LOG_MASS], np.exp(one[LOG_MASS_SIGMA])
        below = [0.0, *((number * norm.cdf(edge, mean, spread)).sum() for edge in (9.0, 9.5)), number.sum()]
        np.testing.assert_allclose(told[row], np.diff(below), rtol=1e-6)


@pytest.mark.parametrize("size", [32, 45, 56])
def test_an_untrained_network_says_the_prior_everywhere(size):
    torch.manual_seed(0)
    cells = (size + 1) // 2
    network = Localizer(1, prior=Prior(density=0.5 / cells**2, log_mass=9.3, log_mass_sigma=0.4)).eval()
    outputs = network(torch.randn(2, 1, size, size))
    assert outputs.shape == (2, 6, cells, cells)
    assert outputs[:, LOG_DENSITY].exp().sum((1, 2)).tolist() == pytest.approx([0.5, 0.5], rel=0.3)
    assert outputs[:, LOG_MASS].mean().item() == pytest.approx(9.3, abs=0.2)
    assert outputs[:, LOG_MASS_SIGMA].exp().mean().item() == pytest.approx(0.4, rel=0.2)
    assert outputs[:, [DX, DY]].abs().max() <= 1
