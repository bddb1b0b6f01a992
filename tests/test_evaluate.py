import csv
import json
import shutil

import numpy as np
import pytest
from conftest import run_python, write_lenses
from PIL import Image

import evaluate
from deeplense.cli import parse
from deeplense.config import EvaluateConfig
from deeplense.errors import InputError


def run(*arguments):
    evaluate.main(parse(EvaluateConfig, [str(part) for part in arguments], ""))


def refused(*arguments):
    with pytest.raises(InputError) as refusal:
        run(*arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.fixture
def copy(trained, tmp_path):
    """The finished run, to be scored and spoilt."""
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture
def others(tmp_path):
    """Images that no run has seen."""
    return write_lenses(tmp_path / "others", 15, seed=9)


def predictions(folder):
    return list(csv.DictReader((folder / "predictions.csv").open()))


def test_the_test_part_is_scored_as_in_training(copy):
    before = json.loads((copy / "evaluation" / "test" / "metrics.json").read_text())
    rows = predictions(copy / "evaluation" / "test")
    shutil.rmtree(copy / "evaluation")
    done = run_python("evaluate.py", copy)
    assert done.returncode == 0, done.stderr
    assert f"ROC AUC {before['roc_auc']:.5f}" in done.stdout
    after = json.loads((copy / "evaluation" / "test" / "metrics.json").read_text())
    for name, value in before.items():
        assert after[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)
    again = predictions(copy / "evaluation" / "test")
    assert [row["path"] for row in again] == [row["path"] for row in rows]
    np.testing.assert_allclose([float(r["p_sub"]) for r in again], [float(r["p_sub"]) for r in rows], atol=1e-5)


@pytest.mark.parametrize(("part", "count"), [("val", 24), ("train", 168), ("all", 240)])
def test_other_parts(copy, capsys, part, count):
    run(copy, "--split", part)
    assert len(predictions(copy / "evaluation" / part)) == count
    assert ("no honest score" in capsys.readouterr().err) == (part != "val")


def test_other_images(copy, others):
    run(copy, "--data", others, "--name", "theirs")
    folder = copy / "evaluation" / "theirs"
    scores = json.loads((folder / "metrics.json").read_text())
    assert (scores["n"], scores["left_out_since_learned_from"]) == (30, 0)
    assert {row["label"] for row in predictions(folder)} == {"no_sub", "sub"}
    assert {path.name for path in folder.glob("*.png")} >= {
        "roc.png",
        "precision_recall.png",
        "confusion.png",
        "scores.png",
    }


def test_images_that_were_learned_from_are_refused(copy, lenses, others, capsys):
    """By content: other names and another container do not hide them."""
    learned = [row["path"] for row in csv.DictReader((copy / "split.csv").open()) if row["split"] in ("train", "val")][
        :7
    ]
    for index, path in enumerate(learned):
        Image.open(lenses / path).save(others / path.split("/")[0] / f"renamed{index}.tif")
    message = refused(copy, "--data", others)
    assert f"7 of 37 images are ones {copy} was trained on or chosen by" in message
    assert "--allow-overlap" in message
    assert not (copy / "evaluation" / "others").exists()
    run(copy, "--data", others, "--allow-overlap")
    assert "left out 7 of 37 images" in capsys.readouterr().err
    scores = json.loads((copy / "evaluation" / "others" / "metrics.json").read_text())
    assert (scores["n"], scores["left_out_since_learned_from"]) == (30, 7)
    assert "192 of 240 images are ones" in refused(copy, "--data", lenses)


def test_unlabelled_images_get_predictions_only(copy, tmp_path, others):
    flat = tmp_path / "survey"
    flat.mkdir()
    for index, file in enumerate(sorted(others.rglob("*.png"))[:5]):
        shutil.copy(file, flat / f"{index}.png")
    run(copy, "--data", flat)
    rows = predictions(copy / "evaluation" / "survey")
    assert [row["path"] for row in rows] == [f"{index}.png" for index in range(5)]
    assert {row["label"] for row in rows} == {""}
    assert {path.name for path in (copy / "evaluation" / "survey").iterdir()} == {"predictions.csv", "report.html"}


def test_one_class_is_scored_as_far_as_it_goes(copy, others, capsys):
    shutil.rmtree(others / "no_sub")
    run(copy, "--data", others)
    scores = json.loads((copy / "evaluation" / "others" / "metrics.json").read_text())
    assert scores["roc_auc"] is None
    assert "no images of class no_sub" in scores["undefined"]
    assert {row["label"] for row in predictions(copy / "evaluation" / "others")} == {"sub"}
    assert "accuracy" in capsys.readouterr().out


def test_images_of_another_size_and_type(copy, tmp_path):
    folder = tmp_path / "large"
    random = np.random.default_rng(0)
    for name in ("no_sub", "sub"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            np.save(folder / name / f"{index}.npy", random.random((1, 90, 90)))
    run(copy, "--data", folder)
    assert len(predictions(copy / "evaluation" / "large")) == 6


def test_the_names_of_its_own_parts_are_not_for_others(copy, others):
    test = others.rename(others.with_name("test"))
    before = (copy / "evaluation" / "test" / "metrics.json").read_bytes()
    assert "would be kept as «test», beside the run's own: give a --name" in refused(copy, "--data", test)
    assert (copy / "evaluation" / "test" / "metrics.json").read_bytes() == before
    run(copy, "--data", test, "--name", "theirs")


def test_an_evaluation_of_the_same_name_is_replaced_whole(copy, others, tmp_path):
    run(copy, "--data", others)
    assert (copy / "evaluation" / "others" / "roc.png").exists()
    shutil.rmtree(others / "sub")
    run(copy, "--data", others)
    assert not (copy / "evaluation" / "others" / "roc.png").exists()
    assert [path.name for path in (copy / "evaluation").glob("others*")] == ["others"]


def test_classes_that_were_renamed_are_noticed(copy, tmp_path, lenses):
    moved = shutil.copytree(lenses, tmp_path / "moved")
    (moved / "no_sub").rename(moved / "zzz")
    config = json.loads((copy / "config.json").read_text())
    config["data"]["data"] = str(moved)
    (copy / "config.json").write_text(json.dumps(config))
    assert "its classes are sub, zzz, and those of" in refused(copy)


def test_bad_input_is_one_line(copy, others, tmp_path):
    assert "has no weights (best/model.safetensors)" in refused(tmp_path / "nowhere")
    assert "there is no such folder" in refused(copy, "--data", tmp_path / "none")
    (others / "sub").rename(others / "vortex")
    assert "class vortex is not one that" in refused(copy, "--data", others)
    (copy / "config.json").write_text("{")
    assert f"{copy / 'config.json'} is damaged" in refused(copy)


def test_damaged_runs_name_the_file(copy):
    weights = copy / "best" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    assert f"{weights} is damaged" in refused(copy)
    weights.write_bytes(content)
    (copy / "best" / "model.json").write_text("{}")
    assert "model.json is damaged" in refused(copy)


def test_a_split_that_is_missing(copy):
    (copy / "split.csv").unlink()
    assert "split.csv cannot be read" in refused(copy)


def test_images_that_changed_since_are_noticed(copy, tmp_path):
    text = (copy / "split.csv").read_text().splitlines()
    (copy / "split.csv").write_text("\n".join(text[:-1]) + "\n")
    assert "1 images are not those that" in refused(copy)


def test_the_exit_code_is_2(tmp_path):
    done = run_python("evaluate.py", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path} has no weights")
    assert len(done.stderr.splitlines()) == 1
