import csv
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import run_python, write_lenses
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.special import expit, softmax
from sklearn import metrics as sk

import evaluate
from deeplense.classification.card import ModelCard
from deeplense.classification.predictions import Predictions
from deeplense.classification.write import write_evaluation
from deeplense.cli import parse
from deeplense.config import EvaluateConfig
from deeplense.data.images import load_images
from deeplense.errors import InputError
from deeplense.evaluation.predict import predict
from deeplense.scores.calibration import calibrate
from deeplense.scores.symmetry import ALL
from deeplense.tasks import load_run


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


def flat(scores):
    """Numbers, and nothing else, by their path."""
    if isinstance(scores, dict | list):
        pairs = scores.items() if isinstance(scores, dict) else enumerate(scores)
        return {f"{name}.{inner}": own for name, value in pairs for inner, own in flat(value).items()}
    return {"": scores} if isinstance(scores, int | float) else {}


def test_the_test_part_is_scored_as_in_training(copy):
    before = json.loads((copy / "evaluation" / "test" / "metrics.json").read_text())
    rows = predictions(copy / "evaluation" / "test")
    shutil.rmtree(copy / "evaluation")
    done = run_python("evaluate.py", copy)
    assert done.returncode == 0, done.stderr
    assert f"ROC AUC {before['roc_auc']:.5f}" in done.stdout
    after = json.loads((copy / "evaluation" / "test" / "metrics.json").read_text())
    assert flat(after) | flat(before) == pytest.approx(flat(after), abs=1e-5)
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
    folder = copy / "evaluation" / "survey"
    assert {path.name for path in folder.glob("*.*")} == {
        "predictions.csv",
        "report.html",
        "metrics.json",
        "familiarity.png",
    }
    assert set(json.loads((folder / "metrics.json").read_text())) == {
        *("n", "classes", "data", "left_out_since_learned_from", "tta", "unfamiliar", "familiarity")
    }


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
    assert "would be kept as «test», which stands for something else" in refused(copy, "--data", test)
    assert "would be kept as «test»" in refused(copy, "--split", "train", "--name", "test")
    assert "would be kept as «val»" in refused(copy, "--sensitivity", "--data", "model_i", "--name", "val")
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
    save_file(load_file(weights) | {"of.a.layer": torch.zeros(1)}, weights)
    assert f"{weights} is of another network than this program's (of.a.layer): train it anew" in refused(copy)
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


# ---- calibration and symmetry --------------------------------------------------------------------------------------


def metrics(copy, name="test"):
    return json.loads((copy / "evaluation" / name / "metrics.json").read_text())


def own_logits(copy, lenses, part):
    """Labels and logits of a part of the run's images, from its files."""
    model, card = load_run(copy).network, load_run(copy).card
    images = load_images(str(lenses))
    part_of = {row["sha256"]: row["split"] for row in csv.DictReader((copy / "split.csv").open())}
    indices = np.flatnonzero([part_of[sha256] == part for sha256 in images.hashes])
    logits = predict(model, card.store(images, torch.device("cpu")), indices).numpy()
    return images.labels[indices], logits


def rewrite(file, **changes):
    content = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in (content | changes).items() if value != "gone"}))


def test_the_card_is_calibrated_on_validation_images(trained, lenses):
    card = json.loads((trained / "best" / "model.json").read_text())
    labels, logits = own_logits(trained, lenses, "val")
    expected = calibrate(logits, labels)
    assert card["temperature"] == pytest.approx(expected.temperature, rel=1e-4)
    assert card["threshold"] == pytest.approx(expected.threshold, rel=1e-4)
    assert card["threshold_from"] == expected.threshold_from


def test_calibration_is_shown_before_and_after(trained, lenses):
    scores = metrics(trained)
    labels, logits = own_logits(trained, lenses, "test")
    card = json.loads((trained / "best" / "model.json").read_text())
    temperature = card["temperature"]
    assert scores["calibration"]["temperature"] == temperature
    for name, divisor in (("before", 1), ("after", temperature)):
        chance = expit(logits[:, 0].astype(float) / divisor)
        shown = scores["calibration"][name]
        assert shown["log_loss"] == pytest.approx(sk.log_loss(labels, chance), abs=1e-5)
        assert shown["brier"] == pytest.approx(sk.brier_score_loss(labels, chance), abs=1e-5)
    assert {name: scores[name] for name in ("log_loss", "brier", "ece")} == scores["calibration"]["after"]
    rows = predictions(trained / "evaluation" / "test")
    np.testing.assert_allclose([float(row["p_sub"]) for row in rows], chance, atol=1e-5)
    assert [row["predicted"] for row in rows] == ["sub" if one >= scores["threshold"] else "no_sub" for one in chance]
    assert (scores["threshold"], scores["threshold_from"]) == (card["threshold"], card["threshold_from"])
    assert (trained / "evaluation" / "test" / "reliability.png").stat().st_size > 10_000


