"""The signal-to-noise ratio that fitting lens and source leaves, against a computation of its own."""

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from deeplense.localisation.limit import FITTED, found_at, signal_to_noise
from deeplense.simulation.camera import blur
from deeplense.simulation.render import render
from deeplense.simulation.sets import find_set
from deeplense.simulation.stream import ImageStream


@pytest.fixture(scope="module")
def draws():
    _, draws = ImageStream("one_subhalo", ("no_sub", "cdm"), seed=1).span(0, 32)
    return draws


def counts(draws):
    lens_set = find_set("one_subhalo")
    return 1000.0 * blur(render(draws, lens_set), lens_set.camera).flatten(1).double().numpy()


def test_it_is_what_the_best_smooth_lens_leaves_of_the_difference(draws):
    """The chi-square of the best smooth model of a noise-free image with a faint subhalo, by a general optimiser."""
    snr = signal_to_noise(draws, find_set("one_subhalo"))
    faint = [
        row
        for row in range(32)
        if draws.mass[row, 0] > 0 and 0.3 < snr[row] < 6 and draws.scalars["axis_ratio"][row] < 0.95
    ][:2]
    names = [name for name in FITTED if name in draws.scalars]
    assert len(names) == 11
    assert faint
    everything, smooth = counts(draws), counts(draws.bare())
    for row in faint:
        one = draws.take(torch.tensor([row]))
        image, spread = everything[row], np.sqrt(smooth[row] + 100.0)
        start = np.array([one.scalars[name].item() for name in names])
        step = 1e-3 * np.maximum(np.abs(start), 1.0)

        def residuals(values, one=one, image=image, spread=spread):
            """Of up to 32 sets of parameters at once, (n, 11) to (n, P)."""
            many = one.bare().take(torch.zeros(32, dtype=torch.int64))
            for column, name in zip(np.atleast_2d(values).T, names, strict=True):
                many.scalars[name] = torch.tensor(np.resize(column, 32), dtype=torch.float32)
            return (image - counts(many)) / spread

        def slopes(values, residuals=residuals, step=step):
            beside = np.concatenate([values + np.diag(step), values - np.diag(step)])
            above, below = np.split(residuals(beside)[:22], 2)
            return ((above - below) / (2 * step[:, None])).T

        best = optimize.least_squares(lambda values, of=residuals: of(values)[0], start, slopes, max_nfev=8)
        assert snr[row] == pytest.approx(np.sqrt(2 * best.cost), rel=0.1)


def test_smooth_lenses_have_none_and_fitting_only_takes_away(draws):
    snr = signal_to_noise(draws, find_set("one_subhalo"))
    has = draws.mass[:, 0].numpy() > 0
    assert (snr[~has] == 0).all()
    known = np.sqrt((((counts(draws) - counts(draws.bare())) ** 2) / (counts(draws.bare()) + 100.0)).sum(1))
    assert (snr[has] > 0).all()
    assert (snr[has] < known[has]).all()


def test_rates_at_the_limit_are_those_of_the_normal_law():
    assert found_at(np.array([0.0]), 0.1)[0] == pytest.approx(0.1 / 60)  # of one place
    assert found_at(np.array([stats.norm.isf(0.01 / 60)]), 0.01)[0] == pytest.approx(0.5)
