import dataclasses
import json
import math
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import ROOT, SMALL, train
from safetensors.torch import load_file

from deeplense.classification.task import Classification
from deeplense.config import AugmentConfig, DataConfig, OptimizationConfig, RunConfig, TrainConfig
from deeplense.data.batches import PixelStore, TrainBatches, plain_batches
from deeplense.data.images import load_images
from deeplense.errors import TrainingError
from deeplense.machine.precision import cpu_has_bf16
from deeplense.network.model import build_model
from deeplense.training import learner
from deeplense.training import loop as training
from deeplense.training.average import follow
from deeplense.training.checkpoint import load_newest
from deeplense.training.loop import Trainer
from deeplense.training.optimization import make_optimizer
from deeplense.training.stopping import StopRequest

BF16 = pytest.mark.skipif(not cpu_has_bf16(), reason="bf16 is emulated on this CPU: minutes instead of seconds")


class Silent:
    def log_line(self, *_):
        pass


class Lines(list):
    def write(self, line):
        self.append(line)

    def length(self):
        return 0


@pytest.fixture
def trainer(lenses, tmp_path):
    """Makes trainers of the easy images, in this process."""

    def make(mixed_precision="no", parts=1, **settings):
        torch.manual_seed(0)
        config = TrainConfig(
            data=DataConfig(image_size=32),
            optimization=OptimizationConfig(
                **{"lr": 1e-3, "batch_size": 16, "epochs": 2, "grad_accum": parts, **settings}
            ),
        )
        images = load_images(str(lenses))
        store = PixelStore(images, config.data, torch.device("cpu"))
        task = Classification(config, images.classes)
        targets = task.targets(images, torch.device("cpu"))
        batches = TrainBatches(store, targets, np.arange(0, 240, 2), AugmentConfig(), 16, parts, 0)
        accelerator = Accelerator(mixed_precision=mixed_precision, cpu=True)
        own = Trainer(config, accelerator, task, task.network(), store, batches, images, np.arange(1, 240, 6), tmp_path)
        own.lines = Lines()
        return own

    return make


def fit(own):
    own.fit(own.lines, Silent(), StopRequest())
    return own


def weights(own):
    return torch.cat([value.flatten().float() for value in own.learner.plain.state_dict().values()])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_each_optimiser_learns(trainer, optimizer):
    own = fit(trainer(optimizer=optimizer, epochs=2, lr=1e-2 if optimizer == "sgd" else 1e-3))
    losses = [line["train_loss"] for line in own.lines if "train_loss" in line]
    assert losses[-1] < losses[0]


def test_a_step_is_that_of_a_plain_loop(trainer):
    """One epoch in float32 against the loop as anybody would write it, to the last bit."""
    own = trainer(epochs=1, weight_decay=0.01, optimizer="adamw")
    torch.manual_seed(0)
    twin = build_model(2, 1)
    optimizer = make_optimizer(own.config.optimization, twin)
    twin.train()
    for images, labels in own.batches.epoch(0):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(twin(images)[:, 0], labels.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fit(own)
    expected = torch.cat([value.flatten().float() for value in twin.state_dict().values()])
    torch.testing.assert_close(weights(own), expected, atol=1e-6, rtol=1e-5)


def test_accumulation_gives_the_gradient_of_the_whole_batch(trainer, monkeypatch):
    """With batch norm out of the way, which sees the parts only."""
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, x: x * 0.5)
    whole, parts = (
        fit(trainer(epochs=1, optimizer="sgd", lr=1e-3)),
        fit(trainer(epochs=1, optimizer="sgd", lr=1e-3, parts=4)),
    )
    torch.testing.assert_close(weights(whole), weights(parts), atol=1e-5, rtol=1e-4)
    assert whole.position.step == parts.position.step == 7


@pytest.mark.slow
def test_a_trace_of_some_steps_changes_nothing(trainer, tmp_path):
    plain = weights(fit(trainer()))
    own = trainer()
    own.config = dataclasses.replace(own.config, run=RunConfig(profile=3))
    traced = weights(fit(own))
    assert torch.equal(plain, traced)
    (file,) = (tmp_path / "profile").iterdir()
    assert file.name.startswith("process0.")
    assert file.name.endswith(".pt.trace.json")  # what TensorBoard looks for
    events = json.loads(file.read_text())["traceEvents"]
    steps = {event["name"] for event in events if event["name"].startswith("ProfilerStep#")}
    assert len(steps) == 3
    assert any("convolution_backward" in event["name"] for event in events)


