"""Lens, source and subhalo fitted together: against truth, against the limit, and as a user meets it."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy import stats

import evaluate
import train
from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import parse_training
from deeplense.config import EvaluateConfig
from deeplense.errors import InputError
from deeplense.localisation.refit import stage, start
from deeplense.localisation.refit.fit import Fitted, Observed, derivatives, fit, predicted, with_errors
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.refit import Refitted
from deeplense.localisation.refit.scan import Scan
from deeplense.localisation.refit.smooth import weights
from deeplense.localisation.refit.weigh import Weighing
from deeplense.localisation.scores import Findings
from deeplense.localisation.truth import Scale, TrueSubhalos
from deeplense.simulation.camera import blur
from deeplense.simulation.limit import signal_to_noise
from deeplense.simulation.placing import with_subhalos
from deeplense.simulation.render import render
from deeplense.simulation.sets import SETS, find_classes
from deeplense.simulation.simulator import Simulator

COUNT = 32


@pytest.fixture(scope="module")
def lenses():
    return with_vectors("one_subhalo")


def with_vectors(name):
    """Images of a set, each with a subhalo; their draws, family, and vectors with the subhalo at their end."""
    lens_set = SETS[name]
    counts, draws = Simulator(lens_set, find_classes(["cdm"]), 5, "cpu").make(torch.arange(COUNT))
    family = Family(lens_set)
    vectors = torch.cat([family.vectors(draws), draws.x, draws.y, draws.mass.log10()], 1)
    flux = predicted(family, vectors)
    observed = Observed(start.flux_of(counts, family).flatten(1), weights(flux, family))
    return lens_set, draws, family, vectors, observed


@pytest.mark.parametrize(
    "name",
    [
        "one_subhalo",
        *(pytest.param(f"{name}", marks=pytest.mark.slow) for name in ("one_subhalo_multipoles", "hst_subhalo_sersic")),
    ],
)
def test_vectors_are_the_lenses_that_were_drawn(name):
    lens_set = SETS[name]
    _, draws = Simulator(lens_set, find_classes(["cdm"]), 3, "cpu").make(torch.arange(8))
    family = Family(lens_set)
    vectors = torch.cat([family.vectors(draws), draws.x, draws.y, draws.mass.log10()], 1)
    drawn = blur(render(draws, lens_set), lens_set.camera).flatten(1)
    assert (predicted(family, vectors) - drawn).abs().max() < 1e-4 * drawn.max()
    smooth = blur(render(draws.bare(), lens_set), lens_set.camera).flatten(1)
    assert (predicted(family, family.vectors(draws)) - smooth).abs().max() < 1e-4 * drawn.max()


@pytest.mark.parametrize("name", ["one_subhalo", pytest.param("hst_subhalo_sersic", marks=pytest.mark.slow)])
def test_derivatives_are_those_of_longer_steps_both_ways(name):
    # Of the second set those of the smooth lens are taken at one point a pixel, and images at 2 x 2.
    _, _, family, vectors, observed = with_vectors(name)
    _, slopes = derivatives(family, vectors)
    step, _, _ = family.limits(vectors.shape[1])
    for place in range(vectors.shape[1]):
        shift = torch.zeros_like(vectors)
        shift[:, place] = 1.5 * step[place]
        both = (predicted(family, vectors + shift) - predicted(family, vectors - shift)) / (3 * step[place])
        weighted = observed.weight * (slopes[:, :, place] - both)
        size = (observed.weight * both).norm(dim=1)
        assert (weighted.norm(dim=1) / size).median() < 0.05, place


@pytest.mark.slow
def test_errors_are_those_of_all_points_of_a_pixel():
    """Of a set with 2 x 2 points a pixel: also where light at the lens's centre makes rough ones half wrong."""
    _, _, family, vectors, observed = with_vectors("hst_subhalo_sersic")
    step, _, _ = family.limits(vectors.shape[1])
    columns = []
    for place in range(vectors.shape[1]):
        shift = torch.zeros_like(vectors)
        shift[:, place] = step[place]
        both = predicted(family, vectors + shift) - predicted(family, vectors - shift)
        columns.append(observed.weight * both / (2 * step[place]))
    slopes = torch.stack(columns, 2).double()
    expected = torch.linalg.inv(slopes.transpose(1, 2) @ slopes).diagonal(dim1=1, dim2=2).sqrt()
    fitted = Fitted(vectors, torch.zeros(COUNT), torch.zeros(COUNT, 1, 1))
    found = with_errors(family, observed, fitted).covariance.diagonal(dim1=1, dim2=2).sqrt()
    ratio = (found / expected)[vectors[:, -1] > 9]  # of lighter ones the image says nothing
    assert (ratio.median(0).values - 1).abs().max() < 0.02
    assert 0.93 < ratio[:, -3:].min() < ratio[:, -3:].max() < 1.07  # at one point a pixel 0.77 to 1.11


