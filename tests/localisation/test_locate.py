"""The task as a user meets it: train, look at the run folder, score again, use on other files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from selenium import webdriver
from selenium.webdriver.common.by import By

import deeplense
import evaluate
import train
from configs import DESCRIPTIONS, PRESETS
from deeplense.cli import parse_training
from deeplense.config import EvaluateConfig, ModelConfig
from deeplense.content import content_hash
from deeplense.data.images import load_images
from deeplense.errors import InputError
from deeplense.export.card import write_card
from deeplense.export.write import export
from deeplense.localisation.network import Localizer
from deeplense.network.model import build_model, initialize

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
SIDE, SCALE = 40, 0.1
FLAGS = (
    "--task", "locate", "--image-size", "32", "--crop", "0.8", "--standardize", "--rotation", "180", "--epochs", "3",
    "--init", "random", "--batch-size", "16", "--lr", "2e-3", "--wandb", "disabled", "--mixed-precision", "no",
    "--val-fraction", "0.2", "--test-fraction", "0.3", "--clip-norm", "5",
)  # fmt: skip


def rings_with_dots(folder, count=160, seed=0):
    """A packed set of rings; every other one has a dot, at a place and of a mass that `subhalos.csv` has."""
    random = np.random.default_rng(seed)
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * SCALE
    images, masses = [], []
    for index in range(count):
        image = 40 * np.exp(-((np.hypot(x, y) - 0.9) ** 2) / 0.05) + random.normal(0, 2, x.shape)
        if index % 2:
            angle, log_mass = random.uniform(0, 2 * np.pi), random.uniform(9, 10)
            place = 0.9 * np.cos(angle), 0.9 * np.sin(angle)
            image += 60 * (log_mass - 8) * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 0.03)
            masses.append([index, *place, 10**log_mass, 0.1])
        images.append(image.astype(np.float32))
    folder.mkdir()
    np.save(folder / "images.npy", np.stack(images))
    about = {"name": "dots", "version": 1, "classes": ["no_sub", "sub"], "pixel_scale": SCALE}
    (folder / "dataset.json").write_text(json.dumps(about))
    rows = [[index, ("no_sub", "sub")[index % 2], content_hash(image)] for index, image in enumerate(images)]
    heads = {"catalog.csv": (["index", "class", "sha256"], rows)}
    heads["subhalos.csv"] = (["index", "x", "y", "mass", "einstein_radius"], masses)
    for name, (head, lines) in heads.items():
        with (folder / name).open("w", newline="") as table:
            csv.writer(table).writerows([head, *lines])
    return folder


def located(data, output, *flags):
    config = parse_training(
        ["debug", *FLAGS, "--data", str(data), "--output-dir", str(output), *flags], PRESETS, DESCRIPTIONS
    )
    train.main(config)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and its images."""
    folder = tmp_path_factory.mktemp("locate")
    data = rings_with_dots(folder / "dots")
    located(data, folder, "--name", "run")
    return folder / "run", data


def rows_of(file):
    return list(csv.DictReader(file.open()))


