"""Several runs on the same images: the statistics by their definitions, and the command as a user gives it."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import run_python, write_lenses
from safetensors.torch import load_file, save_file
from scipy import stats
from sklearn.metrics import roc_auc_score

import evaluate
from deeplense.classification.card import ModelCard
from deeplense.classification.comparison import Contestant, compare, difference, names_of
from deeplense.cli import parse
from deeplense.config import DataConfig, EvaluateConfig, OptimizationConfig, RunConfig, TrainConfig
from deeplense.errors import InputError
from deeplense.scores.metrics import area, auc_delong, score


def two_networks(count=300, seed=0, shifts=(1.5, 1.2)):
    """Labels and the scores of two networks, which see the same noise in part."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    shared = random.normal(size=count)
    return labels, *(shift * labels + shared + 0.7 * random.normal(size=count) for shift in shifts)


def kernels(labels, score):
    """(m, n): which of each pair is higher, ties half."""
    above, below = score[labels == 1], score[labels == 0]
    return (above[:, None] > below) + 0.5 * (above[:, None] == below)


def ranked(labels, score):
    """The area by Mann and Whitney, fast enough for a bootstrap."""
    ranks = stats.rankdata(score)
    positives = labels.sum()
    return (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


@pytest.mark.parametrize("ties", [False, True])
def test_the_paired_test_by_its_definition(ties):
    """DeLong et al. (1988), equations 5 to 7: covariances of the structural components, in O(m n)."""
    labels, one, other = two_networks(80)
    if ties:
        one, other = one.round(), other.round()
    a, b = kernels(labels, one), kernels(labels, other)
    positives = np.cov(a.mean(1), b.mean(1)) / a.shape[0]  # S10 / m
    negatives = np.cov(a.mean(0), b.mean(0)) / a.shape[1]  # S01 / n
    contrast = np.array([1, -1])
    error = np.sqrt(contrast @ (positives + negatives) @ contrast)
    value = a.mean() - b.mean()
    found = difference(auc_delong(labels == 1, one), auc_delong(labels == 1, other))
    assert found.value == pytest.approx(value)
    assert (found.low, found.high) == pytest.approx((value - 1.959964 * error, value + 1.959964 * error))
    assert found.p == pytest.approx(2 * stats.norm.cdf(-abs(value) / error))


def test_a_case_worked_by_hand():
    """Three and two images. Kernels: [1 1; 1 1; 1 0] and [1 1; 0 1; 1 1]; both areas are 5/6.

    Components of the positives: (1, 1, 1/2) and (1, 1/2, 1), so of the difference (0, 1/2, -1/2): variance 1/4, over
    three. Of the negatives: (1, 2/3) and (2/3, 1), difference (1/3, -1/3): variance 2/9, over two. In all 7/36.
    """
    labels = np.array([1, 1, 1, 0, 0])
    one = np.array([5.0, 4, 2, 1, 3])
    other = np.array([5.0, 2, 4, 3, 1])
    found = difference(auc_delong(labels == 1, one), auc_delong(labels == 1, other))
    assert found.value == pytest.approx(0)
    assert (found.low, found.high) == pytest.approx((-1.959964 * np.sqrt(7) / 6, 1.959964 * np.sqrt(7) / 6))
    assert found.p == pytest.approx(1)


def test_the_interval_is_that_of_a_bootstrap():
    """Over images, the same for both; of two networks that differ as strongly as they are alike."""
    labels, one, other = two_networks(400)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(2000):
        again = random.integers(0, 400, 400)
        drawn.append(ranked(labels[again], one[again]) - ranked(labels[again], other[again]))
    found = difference(auc_delong(labels == 1, one), auc_delong(labels == 1, other))
    width = found.high - found.low
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.1 * width)
    single = [auc_delong(labels == 1, scores) for scores in (one, other)]
    unpaired = np.hypot(*(auc.high - auc.low for auc in single))
    assert width < 0.8 * unpaired  # what both find hard is no uncertainty of which is better


def test_equally_good_networks_differ_as_often_as_they_should():
    found = []
    for seed in range(300):
        labels, one, other = two_networks(200, seed, shifts=(1.3, 1.3))
        found.append(difference(auc_delong(labels == 1, one), auc_delong(labels == 1, other)).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09


def test_three_classes_by_a_bootstrap():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 400)
    shared = random.normal(size=(400, 3))
    chances = []
    for strength in (2.0, 1.5):
        logits = shared + 0.7 * random.normal(size=(400, 3)) + strength * np.eye(3)[labels]
        chances.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    drawn = []
    for _ in range(1000):
        again = random.integers(0, 400, 400)
        areas = [[ranked(labels[again] == k, each[again, k]) for k in range(3)] for each in chances]
        drawn.append(np.mean(areas[0]) - np.mean(areas[1]))
    found = difference(*(area(labels, each) for each in chances))
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(drawn), rel=0.1)