def test_fits_end_at_the_truth_within_their_errors(lenses):
    _, _, family, vectors, observed = lenses
    heavy = vectors[:, -1] > 9.5
    near = vectors + 0.01 * torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
    fitted = fit(family, observed, near)
    pixels, free = observed.flux.shape[1], vectors.shape[1]
    # Of chi^2 with known degrees of freedom each image's p; their law is uniform.
    p = stats.chi2.sf(fitted.chi2.numpy(), pixels - free)
    assert stats.kstest(p[heavy.numpy()], "uniform").pvalue > 1e-3
    pulls = (fitted.vectors - vectors).double() / fitted.covariance.diagonal(dim1=1, dim2=2).sqrt()
    assert 0.8 < pulls[heavy].std() < 1.3
    assert (fitted.vectors - vectors)[heavy][:, -3:-1].norm(dim=1).median() < 0.02  # arcsec


def test_a_lens_without_light_does_not_stop_the_others(lenses):
    _, _, family, vectors, observed = lenses
    start = vectors[:, : len(family)].clone()
    start[0, family.names.index("source_x")] = 60.0  # far outside: no light, and no derivatives
    fitted = fit(family, observed, start, 3)
    alone = fit(family, observed, vectors[:, : len(family)], 3)
    torch.testing.assert_close(fitted.chi2[1:], alone.chi2[1:])
    assert fitted.chi2[0] > 2 * alone.chi2[0]
    assert fitted.covariance.isfinite().all()


def test_the_gain_of_a_subhalo_is_that_of_the_limit(lenses):
    lens_set, draws, family, vectors, observed = lenses
    snr = signal_to_noise(draws, lens_set, each=False).whole
    smooth = fit(family, observed, vectors[:, : len(family)])
    whole = fit(family, observed, vectors)
    gain = (smooth.chi2 - whole.chi2).clamp(min=0).sqrt()
    own = (snr > 4) & (snr < 30)
    assert own.sum() > 8
    # A square root of chi^2 scatters by one about the signal-to-noise ratio.
    assert (gain - snr)[own].abs().median() < 1.5
    assert abs(float((gain - snr)[own].mean())) < 1.5


def test_the_scan_finds_light_subhalos_and_knows_the_limit(lenses):
    lens_set, draws, family, vectors, observed = lenses
    smooth = fit(family, observed, vectors[:, : len(family)])
    snr = signal_to_noise(draws, lens_set, each=False).whole
    found = Scan(family)(observed, smooth, 3)
    apart = torch.hypot(found.x - draws.x, found.y - draws.y).amin(1)
    seen = snr > 6
    assert seen.sum() > 8
    assert (apart[seen] < 0.25).double().mean() > 0.8
    assert (found.gain.diff(dim=1) <= 0).all()
    # The power at a place is the squared ratio of a light subhalo there: less, where it is so near to an arc that its
    # deflection is softened.
    light = with_subhalos(draws.bare(), lens_set, draws.x, draws.y, torch.full_like(draws.mass, 3e7))
    nothing = Fitted(family.vectors(draws), smooth.chi2, smooth.covariance)
    own = Observed(observed.flux, weights(predicted(family, nothing.vectors), family))
    limit = signal_to_noise(light, lens_set, each=False).whole
    ratios = []
    for row in range(8):
        power = Scan(family, [draws.x[row], draws.y[row]]).power(own.take(torch.tensor([row])), take(nothing, row))
        ratios.append(float(power.sqrt() * light.radius[row] ** 2 / limit[row]))
    assert 0.8 < np.median(ratios) < 1.05
    assert min(ratios) > 0.6
    assert max(ratios) < 1.15