def test_a_run_ends_with_tables_scores_figures_and_a_page(run):
    folder, _ = run
    test = folder / "evaluation" / "test"
    predictions, detections = rows_of(test / "predictions.csv"), rows_of(test / "detections.csv")
    assert list(predictions[0]) == ["path", "label", "p_any", "expected_number", "familiarity"]
    assert len(predictions) == 48
    assert all(0 < float(row["p_any"]) < 1 and float(row["expected_number"]) > 0 for row in predictions)
    columns = ["path", "x", "y", "x_sigma", "y_sigma", "log10_mass", "log10_mass_sigma", "probability"]
    assert (test / "detections.csv").read_text().splitlines()[0] == ",".join(columns)
    for row in detections:
        assert row["path"] in {own["path"] for own in predictions}
        assert abs(float(row["x"])) < 1.7 and abs(float(row["y"])) < 1.7  # arcsec, in view  # noqa: PT018
        assert float(row["probability"]) >= 0.1
    metrics = json.loads((test / "metrics.json").read_text())
    assert (metrics["n"], metrics["length_unit"], metrics["subhalos"]) == (48, "arcsec", 24)
    assert metrics["tolerance"] == pytest.approx(0.2)  # two pixels
    assert [(row["from"], row["to"]) for row in metrics["by_mass"]] == [(9.0, 9.5), (9.5, 10.0)]
    for name in ("found_by_mass", "froc", "promises", "gallery"):
        assert Image.open(test / f"{name}.png").size[0] > 500
    page = (test / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4
    assert "run, test part" in page
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val_loss"] for line in lines if "val_loss" in line]
    assert len(losses) == 3
    assert summary["val_loss"] == min(losses)
    card = json.loads((folder / "best" / "model.json").read_text())
    assert (card["task"], card["pixel_scale"], card["architecture"]) == ("locate", SCALE, "resnet18-pyramid")
    assert load_file(folder / "best" / "model.safetensors")["encoder.conv1.weight"].shape == (64, 1, 7, 7)


def test_a_run_is_scored_again_as_it_was_and_lists_what_is_asked_for(run, capsys):
    folder, _ = run
    test = folder / "evaluation" / "test"
    before, listed = (test / "metrics.json").read_text(), rows_of(test / "detections.csv")
    chances = [float(row["probability"]) for row in listed]
    middle = (min(chances) + max(chances)) / 2
    evaluate.main(EvaluateConfig(runs=(folder,), min_probability=middle, name="again"))
    assert "any subhalo: ROC AUC" in capsys.readouterr().out
    again = json.loads((folder / "evaluation" / "again" / "metrics.json").read_text())
    for name in ("roc_auc", "by_mass", "froc", "position"):
        assert again[name] == json.loads(before)[name]
    assert again["min_probability"] == middle
    assert 0 < len(rows_of(folder / "evaluation" / "again" / "detections.csv")) < len(listed)


def test_images_that_nobody_knows_anything_of_get_detections(run, tmp_path, capsys):
    folder, _ = run
    flat = tmp_path / "cutouts"
    flat.mkdir()
    for index, image in enumerate(np.load(rings_with_dots(tmp_path / "others", 4, seed=9) / "images.npy")):
        np.save(flat / f"{index}.npy", image)
    evaluate.main(EvaluateConfig(runs=(folder,), data=str(flat), min_probability=0.0))
    assert "4 images without truth: see detections.csv" in capsys.readouterr().out
    written = folder / "evaluation" / "cutouts"
    metrics = json.loads((written / "metrics.json").read_text())
    assert "by_mass" not in metrics
    familiarity = [float(row["familiarity"]) for row in rows_of(written / "predictions.csv")]
    assert metrics["unfamiliar"] == sum(own < 0.01 for own in familiarity) / 4
    assert max(familiarity) > 0  # they are of the same kind
    assert len(rows_of(written / "predictions.csv")) == 4
    places = [abs(float(row[name])) for row in rows_of(written / "detections.csv") for name in ("x", "y")]
    assert max(places) <= 17.6  # pixels from the centre, as nobody said how large they are
    assert max(places) > 3
    assert (written / "report.html").is_file()


def test_noise_is_foreign_to_a_localiser(run, tmp_path, capsys):
    folder, _ = run
    flat = tmp_path / "noise"
    flat.mkdir()
    for index in range(8):
        np.save(flat / f"{index}.npy", np.random.default_rng(index).normal(0, 1, (40, 40)).astype(np.float32))
    evaluate.main(EvaluateConfig(runs=(folder,), data=str(flat)))
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first.startswith("8 of 8 images (100%) are foreign to this run")
    assert second == "8 images without truth: see detections.csv"
    with pytest.raises(InputError, match="none is left to score"):
        evaluate.main(EvaluateConfig(runs=(folder,), data=str(flat), foreign="leave-out"))
    for index, image in enumerate(np.load(rings_with_dots(tmp_path / "others", 6, seed=9) / "images.npy")):
        np.save(flat / f"own{index}.npy", image)
    evaluate.main(EvaluateConfig(runs=(folder,), data=str(flat), foreign="leave-out"))
    rows, left_out = (
        rows_of(folder / "evaluation" / "noise-familiar" / name) for name in ("predictions.csv", "foreign.csv")
    )
    assert {row["path"] for row in left_out} >= {f"{index}.npy" for index in range(8)}
    assert len(rows) + len(left_out) == 14
    assert len(rows) > 0


def test_what_does_not_fit_is_refused_in_a_line(run, tmp_path, lenses):
    folder, data = run
    with pytest.raises(InputError, match=r"has no subhalos.csv, from which --task locate learns: make it with"):
        located(lenses, tmp_path, "--name", "folders")
    with pytest.raises(InputError, match=r"--label-smoothing 0.1: is of --task classify, leave it out"):
        located(data, tmp_path, "--name", "smoothed", "--label-smoothing", "0.1")
    with pytest.raises(InputError, match=r"--balance loss: is of --task classify, leave it out"):
        located(data, tmp_path, "--name", "even", "--balance", "loss")
    with pytest.raises(InputError, match=r"--turn-test: .* was trained to locate, which has no such thing: leave"):
        evaluate.main(EvaluateConfig(runs=(folder,), turn_test=True))
    with pytest.raises(InputError, match=r"--task classfy: there is no such task; there are classify, locate"):
        located(data, tmp_path, "--name", "typo", "--task", "classfy")
    assert not list(tmp_path.iterdir())


def test_weights_of_a_classifier_start_the_encoder_and_those_of_a_localiser_all(run, tmp_path):
    torch.manual_seed(1)
    classifier = build_model(2)
    (tmp_path / "run" / "best").mkdir(parents=True)
    save_file(classifier.state_dict(), tmp_path / "run" / "best" / "model.safetensors")
    network = Localizer()
    last = network.last.weight.clone()
    told = initialize(network, ModelConfig(init=str(tmp_path / "run")))
    assert told.effective == str(tmp_path / "run")
    assert torch.equal(network.encoder.layer4[1].conv2.weight, classifier.layer4[1].conv2.weight)
    assert torch.equal(network.last.weight, last)
    initialize(network, ModelConfig(init=str(run[0])))
    assert torch.equal(network.last.weight, load_file(run[0] / "best" / "model.safetensors")["last.weight"])


def test_weights_of_something_else_are_refused(run, tmp_path):
    save_file(build_model(2, 3).state_dict(), tmp_path / "colour.safetensors")
    with pytest.raises(
        InputError, match=r"--init .*colour.safetensors: is a network for 3 channel\(s\), and --channels is 1"
    ):
        initialize(Localizer(), ModelConfig(init=str(tmp_path / "colour.safetensors")))
    save_file({"conv1.weight": torch.zeros(64, 1, 7, 7)}, tmp_path / "stem.safetensors")
    with pytest.raises(InputError, match=r"the weights are not those of a ResNet-18 \(bn1.bias\)"):
        initialize(Localizer(), ModelConfig(init=str(tmp_path / "stem.safetensors")))
    older = {name: value for name, value in Localizer().state_dict().items() if not name.startswith("around.")}
    save_file(older, tmp_path / "older.safetensors")
    with pytest.raises(InputError, match=r"not those of this network, whose layers may have changed \(around.down"):
        initialize(Localizer(), ModelConfig(init=str(tmp_path / "older.safetensors")))
    with pytest.raises(InputError, match=r"--init .*nothing: there is no such file"):
        initialize(Localizer(), ModelConfig(init=str(tmp_path / "nothing")))
    with pytest.raises(InputError, match=r"the weights are not those of a ResNet-18"):  # a localiser is no classifier
        initialize(build_model(2), ModelConfig(init=str(run[0])))


def test_a_notebook_gets_what_the_evaluation_lists(run):
    folder, data = run
    asked = deeplense.load(folder)
    assert "where subhalos are" in repr(asked)
    listed = rows_of(folder / "evaluation" / "test" / "detections.csv")
    paths = [row["path"] for row in rows_of(folder / "evaluation" / "test" / "predictions.csv")]
    numbers = [int(path.rpartition("/")[2]) for path in paths]
    images = load_images(str(data)).take(numbers)
    said = asked.predict(images)
    assert said.unit == "arcsec"
    assert len(said.x) == len(listed)
    rows = sorted((said.paths[image], round(p, 4)) for image, p in zip(said.image, said.probability, strict=True))
    wanted = sorted((row["path"], round(float(row["probability"]), 4)) for row in listed)
    for own, other in zip(rows, wanted, strict=True):
        assert own[0] == other[0]
        assert own[1] == pytest.approx(other[1], abs=2e-3)
    assert said.density.sum((1, 2)) == pytest.approx(said.expected_number)
    between = float(np.median(said.probability))
    assert 0 < len(asked.predict(images, min_probability=between).x) < len(said.x)
    plain = asked.predict(np.load(data / "images.npy")[:3])  # nobody says how large its pixels are
    assert plain.unit == "px"
    assert len(plain.p_any) == 3


def test_exported_maps_are_those_of_the_program(run, tmp_path):
    import onnxruntime

    folder, data = run
    exported = export(folder, "onnx", tmp_path / "model.onnx")
    assert (exported.familiar, exported.difference < 1e-3) == (True, True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    pixels = np.load(data / "images.npy")[:5, None]
    maps, familiarity = session.run(None, {"pixels": pixels})
    assert maps.shape == (5, 6, 16, 16)
    assert familiarity.shape == (5,)
    own = deeplense.load(folder).predict(load_images(str(data)).take(list(range(5))))
    np.testing.assert_allclose(maps[:, 0].sum((1, 2)), own.expected_number, rtol=1e-3)
    # The cells' places: arcsec from the centre, x along the rows, within the part of the image that is seen and a cell.
    assert np.abs(maps[:, 1:3]).max() < SIDE * SCALE * 0.8 / 2 + 0.2
    assert (np.diff(maps[:, 1].mean((0, 1))) > 0).mean() > 0.8
    assert (np.diff(maps[:, 2].mean((0, 2))) > 0).mean() > 0.8
    card = write_card(folder, exported).read_text()
    assert "(N, 6, 16, 16): expected_number, x, y, sigma, log10_mass, log10_mass_sigma" in card
    assert "arcsec from the centre" in card


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="there is no chromium with its chromedriver")
def test_the_page_answers_to_the_slider(run):
    folder, _ = run
    test = folder / "evaluation" / "test"
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,1400"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        browser.get((test / "report.html").as_uri())
        assert browser.get_log("browser") == []
        froc = {row["probability"]: row for row in json.loads((test / "metrics.json").read_text())["froc"]}
        for probability in (0.5, 0.1, 0.9):
            browser.execute_script(
                "const own = document.querySelector('#least'); own.value = arguments[0];"
                "own.dispatchEvent(new Event('input'))",
                probability,
            )
            cells = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#counts tr:last-child td")]
            own = froc[probability]
            assert cells[:3] == ["all", str(own["found"]["n"]), str(own["found"]["hits"])]
            shown = f"[{100 * own['found']['low']:.1f}, {100 * own['found']['high']:.1f}]"
            assert shown in cells[3]
            false = own["false_an_image"]["count"]
            assert f"{false} false ones in 48 images" in browser.find_element(By.ID, "counts").text
            hidden = [circle.is_displayed() for circle in browser.find_elements(By.CSS_SELECTOR, "circle.found")]
            listed = [
                float(circle.get_attribute("data-probability")) >= probability
                for circle in browser.find_elements(By.CSS_SELECTOR, "circle.found")
            ]
            assert hidden == listed
        density = browser.find_element(By.CSS_SELECTOR, ".picture .density")
        assert not density.is_displayed()
        browser.find_element(By.ID, "density").click()
        assert density.is_displayed()
        browser.execute_script("document.querySelector('circle.true').focus()")
        assert browser.find_element(By.ID, "said").text.startswith("there: 10^9.")
        browser.find_element(By.ID, "truth").click()
        assert not browser.find_element(By.CSS_SELECTOR, "circle.true").is_displayed()
    finally:
        browser.quit()


def test_two_runs_are_compared_on_the_images_that_they_share(run, tmp_path, capsys):
    folder, _ = run
    shutil.copytree(folder, tmp_path / "same")
    evaluate.main(EvaluateConfig(runs=(tmp_path / "same", folder), name="twice"))
    assert "run: any subhalo, ROC AUC" in capsys.readouterr().out
    comparison = json.loads((tmp_path / "comparison" / "twice" / "comparison.json").read_text())
    assert comparison["n"] == 48
    first, second = comparison["runs"]
    assert second["roc_auc"]["minus_first"] == {"value": 0, "low": 0, "high": 0}
    own = json.loads((folder / "evaluation" / "test" / "metrics.json").read_text())
    assert [row["fpr_0.1"]["found"]["rate"] for row in first["by_mass"]] == [
        row["fpr_0.1"]["found"]["rate"] for row in own["by_mass"]
    ]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"refit": True}, "--refit: .* has learned from .*dots, whose priors are not known"),
        ({"sensitivity_map": True, "data": "DATA"}, "--sensitivity-map: .* has learned from .*dots"),
    ],
)
def test_what_needs_a_simulated_family_says_so(run, asked, why):
    folder, data = run
    with pytest.raises(InputError, match=why):
        evaluate.main(EvaluateConfig(runs=(folder,), **{**asked, **({"data": str(data)} if "data" in asked else {})}))


def test_flags_of_one_lens_are_of_the_map_alone():
    with pytest.raises(InputError, match="--lens and --image are for --sensitivity-map"):
        EvaluateConfig(runs=(Path("a"),), image=2)
    with pytest.raises(InputError, match="of which image"):
        EvaluateConfig(runs=(Path("a"),), sensitivity_map=True)
    with pytest.raises(InputError, match="ask one run"):
        EvaluateConfig(runs=(Path("a"), Path("b")), refit=True)
