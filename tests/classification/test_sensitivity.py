"""Which subhalos a run sees: the lenses that are simulated for it, the rates, and the command."""

import csv
import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import run_python
from scipy import stats

import evaluate
from deeplense.classification.sensitivity import MASS_EDGES, Row, count, half_mass
from deeplense.cli import parse
from deeplense.config import EvaluateConfig
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.evaluation.predict import predict
from deeplense.scores.detection import Rate, threshold_at
from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.priors import Fixed, LogUniform
from deeplense.simulation.sets import find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.substructure import Bright
from deeplense.simulation.variants import with_one_subhalo
from deeplense.tasks import load_run


def run(*arguments):
    evaluate.main(parse(EvaluateConfig, [str(part) for part in arguments], ""))


def refused(*arguments):
    with pytest.raises(InputError) as refusal:
        run(*arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def one_subhalo(name, mass, seed=1):
    return Simulator(with_one_subhalo(find_set(name), mass), find_classes(["cdm"]), seed, "cpu", "sensitivity")


@pytest.mark.parametrize(
    "name",
    [
        "model_i",
        "euclid",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("morphology_2019_varied", "hst_subhalo")),
    ],
)
def test_one_subhalo_of_given_mass_where_the_set_could_put_it(name):
    low, high = 10**8.5, 10**9
    # Places where a lens is bright need its image.
    count = 256 if isinstance(find_set(name).subhalos.position, Bright) else 2000
    number = torch.arange(count)
    draws = one_subhalo(name, LogUniform(low, high)).draw(number, torch.zeros_like(number))
    assert draws.mass.shape == (count, 1)
    assert (draws.scalars["subhalos"] == 1).all()
    span = (math.log10(low), math.log10(high) - math.log10(low))
    assert stats.kstest(draws.mass[:, 0].double().log10(), "uniform", args=span).pvalue > 0.01
    own = Simulator(find_set(name), find_classes(["cdm"]), 7, "cpu").draw(number, torch.zeros_like(number))
    radius = torch.hypot(draws.x, draws.y)[:, 0].double()
    assert stats.ks_2samp(radius, torch.hypot(own.x, own.y)[:, 0].double()).pvalue > 0.01
    for column in ("source_x", "exposure", "einstein_radius"):
        assert stats.ks_2samp(draws.scalars[column].double(), own.scalars[column].double()).pvalue > 0.01
    exact = one_subhalo(name, Fixed(3e9)).draw(number, torch.zeros_like(number))
    torch.testing.assert_close(exact.mass, torch.full((count, 1), 3e9))


def test_no_image_is_one_that_a_run_trains_on():
    """Whatever the seeds: the purpose is in the random key."""
    lens_set, classes = find_set("model_i"), find_classes()
    keys = {
        tuple(Simulator(lens_set, classes, seed, "cpu", purpose).key.tolist())
        for purpose in ("stored", "stream", "sensitivity")
        for seed in range(20)
    }
    assert len(keys) == 60
    number = torch.arange(32)
    images = [
        Simulator(lens_set, classes, 1, "cpu", purpose).make(number, torch.zeros_like(number))[0]
        for purpose in ("stored", "sensitivity")
    ]
    noise = [image[:, :40, :40].double().flatten().numpy() for image in images]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.03


def test_the_command_gives_the_rates_that_its_images_have(trained, tmp_path, figures, capsys):
    """A run on other images, asked about model_i: recounted here from the same image numbers by the program's own path
    for stored images."""
    copy = shutil.copytree(trained, tmp_path / "copy")
    run(copy, "--sensitivity", "--data", "model_i", "--sensitivity-count", 64)
    folder = copy / "evaluation" / "sensitivity"
    assert {path.name for path in folder.iterdir()} == {"sensitivity.json", "sensitivity.csv", "sensitivity.png"}
    assert f"all of it is in {folder}" in capsys.readouterr().out
    about = json.loads((folder / "sensitivity.json").read_text())
    assert about["images"] | {"none_was_trained_on": 0} == {
        "smooth": 320, "one_subhalo": 448, "population": 128, "none_was_trained_on": 0,
    }  # fmt: skip

    def scores_of(simulator, label, numbers):
        counts, _ = simulator.make(numbers, torch.full_like(numbers, label))
        pixels = counts[:, None].numpy()
        images = ImageSet(pixels, None, (), ["x"] * len(pixels), ["x"] * len(pixels))
        model, card = load_run(copy).network, load_run(copy).card
        logits = predict(model, card.store(images, torch.device("cpu")), np.arange(len(pixels)))
        return logits[:, 0].double().numpy()

    own = Simulator(find_set("model_i"), find_classes(), 1, "cpu", "sensitivity")
    smooth = np.sort(scores_of(own, 0, torch.arange(320)))
    assert about["thresholds"][1]["value"] == pytest.approx(smooth[-33], abs=1e-5)  # 32 of 320 above it
    heaviest = one_subhalo("model_i", LogUniform(MASS_EDGES[6], MASS_EDGES[7]))
    seen = (scores_of(heaviest, 0, torch.arange(64) + 6 * 2**20) > smooth[-33]).sum()
    rows = list(csv.DictReader((folder / "sensitivity.csv").open()))
    row = next(r for r in rows if (r["axis"], r["fpr"]) == ("mass", "0.1") and float(r["high"]) > 3e10)
    assert (int(row["n"]), int(row["detected"])) == (64, seen)
    assert [float(r["tpr"]) for r in rows] == [r["tpr"] for r in about["rates"]]
    for row in about["rates"]:
        assert 0 <= row["tpr_low"] <= row["tpr"] == row["detected"] / row["n"] <= row["tpr_high"] <= 1
        assert row["low"] <= row["median"] <= row["high"]
    for axis, n in (("mass", 448), ("distance", 448), ("exposure", 448), ("heaviest", 128), ("share", 128)):
        assert sum(row["n"] for row in about["rates"] if row["axis"] == axis and row["fpr"] == 0.01) == n
    shares = [row["median"] for row in about["rates"] if row["axis"] == "share"]
    assert all(0.005 < share < 0.2 for share in shares)  # 4e10 Msun of 1e12