def take(fitted, row):
    return Fitted(*(getattr(fitted, field.name)[row : row + 1] for field in dataclasses.fields(fitted)))


def candidates(random, images, sharp):
    """Made-up fits: in every other image one that is true. Evidence is the log of what a Gaussian test would give."""
    scale = Scale(0.1, 40, 1.0, 40)
    true = np.arange(images) % 2 == 1
    size = random.normal(np.where(true, sharp, 0.0), 1.0)
    gain = sharp * size - sharp**2 / 2  # log of the ratio of the two laws
    place = random.uniform(-1.5, 1.5, (images, 2))
    covariance = np.tile(np.diag([0.03, 0.03, 0.1]) ** 2, (images, 1, 1))
    zero = 1.5 * np.log(2 * np.pi) + 0.5 * np.linalg.slogdet(covariance[0])[1]
    off = random.normal(0, 0.03, (images, 2))
    mass = np.full(images, 9.4)
    refitted = Refitted(
        *(np.ones(images), np.arange(images), *(place + off).T, mass + random.normal(0, 0.1, images)),
        *(covariance, gain - zero),
    )
    truth = TrueSubhalos(place[:, :1], place[:, 1:], np.where(true, 10**mass, 0)[:, None])
    density = np.full((images, 20, 20), 1e-3)
    edges = np.array([9.0, 9.5])
    network = Findings(np.full(images, 0.4), np.full(images, 0.5), None, np.empty(0), edges, np.zeros((images, 1)))
    return refitted, network, density, truth, scale


def test_what_fits_promise_comes_true():
    random = np.random.default_rng(0)
    first, second = candidates(random, 4000, 2.0), candidates(random, 4000, 2.0)
    weighing = Weighing.fitted(*first, single=True)
    # The evidence is the log-odds itself here, and the network says nothing: a slope of one.
    assert weighing.detection_law[1] == pytest.approx(1.0, abs=0.1)
    assert weighing.position_factor == pytest.approx(1.0, abs=0.05)
    refitted, network, density, truth, scale = second
    findings = weighing.findings(refitted, network, density, scale)
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        own = np.abs(findings.p_any - low) < 0.1
        assert truth.present[own].mean() == pytest.approx(findings.p_any[own].mean(), abs=0.06)
    assert findings.expected.sum() == pytest.approx(truth.present.sum(), rel=0.05)
    assert findings.expected_in.sum() == pytest.approx(truth.present.sum(), rel=0.05)
    stronger = dataclasses.replace(refitted, gain=refitted.gain + 1)
    assert (weighing.findings(stronger, network, density, scale).p_any >= findings.p_any).all()


