"""What Weights & Biases is given, read back from a real offline run."""

import csv
import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest
import wandb
from accelerate import Accelerator
from PIL import Image
from wandb_runs import entries, history

from deeplense.classification.tracked import SHOWN, telling_images
from deeplense.config import RunConfig, TrackingConfig, TrainConfig
from deeplense.errors import TrainingError
from deeplense.tracking.metrics_log import MetricsLog
from deeplense.tracking.tracker import Tracker, wandb_mode
from deeplense.tracking.wandb_files import entries_of, records


@pytest.fixture(scope="module")
def offline(trained):
    """All records of the run's only offline folder, and the folder of its files."""
    (file,) = trained.glob("wandb/offline-run-*/*.wandb")
    return list(records(file.read_bytes())), file.parent / "files"


def artifacts(entries):
    found = [record.request.log_artifact.artifact for record in entries if record.request.HasField("log_artifact")]
    return found + [record.artifact for record in entries if record.HasField("artifact")]


def test_one_run_under_its_own_id(offline, trained):
    (run,) = (record.run for record in offline[0] if record.HasField("run"))
    assert run.run_id == (trained / "wandb_id").read_text()
    assert (run.project, run.display_name) == ("deeplense", "trained")
    settings = {item.key: json.loads(item.value_json) for item in run.config.update}
    for record in offline[0]:
        settings |= {item.key: json.loads(item.value_json) for item in record.config.update}
    assert (settings["lr"], settings["effective_precision"], settings["world_size"]) == (1e-3, "no", 1)


def test_the_numbers_are_those_of_the_log(offline, trained):
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in history(offline[0]) if "train_loss" in line or "val_loss" in line]
    assert [line["global_step"] for line in logged] == [line["step"] for line in lines]
    for mine, theirs in zip(lines, logged, strict=True):
        assert {name: theirs[name] for name in mine if name != "step"} == {n: v for n, v in mine.items() if n != "step"}


def test_the_test_scores_the_curve_and_the_confusion_are_there(offline, trained):
    scores = json.loads((trained / "summary.json").read_text())["test"]
    (line,) = (line for line in history(offline[0]) if "test/roc_auc" in line)
    for name in ("roc_auc", "roc_auc_low", "roc_auc_high", "accuracy", "average_precision", "log_loss"):
        assert line[f"test/{name}"] == pytest.approx(scores[name])
    tables = {
        path.name.split("_table")[0]: json.loads(path.read_text()) for path in Path(offline[1]).rglob("*.table.json")
    }
    (roc,) = (table for name, table in tables.items() if "roc" in name)
    step, x, y = (roc["columns"].index(name) for name in ("step", "lineKey", "lineVal"))
    points = [(row[step], row[y]) for row in roc["data"]]
    assert {row[x] for row in roc["data"]} == {"sub"}
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(points))
    assert area == pytest.approx(scores["roc_auc"])
    assert any("confusion" in name for name in tables)


def test_figures_and_weights_are_there(offline):
    logged = {name for line in history(offline[0]) for name in line}
    names = (
        "samples",
        "first_batch",
        "curves",
        "roc",
        "precision_recall",
        "confusion",
        "scores",
        "reliability",
        "symmetry",
    )
    assert {f"figures/{name}/path" for name in names} <= logged
    (best,) = (artifact for artifact in artifacts(offline[0]) if artifact.type == "model")
    assert {entry.path for entry in best.manifest.contents} == {
        "model.safetensors",
        "model.json",
        "familiarity.safetensors",
    }


def test_predictions_are_there_with_their_images(offline, trained):
    """All 48 of this small test part. W&B keeps the images of a table in an artifact."""
    (table,) = (artifact for artifact in artifacts(offline[0]) if "predictions" in artifact.name)
    files = {entry.path: Path(entry.local_path) for entry in table.manifest.contents}
    content = json.loads(files["test/predictions.table.json"].read_text())
    assert content["columns"] == ["image", "path", "label", "predicted", "p_no_sub", "p_sub", "familiarity"]
    written = {row["path"]: row for row in csv.DictReader((trained / "evaluation" / "test" / "predictions.csv").open())}
    assert {row[1] for row in content["data"]} == set(written)
    for image, path, label, predicted, *chances in content["data"]:
        assert (label, predicted) == (written[path]["label"], written[path]["predicted"])
        numbers = [float(written[path][name]) for name in ("p_no_sub", "p_sub", "familiarity")]
        assert chances == pytest.approx(numbers, abs=1e-6)
        with Image.open(files[image["path"]]) as picture:
            assert picture.size == (32, 32)


def test_nested_scores_are_there_by_their_path(offline, trained):
    scores = json.loads((trained / "summary.json").read_text())["test"]
    (line,) = (line for line in history(offline[0]) if "test/roc_auc" in line)
    assert line["test/calibration/after/ece"] == scores["calibration"]["after"]["ece"]
    assert line["test/symmetry/class_changes"] == scores["symmetry"]["class_changes"]
    assert line["test/unfamiliar"] == scores["unfamiliar"]
    assert line["test/familiarity/as_a_set_p"] == scores["familiarity"]["as_a_set_p"]