def test_clipping_bounds_the_step(trainer):
    before = trainer(epochs=1)
    start = weights(before).clone()
    free = (weights(fit(trainer(epochs=1, optimizer="sgd", lr=0.1))) - start).norm()
    clipped = (weights(fit(trainer(epochs=1, optimizer="sgd", lr=0.1, clip_norm=1e-4))) - start).norm()
    assert clipped < free / 10


def test_the_labels_trained_on_are_smoothed(trainer):
    """Of all the label nothing is left but a half, so that a network which is sure of it must lose."""
    losses = {}
    for smoothing in (0.0, 0.999):
        own = trainer(epochs=1, lr=1e-9, label_smoothing=smoothing)
        torch.nn.init.constant_(own.learner.plain.fc.bias, -20)
        losses[smoothing] = next(line["train_loss"] for line in fit(own).lines if "train_loss" in line)
    assert losses[0.999] == pytest.approx(10, abs=0.2)  # -log of half a chance to be right: 20 / 2
    assert abs(losses[0.0] - losses[0.999]) > 0.5  # the classes are not halved in these batches


def test_the_average_is_what_is_scored_and_kept(trainer, tmp_path, monkeypatch):
    own = trainer(epochs=1, ema_decay=0.9)
    shadow = [parameter.detach().clone() for parameter in own.learner.plain.parameters()]

    def watch(average, network, decay, counts):
        follow(average, network, decay, counts)
        for mean, now in zip(shadow, network.parameters(), strict=True):
            mean.lerp_(now.detach(), 1 - decay)

    monkeypatch.setattr(learner, "follow", watch)
    fit(own)
    for mean, average in zip(shadow, own.learner.average.parameters(), strict=True):
        torch.testing.assert_close(mean, average.detach(), atol=1e-6, rtol=1e-5)
    kept = load_file(tmp_path / "best" / "model.safetensors")
    torch.testing.assert_close(kept["fc.weight"], own.learner.average.fc.weight.detach())
    assert not torch.equal(kept["fc.weight"], own.learner.plain.fc.weight)


def spoil(monkeypatch, when):
    """Make the loss NaN in the steps for which `when(number)`."""
    original, count = Classification.loss, iter(range(10**6))
    monkeypatch.setattr(
        Classification, "loss", lambda *arguments: original(*arguments) * (math.nan if when(next(count)) else 1)
    )


@pytest.mark.faults
@pytest.mark.parametrize("precision", ["no", pytest.param("bf16", marks=BF16)])
@pytest.mark.parametrize(("optimizer", "bad"), [("adam", 3), ("sgd", 0)])
def test_one_loss_that_is_no_number_is_passed_over(trainer, monkeypatch, precision, optimizer, bad):
    spoil(monkeypatch, lambda step: step == bad)
    own = fit(trainer(precision, epochs=1, optimizer=optimizer))
    assert torch.isfinite(weights(own)).all()
    assert all(math.isfinite(line["train_loss"]) for line in own.lines if "train_loss" in line)
    assert own.position.step == 7


@pytest.mark.faults
def test_a_loss_that_stays_no_number_stops_the_run(trainer, monkeypatch):
    monkeypatch.setattr(training, "NOT_FINITE_STEPS", 5)
    spoil(monkeypatch, lambda step: step >= 3)
    own = trainer(epochs=3)
    with pytest.raises(TrainingError, match=r"the loss has not been finite for \d+ steps, at step \d+: lower --lr"):
        fit(own)
    assert torch.isfinite(weights(own)).all()


@BF16
def test_validation_sees_the_images_that_evaluation_sees(trainer, monkeypatch):
    """Not resampled in 16 bits, which distorts them."""
    own = trainer("bf16", epochs=1)
    seen = []
    own.learner.plain.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    own._check_in = lambda *_: None
    own._validate()
    expected = torch.cat(list(plain_batches(own.store, own.val_indices, 512)))
    assert torch.equal(torch.cat(seen), expected)


def test_patience_ends_the_run(trainer, monkeypatch):
    scores = iter([0.6, 0.8, 0.7, 0.8, 0.75, 0.9])
    monkeypatch.setattr(
        Classification,
        "scores",
        lambda *_: {"roc_auc": next(scores), "accuracy": 0.5, "average_precision": 0.5, "loss": 1.0},
    )
    own = fit(trainer(epochs=6, patience=3))
    assert (own.position.epoch, own.position.best_epoch, own.position.best_scores["roc_auc"]) == (5, 2, 0.8)


def test_among_equal_areas_the_lower_loss_is_kept(trainer, monkeypatch):
    losses = iter([0.5, 0.3, 0.4])
    monkeypatch.setattr(
        Classification,
        "scores",
        lambda *_: {"roc_auc": 1.0, "accuracy": 0.5, "average_precision": 0.5, "loss": next(losses)},
    )
    own = fit(trainer(epochs=3))
    assert own.position.best_epoch == 2