def test_where_nothing_can_be_told_apart():
    labels = np.repeat([0, 1], 30)
    perfect, again = np.arange(60.0), np.exp(np.arange(60.0))
    found = difference(auc_delong(labels == 1, perfect), auc_delong(labels == 1, again))
    # Each could be as bad as its own interval says.
    assert (found.value, found.p) == (0, None)
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / 30))
    good = two_networks(60)
    same = auc_delong(good[0] == 1, good[1])
    assert dataclasses.astuple(difference(same, same)) == (0, 0, 0, 1)


CARD = ModelCard(
    classes=("no_sub", "sub"), image_size=64, channels=1, normalize="auto", threshold=0.4, epoch=3, val_roc_auc=0.99,
    temperature=1.2, threshold_from="somewhere",
)  # fmt: skip


def contestant(name, scores, seed=0, **optimization):
    chance = 1 / (1 + np.exp(-scores))
    config = TrainConfig(
        preset=name, run=RunConfig(seed=seed, name=name), optimization=OptimizationConfig(**optimization)
    )
    return Contestant(name, config, CARD, np.stack([1 - chance, chance], 1))


def test_seeds_of_one_recipe_are_summarised():
    labels, one, other = two_networks()
    contestants = [
        contestant("a", one), contestant("b", other, seed=1), contestant("c", one + other, lr=1e-3),
        contestant("d", one - other, seed=7),
    ]  # fmt: skip
    comparison = compare(contestants, labels)
    assert [run["recipe"] for run in comparison["runs"]] == [0, 0, 1, 0]
    first, second = comparison["recipes"]
    assert (first["runs"], first["seeds"], second["runs"]) == (["a", "b", "d"], [0, 1, 7], ["c"])
    areas = [roc_auc_score(labels, scores) for scores in (one, other, one - other)]
    assert first["roc_auc"] == pytest.approx(
        {"mean": np.mean(areas), "std": np.std(areas, ddof=1), "min": min(areas), "max": max(areas)}
    )
    assert second["roc_auc"]["std"] is None
    assert len(comparison["pairs"]) == 6
    # A run's own scores are those that it would get alone, at its own threshold.
    alone = score(labels, contestants[0].probabilities, CARD.classes, 0.4)
    assert {name: comparison["runs"][0][name] for name in alone} == alone


def test_other_data_is_another_recipe():
    a = contestant("a", np.zeros(2))
    data = dataclasses.replace(a.trained, data=DataConfig(data="other"))
    assert a.recipe != dataclasses.replace(a, trained=data).recipe


# ---- the command ---------------------------------------------------------------------------------------------------


def run(*arguments):
    evaluate.main(parse(EvaluateConfig, [str(part) for part in arguments], ""))


