"""What Weights & Biases is given, read back from a real offline run."""

import json
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from deeplense.tracking import MetricsLog, wandb_mode


@pytest.fixture(scope="module")
def offline(trained):
    """All records of the run's only offline folder, and the folder of its files."""
    (file,) = trained.glob("wandb/offline-run-*/*.wandb")
    return [Record.FromString(data) for data in stored(file.read_bytes())], file.parent / "files"


def stored(content: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format in blocks of 32 KiB, after a header of 7 bytes."""
    assert content[:4] == b":W&B"
    place, parts = 7, []
    while place < len(content):
        left = 32768 - place % 32768
        if left < 7:  # too little for another header: filled with zeros
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts.append(content[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def history(records):
    """One dictionary for each logged line."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]


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
    names = ("samples", "first_batch", "curves", "roc", "precision_recall", "confusion", "scores")
    assert {f"figures/{name}/path" for name in names} <= logged
    artifacts = [
        record.request.log_artifact.artifact for record in offline[0] if record.request.HasField("log_artifact")
    ]
    artifacts += [record.artifact for record in offline[0] if record.HasField("artifact")]
    (best,) = (artifact for artifact in artifacts if artifact.type == "model")
    assert {entry.path for entry in best.manifest.contents} == {"model.safetensors", "model.json"}


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
