"""Runs that are killed, cut off and starved, as `pytest -m faults`: each ends with the exact result, or in one line.

Exact means: weights, their average, optimiser, scores, predictions, log and W&B's entries equal those of a run that was
left in peace, to the last bit.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, SMALL
from wandb_runs import entries

from deeplense.training.checkpoint import load_newest, read_checkpoint

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SETTINGS = (
    *SMALL, "--ema-decay", "0.9", "--schedule", "cosine", "--optimizer", "adam", "--epochs", "4",
    "--checkpoint-minutes", "1e-6", "--name", "run",
)  # fmt: skip
"""40 steps, with a checkpoint after each."""


def start(output, lenses, *flags, processes=1, port=29540):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(port))
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else ()), "train.py", *SETTINGS, *flags, "--data", lenses,
         "--output-dir", output],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(process):
    out, errors = process.communicate(timeout=400)
    assert process.returncode == 0, out + errors
    return errors


def failed(process):
    """The one line that a run which cannot go on ends with."""
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 1, out + errors
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    return line


def steps(run):
    return sorted(path for path in (run / "checkpoints").glob("step_*") if not path.name.endswith(".replaced"))


def wait_until(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)


def log_of(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def assert_same(run, other):
    assert log_of(run) == log_of(other)
    for name in ("best/model.safetensors", "evaluation/test/predictions.csv", "split.csv"):
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    ours, theirs = steps(run)[-1], steps(other)[-1]
    for name in ("model.safetensors", "average.safetensors", "optimizer.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory, lenses):
    """The run that was left in peace."""
    output = tmp_path_factory.mktemp("peaceful")
    finished(start(output, lenses, "--wandb", "offline"))
    return output / "run"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, lenses):
    """A run that was asked to stop in its second epoch, with several checkpoints."""
    output = tmp_path_factory.mktemp("stopped")
    process = start(output, lenses, "--keep-checkpoints", "4")
    wait_until(lambda: steps(output / "run")[-1:] > [output / "run" / "checkpoints" / "step_00000013"], process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    return output / "run"


@pytest.fixture
def small_disk(tmp_path):
    """Makes a file system of a size in MiB, which can be changed."""
    if os.geteuid():
        pytest.skip("mounting a tmpfs takes root")
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        verb = [] if not os.path.ismount(folder) else ["remount,"]
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "".join(verb) + options, "tmpfs", folder], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True)


def test_killed_at_any_moment(tmp_path, lenses, peaceful):
    """SIGKILL, 21 times: during the start, while a checkpoint is being written, and at random between."""
    moments = random.Random(0)
    run = tmp_path / "run"
    while_writing = 0
    for number in range(21):
        process = start(tmp_path, lenses, "--wandb", "offline", "--resume")
        before = steps(run)[-1:]
        if number % 3 == 0:
            time.sleep(moments.uniform(0.5, 6))
        elif number % 3 == 1:
            wait_until(lambda: list((run / "checkpoints").glob(".step_*.partial/model.safetensors")), process)
            while_writing += 1
        else:
            wait_until(lambda before=before: steps(run)[-1:] > before, process)
            time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.communicate(timeout=60)
        if steps(run):
            assert load_newest(run / "checkpoints") is not None
    assert not (run / "summary.json").exists()
    assert while_writing == 7
    finished(start(tmp_path, lenses, "--wandb", "offline", "--resume"))
    assert_same(run, peaceful)
    assert entries(run) == entries(peaceful)


def test_a_full_disk(small_disk, lenses, peaceful):
    disk = small_disk("size=500m")  # best, and two checkpoints of 180 MB, but no third beside them
    line = failed(start(disk, lenses))
    assert "cannot be written (No space left on device)" in line
    assert "make room and go on with --resume" in line
    assert read_checkpoint(steps(disk / "run")[-1]).state["step"] > 0
    small_disk("size=2g")
    finished(start(disk, lenses, "--resume"))
    assert_same(disk / "run", peaceful)


def test_a_disk_that_must_not_be_written_to(small_disk, lenses, stopped):
    disk = small_disk("size=2g")
    run = Path(shutil.copytree(stopped, disk / "run"))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    small_disk("ro")
    assert "cannot be written (Read-only file system)" in failed(start(disk, lenses, "--resume"))
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_damaged_checkpoints(tmp_path, lenses, stopped, peaceful):
    """The newest cut short, the one before with a flipped bit, the one before that without a file."""
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    *_, missing, flipped, short = steps(run)
    content = bytearray((flipped / "average.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (flipped / "average.safetensors").write_bytes(content)
    os.truncate(short / "optimizer.safetensors", 1000)
    (missing / "model.safetensors").unlink()
    errors = finished(start(tmp_path, lenses, "--resume"))
    warnings = [line for line in errors.splitlines() if line.startswith("warning: checkpoint ")]
    for line, checkpoint in zip(warnings, (short, flipped, missing), strict=True):
        assert str(checkpoint) in line
    assert_same(run, peaceful)


def test_one_process_of_two_is_killed(tmp_path, lenses):
    whole = start(tmp_path / "whole", lenses, processes=2)
    finished(whole)
    process = start(tmp_path / "cut", lenses, processes=2, port=29541)
    run = tmp_path / "cut" / "run"
    wait_until(lambda: len(steps(run)) and steps(run)[-1].name > "step_00000012", process)
    (second,) = [child for child in psutil.Process(process.pid).children() if child.environ().get("RANK") == "1"]
    second.kill()
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "error: process 0 has lost another one of the run" in errors
    assert load_newest(run / "checkpoints") is not None
    finished(start(tmp_path / "cut", lenses, "--resume", processes=2, port=29542))
    assert_same(run, tmp_path / "whole" / "run")
