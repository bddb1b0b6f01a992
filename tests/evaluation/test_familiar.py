"""A run knows what it has seen: images of another kind are told from its own, said, left out or refused."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import lens_image, run_python, write_lenses
from PIL import Image

import evaluate
from deeplense.cli import parse
from deeplense.config import AugmentConfig, DataConfig, EvaluateConfig
from deeplense.data.batches import PixelStore, StreamBatches
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError, TrainingError
from deeplense.evaluation.familiar import FILE, get_acquainted, keep_familiarity, read_familiarity
from deeplense.tasks import load_run


def run(*arguments):
    evaluate.main(parse(EvaluateConfig, [str(part) for part in arguments], ""))


def refused(*arguments):
    with pytest.raises(InputError) as refusal:
        run(*arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def table(file):
    return list(csv.DictReader(file.open(newline="")))


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def noise(tmp_path):
    """A flat folder of ten noise maps."""
    random = np.random.default_rng(0)
    (tmp_path / "noise").mkdir()
    for number in range(10):
        np.save(tmp_path / "noise" / f"{number}.npy", random.normal(100, 3, (50, 50)).astype(np.float32))
    return tmp_path / "noise"


@pytest.fixture
def mixed(tmp_path):
    """Thirty images like those of the run, and ten inverted ones."""
    folder = write_lenses(tmp_path / "mixed", 15, seed=9)
    random = np.random.default_rng(1)
    for label, name in enumerate(("no_sub", "sub")):
        for number in range(5):
            image = 255 - lens_image(random, bool(label))
            Image.fromarray(image).save(folder / name / f"inverted{number}.png")
    return folder


def test_training_keeps_it_and_scores_its_test_part_with_it(trained):
    file = trained / "best" / FILE
    assert file.stat().st_size < 400_000
    rows = table(trained / "evaluation" / "test" / "predictions.csv")
    assert list(rows[0]) == ["path", "label", "predicted", "p_no_sub", "p_sub", "familiarity"]
    familiarity = np.array([float(row["familiarity"]) for row in rows])
    assert ((familiarity >= 0) & (familiarity <= 1)).all()
    scores = json.loads((trained / "evaluation" / "test" / "metrics.json").read_text())
    assert scores["unfamiliar"] == pytest.approx((familiarity < 0.01).mean())
    about = scores["familiarity"]
    assert (about["images"], about["validation_images"], about["left_out"]) == (48, 24, 0)
    assert about["unfamiliar_low"] <= scores["unfamiliar"] <= about["unfamiliar_high"]
    assert about["said"] is None
    assert json.loads((trained / "summary.json").read_text())["test"]["unfamiliar"] == scores["unfamiliar"]
    assert (trained / "evaluation" / "test" / "familiarity.png").stat().st_size > 10_000


def test_stray_files_are_said_first_and_the_exit_code_stays(copy, noise):
    done = run_python("evaluate.py", copy, "--data", noise)
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stdout.splitlines()
    assert first == (
        "10 of 10 images (100%) are foreign to this run, stranger than 99% of its validation images: "
        "their probabilities mean nothing"
    )
    assert second == "predicted 10 images without labels"
    folder = copy / "evaluation" / "noise"
    assert {float(row["familiarity"]) for row in table(folder / "predictions.csv")} == {0.0}
    scores = json.loads((folder / "metrics.json").read_text())
    assert (scores["n"], scores["unfamiliar"]) == (10, 1.0)
    assert scores["familiarity"]["as_a_set_p"] < 0.005
    assert "roc_auc" not in scores
    page = (folder / "report.html").read_text()
    assert f'<p class="note">{first}</p>' in page
    assert 'class="unlabelled acquainted' in page


def test_foreign_images_may_be_refused_before_anything_is_written(copy, noise):
    message = refused(copy, "--data", noise, "--foreign", "refuse")
    assert "--foreign refuse: copy on noise: 10 of 10 images (100%) are foreign to this run" in message
    assert "--foreign leave-out" in message
    assert not (copy / "evaluation" / "noise").exists()
    assert "none is left to score" in refused(copy, "--data", noise, "--foreign", "leave-out")
    run(copy, "--foreign", "refuse")  # its own test part


def test_foreign_images_may_be_left_out_of_the_scores(copy, mixed, capsys):
    run(copy, "--data", mixed)
    assert capsys.readouterr().out.startswith("1")
    everything = table(copy / "evaluation" / "mixed" / "predictions.csv")
    foreign = {row["path"] for row in everything if float(row["familiarity"]) < 0.01}
    assert {row["path"] for row in everything if "inverted" in row["path"]} <= foreign
    assert len(foreign) <= 15
    apart = json.loads((copy / "evaluation" / "mixed" / "metrics.json").read_text())["familiarity"]
    assert (apart["familiar"]["n"], apart["foreign"]["n"]) == (40 - len(foreign), len(foreign))
    run(copy, "--data", mixed, "--foreign", "leave-out")
    folder = copy / "evaluation" / "mixed-familiar"
    assert f"{len(foreign)} of 40 images" in capsys.readouterr().out.splitlines()[0]
    rows = table(folder / "predictions.csv")
    assert {row["path"] for row in rows} == {row["path"] for row in everything} - foreign
    scores = json.loads((folder / "metrics.json").read_text())
    assert (scores["n"], scores["familiarity"]["left_out"]) == (len(rows), len(foreign))
    assert scores["roc_auc"] == pytest.approx(apart["familiar"]["roc_auc"])
    left_out = table(folder / "foreign.csv")
    assert {row["path"] for row in left_out} == foreign
    strangeness = [float(row["strangeness"]) for row in left_out]
    assert strangeness == sorted(strangeness, reverse=True)


def test_a_run_that_does_not_keep_it_is_used_as_before(copy, noise, capsys):
    (copy / "best" / FILE).unlink()
    run(copy, "--data", noise)
    said = capsys.readouterr()
    assert said.out.startswith("predicted 10 images without labels")
    assert f"note: {copy} does not keep what its images look like (best/{FILE}" in said.err
    assert "familiarity" not in table(copy / "evaluation" / "noise" / "predictions.csv")[0]
    assert not (copy / "evaluation" / "noise" / "metrics.json").exists()
    assert "give --foreign say" in refused(copy, "--data", noise, "--foreign", "leave-out")


def test_a_damaged_file_is_named(copy):
    (copy / "best" / FILE).write_bytes(b"\x10" + b"\0" * 30)
    message = refused(copy)
    assert f"{copy / 'best' / FILE} is damaged" in message
    assert "restore it, or remove it" in message


def test_it_is_written_whole_or_not_at_all(copy, tmp_path, monkeypatch):
    known = read_familiarity(copy / "best")
    before = (copy / "best" / FILE).read_bytes()
    keep_familiarity(copy / "best", known)
    assert (copy / "best" / FILE).read_bytes() == before
    assert {file.name for file in (copy / "best").iterdir()} == {"model.safetensors", "model.json", FILE}
    with pytest.raises(TrainingError, match=r"cannot be written .*--resume"):
        keep_familiarity(tmp_path / "none", known)


def test_tta_and_several_views_know_the_same_images(copy, noise):
    run(copy, "--tta")
    plain, averaged = (table(copy / "evaluation" / name / "predictions.csv") for name in ("test", "test-tta"))
    assert [row["familiarity"] for row in plain] == pytest.approx([row["familiarity"] for row in averaged])
    assert [row["p_sub"] for row in plain] != [row["p_sub"] for row in averaged]


def test_a_turned_test_part_is_another_evaluation(copy):
    run(copy, "--turn-test")
    plain, turned = (table(copy / "evaluation" / name / "predictions.csv") for name in ("test", "test-turned"))
    assert [row["path"] for row in plain] == [row["path"] for row in turned]
    changed = [a["p_sub"] != b["p_sub"] for a, b in zip(plain, turned, strict=True)]
    assert 0.6 < np.mean(changed) < 1  # an eighth stays as it is
    assert json.loads((copy / "evaluation" / "test-turned" / "metrics.json").read_text())["turned"] is True
    again = (copy / "evaluation" / "test-turned" / "predictions.csv").read_text()
    run(copy, "--turn-test")
    assert (copy / "evaluation" / "test-turned" / "predictions.csv").read_text() == again


def test_flags_that_make_no_sense_together():
    for flags, message in (
        (["a", "b", "--foreign", "refuse"], "--foreign refuse is for scoring one run"),
        (["a", "--sensitivity", "--turn-test"], "--turn-test is for scoring one run"),
    ):
        with pytest.raises(InputError, match=message):
            parse(EvaluateConfig, flags, "")


def test_without_stages_or_validation_images_there_is_none(trained):
    network = load_run(trained).network
    assert get_acquainted(network, (), None, None, np.arange(5)) is None
    assert get_acquainted(network, ("layer1",), None, None, np.arange(0)) is None


class Stream:
    """Image k is flat but for its pixel k."""

    def span(self, start, stop):
        counts = torch.zeros(stop - start, 1, 40, 40)
        counts.flatten(1)[torch.arange(stop - start), torch.arange(start, stop)] = 1
        return counts, None


def test_simulated_training_images_are_taken_from_the_stream():
    pixels = ImageSet(np.zeros((1, 1, 40, 40), np.float32), None, (), ["a"], ["0"])
    store = PixelStore(pixels, DataConfig(image_size=40), torch.device("cpu"))
    batches = StreamBatches(store, Stream(), lambda draws, maps: None, AugmentConfig(), 4, 1, 8)
    parts = list(batches.plain(5, 3))
    assert [len(part) for part in parts] == [3, 2]
    assert torch.cat(parts).flatten(1).argmax(1).tolist() == [0, 1, 2, 3, 4]