def test_nothing_in_a_step_waits_for_the_device(trainer, monkeypatch):
    """`.item()`, `.tolist()` and their like are asked for at the logging cadence only."""
    own = trainer(epochs=1)
    own.log_every = 7
    waits = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def watched(self, *arguments, original=original, name=name, **options):
            inside = sys._getframe(1)
            while inside is not None and inside.f_code.co_name not in (
                "train_epoch",
                "_collect",
                "save",
                "_end_epoch",
            ):
                inside = inside.f_back
            if inside is not None and inside.f_code.co_name == "train_epoch":
                waits.append(name)
            return original(self, *arguments, **options)

        monkeypatch.setattr(torch.Tensor, name, watched)
    fit(own)
    assert not waits


def start(output, lenses, *flags):
    return subprocess.Popen(
        [sys.executable, "train.py", *SMALL, *flags, "--data", lenses, "--output-dir", output, "--name", "run"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def log_of(run):
    """The lines of the log without what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


LONGER = ("--ema-decay", "0.9", "--schedule", "cosine", "--epochs", "3")


def stop_in_the_middle(output, lenses, number):
    """A run that was sent a signal between its second and its last line."""
    process = start(output, lenses, *LONGER)
    run = output / "run"
    while not (run / "metrics.jsonl").exists() or len(log_of(run)) < 2:
        time.sleep(0.01)
        assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75
    assert re.fullmatch(
        r"error: stopped on request at step \d+: go on with --name run --resume", errors.strip().splitlines()[-1]
    )
    return run


@pytest.mark.parametrize("number", [signal.SIGUSR1, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signals_leave_a_checkpoint(lenses, tmp_path, number):
    run = stop_in_the_middle(tmp_path, lenses, number)
    checkpoint = load_newest(run / "checkpoints")
    assert checkpoint.state["log_bytes"] == (run / "metrics.jsonl").stat().st_size
    assert checkpoint.state["step"] >= log_of(run)[-1]["step"]


@pytest.mark.slow  # `test_seam.py` has the same of two processes
def test_stopped_and_resumed_is_never_stopped(lenses, tmp_path):
    """Bit for bit, with an average and in the middle of an epoch, on a CPU."""
    whole = start(tmp_path / "whole", lenses, *LONGER)
    assert whole.wait(240) == 0, whole.stderr.read()
    run = stop_in_the_middle(tmp_path / "cut", lenses, signal.SIGTERM)
    resumed = start(tmp_path / "cut", lenses, *LONGER, "--resume")
    assert resumed.wait(240) == 0, resumed.stderr.read()
    other = tmp_path / "whole" / "run"
    assert log_of(run) == log_of(other)
    for name in ("best/model.safetensors", "evaluation/test/predictions.csv", "split.csv"):
        assert (run / name).read_bytes() == (other / name).read_bytes()
    last = [sorted((folder / "checkpoints").iterdir())[-1] for folder in (run, other)]
    for name in ("model.safetensors", "average.safetensors", "optimizer.safetensors"):
        assert (last[0] / name).read_bytes() == (last[1] / name).read_bytes()
    record = json.loads((run / "record.json").read_text())
    assert [session["outcome"].split(":")[0] for session in record["sessions"]] == ["Stopped", "done"]


def test_two_processes_train_as_one(lenses, tmp_path):
    flags = ("--data", lenses, "--output-dir", tmp_path, *SMALL, "--epochs", "1", "--optimizer", "sgd",
             "--sync-batchnorm", "--lr", "1e-5")  # fmt: skip
    train(*flags, "--name", "one")
    both = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29511", "train.py",
         *map(str, flags), "--name", "two"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("ROC AUC") == 2  # one validation, one test: the second process is silent
    assert "2 process(es)" in both.stdout
    one, two = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("one", "two"))
    assert one["test"]["n"] == two["test"]["n"] == 48
    losses = [
        [line["train_loss"] for line in log_of(tmp_path / name) if "train_loss" in line] for name in ("one", "two")
    ]
    # A small rate: else rounding, which turns some ReLUs over, soon grows to whole per cents.
    assert losses[0] == pytest.approx(losses[1], rel=5e-3)
    refused = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29512", "train.py",
         *map(str, flags), "--name", "odd", "--batch-size", "15"],
        cwd=ROOT, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert refused.returncode != 0
    assert refused.stderr.count("error: --batch-size 15 is the global batch, and 2 processes") == 1
    assert not (tmp_path / "odd").exists()