def test_how_predictions_change_under_symmetry_is_measured(trained):
    symmetry = metrics(trained)["symmetry"]
    assert (symmetry["n"], symmetry["views"]) == (48, 8)
    assert 0 < symmetry["probability_std_mean"] <= symmetry["probability_std_max"] <= 0.5
    assert symmetry["roc_auc_of_views"][0] == pytest.approx(metrics(trained)["roc_auc"])
    assert (trained / "evaluation" / "test" / "symmetry.png").stat().st_size > 10_000


def test_averages_do_not_depend_on_how_an_image_is_mirrored(copy, others, tmp_path, capsys):
    mirrored = tmp_path / "mirrored"
    for number, file in enumerate(sorted(others.rglob("*.png"))):
        target = mirrored / file.relative_to(others)
        target.parent.mkdir(parents=True, exist_ok=True)
        axes = [(), (0,), (1,), (0, 1)][number % 4]
        Image.fromarray(np.flip(np.asarray(Image.open(file)), axes)).save(target)
    plain, averaged = [], []
    for data in (others, mirrored):
        run(copy, "--data", data)
        plain.append([float(row["p_sub"]) for row in predictions(copy / "evaluation" / data.name)])
        run(copy, "--data", data, "--tta")
        averaged.append([float(row["p_sub"]) for row in predictions(copy / "evaluation" / f"{data.name}-tta")])
    assert not np.allclose(*plain, atol=1e-3)
    np.testing.assert_allclose(*averaged, atol=1e-4)
    told = capsys.readouterr()
    assert "fitting temperature and threshold on 24 validation images" in told.err
    scores = metrics(copy, "others-tta")
    assert scores["tta"]
    assert scores["roc_auc"] == pytest.approx(scores["symmetry"]["roc_auc_of_average"])
    assert scores["symmetry"]["averaged"] == ["0°", "180°", "mirrored 0°", "mirrored 180°"]
    card = json.loads((copy / "best" / "model.json").read_text())
    assert scores["calibration"]["temperature"] != card["temperature"] == metrics(copy)["calibration"]["temperature"]


def test_a_threshold_of_another_rate_comes_from_validation_images(copy, lenses):
    before = (copy / "best" / "model.json").read_bytes()
    run(copy, "--fpr", "0.25")
    scores = metrics(copy, "test-fpr0.25")
    labels, logits = own_logits(copy, lenses, "val")
    assert scores["threshold"] == pytest.approx(calibrate(logits, labels, 0.25).threshold, rel=1e-4)
    called = expit(logits[:, 0].astype(float) / scores["calibration"]["temperature"]) >= scores["threshold"]
    assert called[labels == 0].mean() <= 0.25
    assert scores["threshold_from"] == "false-positive rate 0.25 on validation images"
    assert (copy / "best" / "model.json").read_bytes() == before
    assert metrics(copy)["threshold"] == json.loads(before)["threshold"]


def test_validation_images_that_are_gone_are_named(copy, others, tmp_path):
    config = json.loads((copy / "config.json").read_text())
    config["data"]["data"] = str(tmp_path / "gone")
    (copy / "config.json").write_text(json.dumps(config))
    run(copy, "--data", others)
    message = refused(copy, "--data", others, "--tta")
    assert message.startswith(f"--tta needs the validation images of {copy}: ")
    assert f"was made with the images at {tmp_path / 'gone'}, where there is nothing now" in message


