"""A step that is captured, or compiled, does what it does when it is run as it is."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from half import half_precision
from recorded import Recorded
from test_overflow import Small, differing, everything, in_a_gradient, in_an_activation
from torch._dynamo.testing import CompileCounterWithBackend

from deeplense.config import AugmentConfig, ComputeConfig, DataConfig, OptimizationConfig, SimulationConfig, TrainConfig
from deeplense.data.batches import PixelStore, TrainBatches
from deeplense.data.images import load_images
from deeplense.data.imageset import ImageSet
from deeplense.data.mixed import Mixed
from deeplense.data.split import Split
from deeplense.localisation import task as localisation
from deeplense.localisation.truth import TrueSubhalos
from deeplense.machine import compiling, remarks
from deeplense.tasks import make_task
from deeplense.training import capture, learner, session
from deeplense.training.checkpoint import Checkpoint, load_newest
from deeplense.training.learner import Learner
from deeplense.training.loop import Trainer
from deeplense.training.pace import EAGERLY, Way

CAPTURED, COMPILED = Way(captured=True), Way(compiled=True)


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    """All graphs that were made."""
    made = []
    monkeypatch.setattr(learner, "CudaGraph", lambda: made.append(Recorded()) or made[-1])
    monkeypatch.setattr(remarks, "_made", [])
    return made


def trainer_of(lenses, folder, way=EAGERLY, accelerator=None, kind=Small, data=None, **settings):
    torch.manual_seed(0)
    optimization = OptimizationConfig(**{"lr": 1e-3, "batch_size": 16, "epochs": 2, "warmup_epochs": 1.0, **settings})
    config = TrainConfig(data=DataConfig(image_size=32, **(data or {})), optimization=optimization)
    images, device = load_images(str(lenses)), torch.device("cpu")
    store, task = PixelStore(images, config.data, device), kind(config, images.classes)
    parts = optimization.grad_accum
    batches = TrainBatches(store, task.targets(images, device), np.arange(0, 240, 2), AugmentConfig(), 16, parts, 0)
    accelerator, network = accelerator or Accelerator(cpu=True), task.network()
    return Trainer(config, accelerator, task, network, store, batches, images, np.arange(1, 240, 6), folder, way)


WAYS = {
    "adam": {},
    "adamw, clipped, averaged, in parts": {
        "optimizer": "adamw", "clip_norm": 1.0, "ema_decay": 0.9, "grad_accum": 2, "weight_decay": 0.1,
    },
    "sgd, averaged": {"optimizer": "sgd", "ema_decay": 0.9, "label_smoothing": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", ["fp16", "no"])
def test_captured_is_eager(lenses, tmp_path, graphs, way, precision):
    """Bit for bit, over epochs in which the rate moves, the scale falls and steps are left out."""
    owns = []
    for how in (EAGERLY, CAPTURED):
        accelerator = half_precision(scale=2.0**30) if precision == "fp16" else None
        owns.append(own := trainer_of(lenses, tmp_path, how, accelerator, **WAYS[way]))
        for _ in range(2):
            own.train_epoch()
            own._validate()  # in between, as a run does
            own.position.epoch, own.position.batch = own.position.epoch + 1, 0
    (graph,) = graphs
    assert graph.replays == 2 * 7 - capture.WARM_UP - 1  # the first one was the capture's own
    assert not differing(everything(owns[0].learner), everything(owns[1].learner))
    assert owns[0].learner.gathered_sums() == owns[1].learner.gathered_sums()
    if precision == "fp16":
        states = [own.accelerator.scaler.state_dict() for own in owns]
        assert states[0] == states[1]
        assert states[0]["scale"] < 2.0**30


def test_captured_from_pixels_on_the_host(lenses, tmp_path, graphs):
    owns = [trainer_of(lenses, tmp_path, how, data={"placement": "host"}) for how in (EAGERLY, CAPTURED)]
    for own in owns:
        own.train_epoch()
    assert graphs[0].replays == 7 - capture.WARM_UP - 1
    assert not differing(everything(owns[0].learner), everything(owns[1].learner))


def test_a_captured_step_that_does_not_count_changes_nothing(lenses, tmp_path, graphs):
    """The overflow comes with the images, whose values no graph knows."""
    own = trainer_of(lenses, tmp_path, CAPTURED, half_precision(), ema_decay=0.9).learner
    own.network.train()
    own._seen = lambda images, targets: (images, targets)
    items = ((torch.randn(16, 1, 32, 32), torch.arange(16) % 2) for _ in itertools.count())
    for _ in range(6):
        own.step(items, 1e-3)
    before, scale = everything(own), own.accelerator.scaler.get_scale()
    images, labels = next(items)
    images[3, 0, 4, 5] = math.inf
    own.step(iter([(images, labels)]), 1e-3)
    assert graphs[0].replays == 3
    assert not differing(before, everything(own))
    assert own.accelerator.scaler.get_scale() == scale / 2
    assert own.collect()[1] == 1
    own.step(items, 1e-3)
    assert differing(before, everything(own))
    assert own.collect()[1] == 0


def test_resumed_is_never_stopped(lenses, tmp_path, graphs, monkeypatch):
    """Stopped among captured steps, and captured anew."""
    whole = trainer_of(lenses, tmp_path, CAPTURED, half_precision(scale=2.0**30), ema_decay=0.9)
    whole.train_epoch()
    cut = trainer_of(lenses, tmp_path, CAPTURED, half_precision(scale=2.0**30), ema_decay=0.9)
    monkeypatch.setattr(cut, "_check_in", lambda at_cadence: stop(cut))
    with pytest.raises(StopIteration):
        cut.train_epoch()
    assert graphs[-1].replays == 0
    resumed = trainer_of(lenses, tmp_path, CAPTURED, half_precision(scale=1.0), ema_decay=0.9)
    resumed.resume(load_newest(cut.folder / "checkpoints"))
    resumed.train_epoch()
    assert resumed.position.step == whole.position.step == 7
    assert not differing(everything(whole.learner), everything(resumed.learner))
    assert whole.learner.gathered_sums() == resumed.learner.gathered_sums()


def stop(own):
    if own.position.step == capture.WARM_UP + 1:
        own.save()
        raise StopIteration


class Asks(Small):
    """Looks at its loss."""

    def loss(self, outputs, targets):
        loss = super().loss(outputs, targets)
        return loss * 2 if loss.item() > 1e6 else loss


def test_a_task_that_waits_is_not_captured(lenses, tmp_path, graphs, capsys):
    """It is noticed before the capture, which would leave a GPU's memory in a bad state if it failed."""
    plain, own = (trainer_of(lenses, tmp_path, how, kind=Asks) for how in (EAGERLY, CAPTURED))
    for one in (plain, own):
        one.train_epoch()
    assert not graphs[0].calls
    line = "the step is not captured, training is slower: something in it waits for the device"
    assert capsys.readouterr().err == f"warning: {line}\n"
    assert remarks._made == [line]
    assert not differing(everything(plain.learner), everything(own.learner))


class AsksLater(Small):
    """What nobody has seen in the steps before."""

    calls = 0

    def loss(self, outputs, targets):
        self.calls += 1
        loss = super().loss(outputs, targets)
        return loss + 0 * loss.item() if self.calls > capture.WARM_UP else loss


def test_a_capture_that_fails_is_done_without(lenses, tmp_path, capsys):
    """And the step that it was tried with counts once."""
    plain, own = (trainer_of(lenses, tmp_path, how, half_precision(), AsksLater) for how in (EAGERLY, CAPTURED))
    for one in (plain, own):
        one.train_epoch()
    assert capsys.readouterr().err.count("\n") == 1
    assert remarks._made == [
        "the step is not captured, training is slower: operation not permitted when stream is capturing"
    ]
    assert not differing(everything(plain.learner), everything(own.learner))
    assert plain.accelerator.scaler.state_dict() == own.accelerator.scaler.state_dict()