def refused(*arguments):
    with pytest.raises(InputError) as refusal:
        run(*arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.fixture
def runs(trained, tmp_path):
    """Three finished runs: one, one of another seed whose weights were shaken, and one of another recipe."""
    folders = [shutil.copytree(trained, tmp_path / "runs" / name) for name in ("one", "two", "three")]
    for seed, folder in enumerate(folders[1:], 1):
        state = load_file(folder / "best" / "model.safetensors")
        torch.manual_seed(seed)
        state["conv1.weight"] += 0.05 * torch.randn_like(state["conv1.weight"])
        save_file(state, folder / "best" / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        config["run"]["seed"] = seed
        if seed == 2:
            config["optimization"]["lr"] = 0.5
        (folder / "config.json").write_text(json.dumps(config))
    return folders


def test_the_command_writes_all_of_it(runs, tmp_path):
    done = run_python("evaluate.py", *runs)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "comparison" / "one-vs-2-others"
    names = {"comparison.json", "comparison.csv", "predictions.csv", "roc.png"}
    assert {path.name for path in folder.iterdir()} == names
    comparison = json.loads((folder / "comparison.json").read_text())
    assert (comparison["n"], comparison["left_out"], comparison["tta"]) == (48, 0, False)
    # The first is the run whose test part was scored in training.
    before = json.loads((runs[0] / "evaluation" / "test" / "metrics.json").read_text())
    assert comparison["runs"][0]["roc_auc"] == pytest.approx(before["roc_auc"])
    assert comparison["runs"][0]["log_loss"] == pytest.approx(before["log_loss"], abs=1e-5)
    assert [recipe["runs"] for recipe in comparison["recipes"]] == [["one", "two"], ["three"]]

    # All numbers follow from the predictions.
    rows = list(csv.DictReader((folder / "predictions.csv").open()))
    labels = np.array([row["label"] == "sub" for row in rows])
    areas = {
        name: auc_delong(labels, np.array([float(row[f"{name}: p_sub"]) for row in rows]))
        for name in ("one", "two", "three")
    }
    assert len({auc.value for auc in areas.values()}) > 1
    table = list(csv.DictReader((folder / "comparison.csv").open()))
    assert [row["run"] for row in table] == ["one", "two", "three"]
    assert table[0]["minus_first"] == ""
    for row in table[1:]:
        expected = difference(areas[row["run"]], areas["one"])
        assert float(row["roc_auc"]) == pytest.approx(areas[row["run"]].value)
        found = [float(row[f"minus_first{part}"]) for part in ("", "_low", "_high")]
        assert found == pytest.approx([expected.value, expected.low, expected.high])
        assert f"{expected.value:+.5f} [{expected.low:+.5f}, {expected.high:+.5f}]" in done.stdout
    assert "one, two are seeds 0, 1 of one recipe: ROC AUC" in done.stdout


def test_images_that_one_of_them_learned_from_are_left_out(runs, lenses, tmp_path, capsys):
    rows = list(csv.DictReader((runs[1] / "split.csv").open()))
    moved = [row for row in rows if row["split"] == "test"][:5]
    for row in moved:
        row["split"] = "train"
    with (runs[1] / "split.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    run(*runs[:2])
    folder = tmp_path / "runs" / "comparison" / "one-vs-two"
    scored = {row["path"] for row in csv.DictReader((folder / "predictions.csv").open())}
    assert len(scored) == 43
    assert not scored & {row["path"] for row in moved}
    assert json.loads((folder / "comparison.json").read_text())["left_out"] == 5
    # The same images at another place.
    run(*runs[:2], "--data", lenses, "--name", "again")
    comparison = json.loads((folder.with_name("again") / "comparison.json").read_text())
    assert (comparison["n"], comparison["left_out"]) == (43, 197)
    assert scored == {row["path"] for row in csv.DictReader((folder.with_name("again") / "predictions.csv").open())}


def test_averages_and_rates_apply_to_all(runs, tmp_path, capsys):
    run(*runs[:2], "--tta", "--fpr", "0.2", "--name", "both")
    comparison = json.loads((tmp_path / "runs" / "comparison" / "both" / "comparison.json").read_text())
    assert comparison["tta"]
    assert all("false-positive rate 0.2" in one["threshold_from"] for one in comparison["runs"])


def test_what_cannot_be_compared(runs, tmp_path, capsys):
    message = refused(runs[0], tmp_path / "runs" / "." / "one")
    assert "is given twice: compare different runs" in message
    assert "--split val: several runs are compared on test images" in refused(*runs, "--split", "val")
    others = write_lenses(tmp_path / "others", 6, seed=9)
    shutil.rmtree(others / "no_sub")
    run(*runs[:2], "--data", others)
    assert "there are no images of class no_sub" in capsys.readouterr().out
    folder = tmp_path / "runs" / "comparison" / "one-vs-two"
    comparison = json.loads((folder / "comparison.json").read_text())
    assert (comparison["pairs"], comparison["runs"][0]["roc_auc"]) == ([], None)
    assert not (folder / "roc.png").exists()
    flat = (others / "sub").rename(tmp_path / "flat")
    assert "a comparison needs labels: give folders of classes" in refused(*runs, "--data", flat)
    (runs[2] / "split.csv").write_text("path,class,sha256,split\na.png,sub,1234,test\n")
    assert "none of the 48 images is in the test part of all runs: give images" in refused(*runs)


@pytest.mark.slow  # as that of others does
def test_other_classes_end_with_one_line_and_exit_code_2(runs):
    card = json.loads((runs[1] / "best" / "model.json").read_text())
    (runs[1] / "best" / "model.json").write_text(json.dumps({**card, "classes": ["no_sub", "axion"]}))
    done = run_python("evaluate.py", *runs[:2])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: {runs[1]} tells no_sub, axion apart, and {runs[0]} no_sub, sub: compare runs of the same classes\n"
    )


def test_runs_of_one_name_are_called_by_their_paths(tmp_path):
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "c"]
    assert names_of(folders) == [str(folders[0]), str(folders[1]), "c"]