def test_the_table_shows_what_is_most_telling():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 5000)
    chance = random.random(5000)
    chances = np.stack([1 - chance, chance], 1)
    shown = telling_images(labels, chances, (chance >= 0.5).astype(int))
    assert len(set(shown)) == 3 * SHOWN
    own = chances[np.arange(5000), labels]
    assert shown[:SHOWN].tolist() == np.argsort(own)[:SHOWN].tolist()
    assert np.abs(chance[shown[SHOWN : 2 * SHOWN]] - 0.5).max() < 0.02
    right = telling_images(labels[:10], np.eye(2)[labels[:10]], labels[:10])
    assert sorted(right) == list(range(10))


@pytest.mark.parametrize("asked", ["online", "offline", "disabled"])
def test_what_is_asked_for_is_done(asked):
    assert wandb_mode(asked) == asked


def test_auto_asks_nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: not prompt and not verify)
    assert wandb_mode("auto") == "online"
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: False)
    assert wandb_mode("auto") == "offline"


def test_the_log_is_cut_at_the_checkpoint(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write({"step": 1})
    length = log.length()
    log.write({"step": 2})
    again = MetricsLog(tmp_path / "metrics.jsonl", length)
    again.write({"step": 2, "again": True})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1}, {"step": 2, "again": True}]


def session(folder, kept, lines):
    """A session of a run that goes on after `kept` lines of its log, and adds `lines` numbered ones."""
    time.sleep(1)  # W&B names its folders by the second
    length = sum(len(line) for line in (folder / "metrics.jsonl").read_bytes().splitlines(True)[:kept]) if kept else 0
    log = MetricsLog(folder / "metrics.jsonl", length)
    config = TrainConfig(run=RunConfig(name="run"), tracking=TrackingConfig(wandb="offline"))
    tracker = Tracker(Accelerator(cpu=True, log_with="wandb"), config, folder, {})
    for number in range(kept, kept + lines):
        line = {"step": 10 * number, "train_loss": number / 7}
        log.write(line)
        tracker.log_line(line)
    return tracker


def test_sessions_add_up_to_one_run(tmp_path):
    """W&B's files may hold more than the checkpoint knows of, and less: nothing is lost or doubled."""
    session(tmp_path, 0, 6).finish()
    assert entries_of(tmp_path / "wandb") == 6
    session(tmp_path, 4, 3).finish()  # from a checkpoint after four lines
    assert [step for step, *_ in entries(tmp_path)] == list(range(7))
    sorted(tmp_path.glob("wandb/*run-*/*.wandb"))[-1].write_bytes(b"")  # killed before it wrote anything
    last = session(tmp_path, 7, 1)
    last.log({"test/roc_auc": 1.0}, 70)
    last.log({"test/accuracy": 1.0}, 70)
    last.finish()
    assert entries(tmp_path) == [*((n, 10 * n, n / 7) for n in range(8)), (8, 70, None)]
    assert {file.name for file in tmp_path.glob("wandb/*run-*/*.wandb")} == {
        f"run-{(tmp_path / 'wandb_id').read_text()}.wandb"
    }


def test_what_was_cut_off_does_not_count(tmp_path):
    session(tmp_path, 0, 5).finish()
    (file,) = tmp_path.glob("wandb/*run-*/*.wandb")
    content = file.read_bytes()
    counts = []
    for length in range(0, len(content), 97):
        file.write_bytes(content[:length])
        counts.append(entries_of(tmp_path / "wandb"))
    assert counts == sorted(counts)
    assert set(counts) == set(range(6))


def test_the_report_is_given_as_it_is(tmp_path):
    report = tmp_path / "report.html"
    tracker = session(tmp_path, 0, 1)
    tracker.log_report("test", report, 0)  # nobody wrote one
    report.write_text("<!doctype html><title>Lenses</title>")
    tracker.log_report("test", report, 0)
    tracker.finish()
    (given,) = tmp_path.glob("wandb/*run-*/files/media/html/test/*.html")
    assert given.read_bytes() == report.read_bytes()


def test_a_run_outlives_w_and_b(tmp_path, capsys):
    """SLURM's SIGTERM ends W&B's process too, while the run still has its checkpoint to write."""
    tracker = session(tmp_path, 0, 3)
    (process,) = (child for child in psutil.Process().children() if child.name() == "wandb-core")
    process.terminate()
    process.wait(20)
    log = MetricsLog(tmp_path / "metrics.jsonl", (tmp_path / "metrics.jsonl").stat().st_size)
    for number in (3, 4):
        line = {"step": 10 * number, "train_loss": number / 7}
        log.write(line)
        tracker.log_line(line)
    tracker.leave()
    assert capsys.readouterr().err.count("warning: W&B has ended") == 1
    with pytest.raises(TrainingError, match="go on with --resume"):
        tracker.finish()
    session(tmp_path, 5, 1).finish()
    assert entries(tmp_path) == [(n, 10 * n, n / 7) for n in range(6)]