def columns(count_each=400, seed=0):
    random = np.random.default_rng(seed)
    mass = np.concatenate(
        [10 ** random.uniform(np.log10(low), np.log10(high), count_each) for low, high in pairwise(MASS_EDGES)]
    )
    n = len(mass)
    distance = random.uniform(-1, 0.7, n)
    return {
        "mass": mass, "distance": distance, "exposure": 10 ** random.uniform(3, 3.5, n), "heaviest": mass,
        "share": np.full(n, 0.01), "score": random.normal(0, 1, n) + 2 * (np.log10(mass) - 8) - np.abs(distance),
    }  # fmt: skip


def test_rates_agree_with_a_plain_count():
    single, population = columns(), columns(seed=1)
    smooth = np.random.default_rng(2).normal(0, 1, 5000)
    threshold = threshold_at(smooth, 0.1)
    rows = count(single, population, [threshold])
    cut = np.sort(smooth)[-501]
    for row in rows:
        source = single if row.images == "one subhalo" else population
        own = (source[row.axis] >= row.low) & (source[row.axis] <= row.high)
        if row.mass_low is not None:
            own &= (source["mass"] >= row.mass_low) & (source["mass"] < row.mass_high)
        assert abs(int(own.sum()) - row.rate.n) <= 1  # an image on the edge of two parts
        assert row.rate.value == pytest.approx((source["score"][own] > cut).mean(), abs=1.5 / row.rate.n)
    assert [row.rate.n for row in rows if row.axis == "mass"] == [400] * 7
    assert len([row for row in rows if row.axis == "distance"]) == 8 * 7
    constant = [row for row in rows if row.axis == "share"]
    assert [row.rate.n for row in constant] == [2800]


def test_the_mass_that_is_seen_half_the_time():
    def row(place, value):
        low, high = MASS_EDGES[place], MASS_EDGES[place + 1]
        rate = Rate(100, round(100 * value), value, max(value - 0.1, 0), min(value + 0.1, 1))
        return Row("one subhalo", "mass", low, high, low, None, None, 0.01, rate)

    rows = [row(place, value) for place, value in enumerate((0.01, 0.01, 0.02, 0.1, 0.3, 0.7, 0.9))]
    half = half_mass(rows, 0.01)
    assert math.log10(half["mass"]) == pytest.approx(9.5)  # between 9.25 at 0.3 and 9.75 at 0.7
    assert math.log10(half["low"]) == pytest.approx(9.375)  # between 0.4 and 0.8
    assert math.log10(half["high"]) == pytest.approx(9.625)
    assert half_mass(rows[:5], 0.01)["mass"] is None


def test_share_of_mass_is_that_of_the_projected_mass():
    """Inside the Einstein radius: 1e12 Msun in model_i."""
    from deeplense.classification.sensitivity import _truth

    number = torch.arange(64)
    draws = Simulator(find_set("model_i"), find_classes(["cdm"]), 3, "cpu").draw(number, torch.zeros_like(number))
    truth = _truth(draws)
    np.testing.assert_allclose(truth["share"], draws.mass.double().sum(1) / 1e12, rtol=1e-4)
    np.testing.assert_allclose(truth["heaviest"], draws.mass.max(1).values, rtol=1e-6)
    place = draws.mass.argmax(1)
    theta = math.sqrt(1e12 * Cosmology(distances="luminosity").mass_to_square(0.5, 1.0))
    far = [math.hypot(draws.x[k, place[k]], draws.y[k, place[k]]) - theta for k in range(64)]
    np.testing.assert_allclose(truth["distance"], far, rtol=1e-3, atol=1e-5)


def test_what_cannot_be_asked_is_refused_in_one_line(trained, tmp_path, lenses):
    copy = shutil.copytree(trained, tmp_path / "copy")
    message = refused(copy, "--sensitivity")
    assert f"was trained on {lenses}, whose lenses nobody knows: simulate others with --data SET (model_i, " in message
    assert f"--data {lenses} is no simulated set: give model_i" in refused(copy, "--sensitivity", "--data", lenses)
    card = json.loads((copy / "best" / "model.json").read_text())
    (copy / "best" / "model.json").write_text(json.dumps(card | {"normalize": "range"}))
    assert "give a run with --normalize auto or minmax" in refused(copy, "--sensitivity", "--data", "model_i")
    (copy / "best" / "model.json").write_text(json.dumps(card | {"classes": ["no", "vortex"]}))
    assert "the classes of" in (message := refused(copy, "--sensitivity", "--data", "model_i"))
    assert "are no, vortex: give a run with no_sub and sub (or cdm)" in message
    assert "--sensitivity-count 10: give 50 or more" in refused(copy, "--sensitivity", "--sensitivity-count", 10)


@pytest.mark.slow  # as that of others is
def test_the_exit_code_is_2_for_images_without_truth(trained):
    done = run_python("evaluate.py", trained, "--sensitivity")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --sensitivity: ")
    assert len(done.stderr.splitlines()) == 1
    assert not (trained / "evaluation" / "sensitivity").exists()