def test_two_candidates_of_an_image_that_has_one_subhalo_compete():
    random = np.random.default_rng(1)
    refitted, network, density, truth, scale = candidates(random, 2000, 2.0)
    weighing = Weighing.fitted(refitted, network, density, truth, scale, single=True)
    twice = Refitted(
        refitted.reduced_chi2[:1],
        *(np.array([0, 0]), np.array([0.0, 1.0]), np.zeros(2), np.full(2, 9.4)),
        *(np.tile(refitted.covariance[0], (2, 1, 1)), np.array([900.0, 890.0])),
    )
    one = Findings(network.expected[:1], network.p_any[:1], None, np.empty(0), network.edges, np.zeros((1, 1)))
    findings = weighing.findings(twice, one, density[:1], scale)
    assert findings.detections.x[0] < findings.detections.x[1]  # the better one first, however certain both are
    assert findings.probability[0] > 0.9
    assert findings.probability[1] < 0.1
    both = dataclasses.replace(weighing, single=False).findings(twice, one, density[:1], scale)
    assert (both.probability > 0.9).all()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hst_subhalo", "sources of hst_subhalo are more than a Sersic profile"),
        ("morphology_2019", "the subhalos of morphology_2019 are equal parts of a mass"),
        ("model_i", "the noise in images of model_i is not known by itself"),
        ("model_ii_published", "the noise in images of model_ii_published is not known by itself"),
    ],
)
def test_families_that_cannot_be_fitted_are_named(name, why):
    with pytest.raises(InputError, match=why):
        Family(SETS[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a few simulated lenses, which has learned nothing to speak of."""
    folder = tmp_path_factory.mktemp("refit")
    flags = (
        *("--task", "locate", "--data", "one_subhalo", "--count", "320", "--image-size", "56", "--crop", "0.7"),
        *("--standardize", "--epochs", "1", "--init", "random", "--batch-size", "16", "--wandb", "disabled"),
        *("--val-fraction", "0.4", "--test-fraction", "0.3", "--name", "run", "--output-dir", str(folder)),
    )
    train.main(parse_training(["debug", *flags], PRESETS, DESCRIPTIONS))
    return folder / "run"


@pytest.mark.slow
def test_a_second_stage_finds_what_the_network_does_not(run, figures, monkeypatch, capsys):
    monkeypatch.setattr(start, "IMAGES", 4000)
    monkeypatch.setattr(start.learn, "__defaults__", (0, 4000))
    evaluate.main(EvaluateConfig(runs=(run,), refit=True))
    said = capsys.readouterr()
    assert "a small network learns where fits of one_subhalo start" in said.err
    assert "smooth lenses fit" in said.out
    folder = run / "evaluation" / "test-refit"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["fits"]["used"]
    heavy = metrics["by_mass"][-1]
    assert heavy["fpr_0.1"]["found"]["rate"] > 0.8
    assert metrics["network_alone"]["by_mass"][-1]["fpr_0.1"]["found"]["rate"] < heavy["fpr_0.1"]["found"]["rate"]
    assert metrics["roc_auc"] > 0.75
    assert metrics["position"]["median_above_9.5"]["value"] < 0.04
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    assert 0.9 < np.median([float(row["reduced_chi2"]) for row in rows]) < 1.2
    assert sorted(file.name for file in (run / "refit").iterdir()) == ["refit.json", "start.safetensors"]
    # What was made is used again, until the weights are others.
    before = (folder / "detections.csv").read_text()
    evaluate.main(EvaluateConfig(runs=(run,), refit=True))
    assert "learns where fits" not in capsys.readouterr().err
    assert (folder / "detections.csv").read_text() == before
    (run / "refit" / "refit.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        stage.stage_of(evaluate_run(run))


def evaluate_run(folder):
    from deeplense.tasks import load_run

    return load_run(folder)


@pytest.mark.slow
def test_a_sensitivity_map_shows_where_a_subhalo_would_be_found(run, tmp_path, figures, capsys):
    asked = EvaluateConfig(runs=(run,), data="one_subhalo", count=8, sensitivity_map=True, image=3, name="map")
    evaluate.main(asked)
    assert "its lens is its own, as it was drawn" in capsys.readouterr().err
    folder = run / "evaluation" / "map"
    rows = list(csv.DictReader((folder / "sensitivity_map.csv").open()))
    grid = np.load(folder / "sensitivity_map.npy")
    about = json.loads((folder / "sensitivity_map.json").read_text())
    assert grid.shape[0] == 2
    assert about["places"] == len(rows) == np.isfinite(grid[1]).sum()
    # The limit is lightest on the ring: nearer to it than places are in the mean.
    x, y, limit = (np.array([float(row[name]) for row in rows]) for name in ("x", "y", "limit"))
    off = np.abs(np.hypot(x, y) - about["lens"]["einstein_radius"])
    best = np.argsort(limit)[: len(limit) // 10]
    assert off[best].mean() < 0.6 * off.mean()
    # The same lens by its parameters gives the same map; without them nothing.
    lens = tmp_path / "lens.json"
    kept = {name: value for name, value in about["lens"].items() if not name.startswith("vortex")}
    for name in ("subhalos", "share"):
        kept.pop(name, None)
    lens.write_text(json.dumps(kept))
    evaluate.main(dataclasses.replace(asked, lens=str(lens), name="given"))
    again = np.load(run / "evaluation" / "given" / "sensitivity_map.npy")
    np.testing.assert_allclose(again[1], grid[1], atol=1e-3)
    lens.write_text(json.dumps({"einstein_radius": 1.2, "mass": 3}))
    with pytest.raises(InputError, match=r"--lens .*: mass is no parameter: .*einstein_radius"):
        evaluate.main(dataclasses.replace(asked, lens=str(lens)))
    with pytest.raises(InputError, match="--image 9: there are 8 images"):
        evaluate.main(dataclasses.replace(asked, image=9))