def test_images_that_have_moved_are_found_by_content(copy, others, lenses, tmp_path, capsys):
    """Under other names, among others; the part of the run that is there is scored as it was at the end of training."""
    known = {row["path"]: float(row["p_sub"]) for row in predictions(copy / "evaluation" / "test")}
    rewrite(copy / "config.json", data={**json.loads((copy / "config.json").read_text())["data"], "data": "/gone"})
    message = refused(copy)
    assert message == (
        f"{copy} was made with the images at /gone, where there is nothing now: say where they are, with "
        "--data NEW --split test, which finds its test part there by content"
    )
    moved = shutil.copytree(others, tmp_path / "moved")
    for path in lenses.rglob("*.png"):
        shutil.copy(path, moved / path.parent.name / f"moved-{path.name}")
    assert "were trained on or chosen by" in refused(copy, "--data", moved).replace("was trained", "were trained")
    run(copy, "--data", moved, "--split", "test")
    rows = predictions(copy / "evaluation" / "moved-test")
    assert {row["path"].replace("moved-", ""): float(row["p_sub"]) for row in rows} == pytest.approx(known, abs=1e-6)
    assert metrics(copy, "moved-test")["roc_auc"] == metrics(copy)["roc_auc"]
    run(copy, "--data", moved, "--split", "test", "--tta")
    (moved / "sub" / f"moved-{next(path for path in known if path.startswith('sub'))[4:]}").unlink()
    capsys.readouterr()
    run(copy, "--data", moved, "--split", "test")
    assert capsys.readouterr().err.startswith(f"note: 1 of the {len(known)} images of part test are not at {moved}")
    assert "none of the 48 images" in refused(copy, "--data", others, "--split", "test")


@pytest.fixture
def never_validated(copy):
    """The run as it would be without validation images."""
    rows = (copy / "split.csv").read_text()
    (copy / "split.csv").write_text(rows.replace(",val\n", ",train\n").replace(",val\r\n", ",train\r\n"))
    rewrite(copy / "best" / "model.json", temperature=None, threshold=None, threshold_from=None, val_roc_auc=None)
    return copy


def test_a_run_without_validation_says_so_and_goes_on(never_validated, capsys):
    for arguments, name in (((), "test"), (("--tta",), "test-tta")):
        run(never_validated, *arguments)
        assert "not calibrated: the run has no validation images" in capsys.readouterr().out
        scores = metrics(never_validated, name)
        assert (scores["threshold"], scores["calibration"]["temperature"]) == (0.5, None)
        assert scores["threshold_from"] == "nothing was chosen on validation images"
        assert scores["calibration"]["after"] is None
        assert scores["calibration"]["before"]["ece"] == scores["ece"]
        assert (never_validated / "evaluation" / name / "reliability.png").exists()
    message = refused(never_validated, "--fpr", "0.01")
    assert message == f"--fpr: {never_validated} has no validation images to choose a threshold on: leave it out"


def test_a_run_from_before_calibration_still_opens(copy, capsys):
    rewrite(copy / "best" / "model.json", temperature="gone", threshold_from="gone", threshold=0.5)
    run(copy)
    assert "not calibrated: the run has no temperature in its model.json" in capsys.readouterr().out
    assert metrics(copy)["threshold"] == 0.5


def test_one_class_is_calibrated_but_not_ranked(copy, others):
    shutil.rmtree(others / "no_sub")
    run(copy, "--data", others)
    scores = metrics(copy, "others")
    assert scores["symmetry"]["roc_auc_of_views"] is None
    assert scores["calibration"]["after"]["log_loss"] == scores["log_loss"]
    assert {path.name for path in (copy / "evaluation" / "others").glob("*.png")} >= {"reliability.png", "symmetry.png"}


def test_three_classes_have_a_temperature_and_no_threshold(tmp_path):
    images = load_images(str(write_lenses(tmp_path / "three", 20, ("no_sub", "axion", "cdm"))))
    random = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(60, 3, generator=random)
    logits[torch.arange(60), torch.from_numpy(images.labels)] += 2
    fitted = calibrate(logits.numpy(), images.labels)
    card = ModelCard(
        classes=images.classes, image_size=32, channels=1, normalize="auto", epoch=1, val_roc_auc=0.9,
        threshold=fitted.threshold, temperature=fitted.temperature, threshold_from=fitted.threshold_from,
    )  # fmt: skip
    views = logits[:, None] + torch.randn(60, 8, 3, generator=random)
    store = card.store(images, torch.device("cpu"))
    folder = tmp_path / "evaluation"
    scores = write_evaluation(
        folder, images, store, np.arange(60), Predictions(logits, views, np.arange(60), ALL), card, "three classes"
    )
    assert (scores["threshold"], scores["threshold_from"]) == (None, "the likeliest class")
    chances = softmax(logits.double().numpy() / fitted.temperature, 1)
    assert scores["log_loss"] == pytest.approx(sk.log_loss(images.labels, chances))
    assert scores["calibration"]["after"]["log_loss"] < scores["calibration"]["before"]["log_loss"]
    assert [row["predicted"] for row in predictions(folder)] == [images.classes[k] for k in logits.argmax(1)]
    assert {"reliability.png", "symmetry.png"} <= {path.name for path in folder.iterdir()}
