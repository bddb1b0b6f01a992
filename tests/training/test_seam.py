"""A task that the program has never heard of goes through the whole of it: the loop names none."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, SMALL
from wandb_runs import history

import evaluate
from deeplense.config import EvaluateConfig
from deeplense.tracking.wandb_files import records

HERE = Path(__file__).parent
FLAGS = (
    *SMALL, "--task", "ring-radius", "--data", "one_subhalo", "--count", "160", "--wandb", "offline",
    "--checkpoint-minutes", "1e-6", "--ema-decay", "0.9",
)  # fmt: skip


def start(output, port, *flags):
    """Two processes of the task's script."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port),
         str(HERE / "ring_radius.py"), "debug", *FLAGS, *flags, "--output-dir", str(output), "--name", "run"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ended(process):
    said, _ = process.communicate(timeout=400)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run twice: left in peace, and killed in the middle of an epoch and gone on with."""
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    said = ended(start(whole, 29521))
    assert re.search(r"epoch 1: validation loss [\d.]+, mean absolute error [\d.]+ arcsec \*", said)
    killed = start(cut, 29522)
    while not list(cut.glob("run/checkpoints/step_0000000[3-9]")):
        assert killed.poll() is None, killed.stdout.read()
        time.sleep(0.01)
    for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
        process.kill()
    killed.communicate()
    assert not (cut / "run" / "summary.json").exists()
    ended(start(cut, 29523, "--resume"))
    return whole / "run", cut / "run"


def test_two_processes_killed_and_resumed_end_in_the_same_bits(runs):
    whole, cut = runs
    assert (whole / "best/model.safetensors").read_bytes() == (cut / "best/model.safetensors").read_bytes()
    last = [sorted((run / "checkpoints").iterdir())[-1] for run in runs]
    for name in ("model.safetensors", "average.safetensors", "optimizer.safetensors"):
        assert (last[0] / name).read_bytes() == (last[1] / name).read_bytes()
    assert len(json.loads((cut / "record.json").read_text())["sessions"]) == 2


def test_its_scores_are_in_the_log_in_wandb_and_in_the_summary(runs):
    for run in runs:
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        errors = [line["val_mae"] for line in lines if "val_mae" in line]
        assert len(errors) == 2
        files = sorted(run.glob("wandb/*run-*/*.wandb"))
        logged = [line for file in files for line in history(records(file.read_bytes()))]
        assert [line["val_mae"] for line in logged if "val_mae" in line] == errors
        summary = json.loads((run / "summary.json").read_text())
        assert summary["val_mae"] == min(errors)
        assert [line["test/mae"] for line in logged if "test/mae" in line] == [summary["test"]["mae"]]


def test_it_is_evaluated_by_the_same_command(runs, monkeypatch, capsys):
    import ring_radius  # noqa: F401 - tells the program of the task

    evaluate.main(EvaluateConfig(runs=(runs[0],), split="val"))
    assert "mean absolute error" in capsys.readouterr().out
    about = json.loads((runs[0] / "evaluation" / "val" / "metrics.json").read_text())
    assert (about["split"], about["n"]) == ("val", 16)
    again = json.loads((runs[0] / "summary.json").read_text())
    assert about["mae"] == pytest.approx(again["val_mae"], rel=1e-3)
