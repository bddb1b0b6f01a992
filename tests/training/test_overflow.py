"""A step that does not count changes nothing, whatever overflows, in fp16 with its scaler as in float32."""

import dataclasses
import itertools
import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from half import half_precision
from torch.overrides import TorchFunctionMode

from deeplense.classification.task import Classification
from deeplense.config import AugmentConfig, DataConfig, OptimizationConfig, TrainConfig
from deeplense.data.batches import PixelStore, TrainBatches
from deeplense.data.images import load_images
from deeplense.errors import InputError, TrainingError
from deeplense.training.checkpoint import Damaged, load_newest, read_checkpoint, save_checkpoint
from deeplense.training.learner import Learner
from deeplense.training.loop import Trainer


class Small(Classification):
    """With a network of two layers: most CPUs only emulate 16 bits, and a step of a ResNet-18 takes seconds there."""

    def network(self):
        return torch.nn.Sequential(
            OrderedDict(
                conv1=torch.nn.Conv2d(1, 8, 3, padding=1, bias=False),
                bn1=torch.nn.BatchNorm2d(8),
                relu=torch.nn.ReLU(),
                conv2=torch.nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
                bn2=torch.nn.BatchNorm2d(16),
                pool=torch.nn.AdaptiveAvgPool2d(1),
                flat=torch.nn.Flatten(),
                fc=torch.nn.Linear(16, 1),
            )
        )


def learner(accelerator, kind=Small, **settings):
    """A network, and an endless supply of images."""
    torch.manual_seed(0)
    optimization = OptimizationConfig(**{"lr": 1e-3, "batch_size": 8, **settings})
    task = kind(TrainConfig(optimization=optimization), ("no_sub", "sub"))
    own = Learner(task.config, accelerator, task, task.network())
    items = ((torch.randn(4, 1, 32, 32), torch.arange(4) % 2) for _ in itertools.count())
    own.network.train()
    return own, items


def everything(own):
    """All that a step may change but fp16's scale, by name."""
    model, optimizer, average = own.tensors()
    found = {f"model.{name}": value for name, value in model.items()}
    found |= {f"optimizer.{name}": value for name, value in optimizer.items()}
    found |= {f"average.{name}": value for name, value in (average or {}).items()}
    return {name: value.clone() for name, value in found.items()}


def differing(before, after):
    """Names of what is not the same to the bit. Adam has no moments before its first step."""
    assert before.keys() <= after.keys()
    return [name for name, value in before.items() if not torch.equal(value, after[name])]


def in_a_gradient(own, value):
    """One entry of one gradient."""

    def spoil(gradient):
        gradient = gradient.clone()
        gradient[3, 2, 1, 1] = value
        return gradient

    deeper = [layer for layer in own.plain.modules() if isinstance(layer, torch.nn.Conv2d)][1]
    return deeper.weight.register_hook(spoil).remove


def in_an_activation(own, value):
    """One number of one image, in the last of the parts of a step only."""
    calls, parts = itertools.count(1), own.config.grad_accum

    def spoil(module, inputs, output):
        if next(calls) == parts:
            output = output.clone()
            output[1, 2, 3, 3] = value
        return output

    return own.plain.conv1.register_forward_hook(spoil).remove


def in_the_loss(own, value):
    """A loss that is no number though its gradient is finite: of a logit that is infinite, say."""
    task, original = own.task, own.task.loss
    task.loss = lambda outputs, targets: original(outputs, targets) + value
    return lambda: setattr(task, "loss", original)


WAYS = {
    "adam": {"optimizer": "adam"},
    "adamw, clipped, averaged, in parts": {
        "optimizer": "adamw", "clip_norm": 1.0, "ema_decay": 0.9, "grad_accum": 2, "weight_decay": 0.1,
    },
    "sgd, averaged": {"optimizer": "sgd", "ema_decay": 0.9},
    "sgd, clipped": {"optimizer": "sgd", "clip_norm": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("precision", ["fp16", "no"])
def test_a_step_that_does_not_count_changes_nothing(way, precision):
    spoil_steps(way, precision, Small)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nor_does_it_in_the_network_that_is_trained(way):
    spoil_steps(way, "fp16", Classification)


def spoil_steps(way, precision, kind):
    accelerator = half_precision(growth_interval=100) if precision == "fp16" else Accelerator(cpu=True)
    own, items = learner(accelerator, kind, **WAYS[way])
    own.step(items, 1e-3)
    assert own.collect()[1] == 0
    spoils = itertools.product((in_a_gradient, in_an_activation, in_the_loss), (math.inf, math.nan))
    for skipped, (place, value) in enumerate(spoils, 1):
        before = everything(own)
        mend = place(own, value)
        own.step(items, 1e-3)
        mend()
        assert not differing(before, everything(own)), (place.__name__, value)
        assert own.collect()[1] == skipped
        if precision == "fp16":
            assert accelerator.scaler.get_scale() == 2.0 ** (10 - skipped)
    before = everything(own)
    own.step(items, 1e-3)
    after = everything(own)
    assert all(value.isfinite().all() for value in after.values())
    moved = set(differing(before, after))
    names = {"model.conv1.weight", "model.bn1.running_var", "model.bn1.num_batches_tracked"}
    names |= (
        {"optimizer.0.momentum_buffer"}
        if own.config.optimizer == "sgd"
        else {"optimizer.0.exp_avg_sq", "optimizer.0.step"}
    )
    if own.average is not None:
        names |= {"average.conv1.weight", "average.bn1.running_var"}
    assert names <= moved
    loss, since = own.collect()
    assert since == 0
    assert math.isfinite(loss)


def test_the_very_first_step_may_be_left_out():
    """Momentum that fused SGD has never seen a gradient for."""
    own, items = learner(half_precision(), optimizer="sgd")
    before = everything(own)
    mend = in_a_gradient(own, math.inf)
    own.step(items, 1e-3)
    mend()
    assert not differing(before, everything(own))
    own.step(items, 1e-3)
    assert all(value.isfinite().all() for value in everything(own).values())
    assert torch.equal(own.optimizer.state[own.plain.fc.bias]["momentum_buffer"].isfinite(), torch.tensor([True]))


@pytest.mark.parametrize("way", ["adam", "sgd, clipped"])
def test_a_scale_that_is_too_large_finds_its_place(way):
    """Overflow that comes by itself: the scale halves until gradients fit into 16 bits, and grows again later."""
    own, items = learner(half_precision(scale=2.0**30), **WAYS[way])
    before, scales = everything(own), []
    for _ in range(30):
        own.step(items, 1e-3)
        scales.append(own.accelerator.scaler.get_scale())
        if scales[-1] == 2.0 ** (30 - len(scales)):
            assert not differing(before, everything(own))
            loss, since = own.collect()
            assert since == len(scales)
            assert 0.1 < loss < 2  # the network's own: what the scale makes of its gradient is not its fault
    assert min(scales) < 2.0**29
    assert scales[-1] > min(scales) or scales[-1] == scales[-2]
    assert differing(before, everything(own))
    assert all(value.isfinite().all() for value in everything(own).values())


def test_statistics_that_overflow_in_a_step_that_counts_are_not_kept():
    """In float32 a variance may be infinite though loss and gradient are finite, since it is divided by."""
    own, items = learner(Accelerator(cpu=True))
    before = everything(own)
    with torch.no_grad():
        own.plain.conv1.weight[5] *= 1e30
    own.step(items, 1e-3)
    assert own.collect()[1] == 0
    after = everything(own)
    assert all(value.isfinite().all() for value in after.values())
    assert after["model.bn1.running_var"][5] == before["model.bn1.running_var"][5]
    assert after["model.bn1.running_var"][6] != before["model.bn1.running_var"][6]


class Waits(TorchFunctionMode):
    """Whoever asks a tensor for its value is noted."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_function__(self, function, types, arguments=(), options=None):
        name = getattr(function, "__name__", "")
        if name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
            self.asked.append(name)
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("way", WAYS)
def test_nobody_asks_the_device_whether_a_step_counts(way):
    own, items = learner(half_precision(), **WAYS[way])
    own.step(items, 1e-3)
    with Waits() as waits:
        own.step(items, 1e-3)
    assert not waits.asked
    with waits:
        own.collect()
    assert waits.asked == ["tolist"]


@pytest.fixture
def trainer(lenses, tmp_path):
    """Makes trainers of the easy images in fp16, whose first steps overflow."""

    def make(scale=2.0**30):
        torch.manual_seed(0)
        optimization = OptimizationConfig(lr=1e-3, batch_size=16, epochs=2, ema_decay=0.9)
        config = TrainConfig(data=DataConfig(image_size=32), optimization=optimization)
        images, device = load_images(str(lenses)), torch.device("cpu")
        store, task = PixelStore(images, config.data, device), Small(config, images.classes)
        batches = TrainBatches(store, task.targets(images, device), np.arange(0, 240, 2), AugmentConfig(), 16, 1, 0)
        accelerator, network = half_precision(scale), task.network()
        return Trainer(config, accelerator, task, network, store, batches, images, np.arange(1, 240, 6), tmp_path)

    return make


def test_resumed_after_a_skip_is_never_stopped(trainer, monkeypatch):
    """Bit for bit: weights, moments, average, statistics, the scale and its count towards growth."""
    whole = trainer()
    whole.train_epoch()
    skipped, cut = [], trainer()
    monkeypatch.setattr(cut, "_check_in", lambda at_cadence: _stop(cut, skipped))
    with pytest.raises(StopIteration):
        cut.train_epoch()
    assert skipped[0] == cut.position.step  # it was in the middle of them
    resumed = trainer(scale=1.0)
    resumed.resume(load_newest(cut.folder / "checkpoints"))
    resumed.train_epoch()
    assert not differing(everything(whole.learner), everything(resumed.learner))
    assert whole.learner.gathered_sums() == resumed.learner.gathered_sums()
    scalers = [own.accelerator.scaler.state_dict() for own in (whole, resumed)]
    assert scalers[0] == scalers[1]


def test_a_checkpoint_of_another_network_is_refused(trainer):
    own = trainer()
    own.save()
    stored = load_newest(own.folder / "checkpoints")
    older = {name: value for name, value in stored.model.items() if name != "fc.bias"}
    before = everything(own.learner)
    with pytest.raises(InputError, match=r"^--resume: .*checkpoints is of another network .* \(fc.bias\): use the"):
        own.resume(dataclasses.replace(stored, model=older))
    assert not differing(everything(own.learner), before)


def _stop(own, skipped):
    if own.position.step == 3:
        skipped.append(own.learner.gathered_sums()[0][2])
        own.save()
        raise StopIteration


def test_no_checkpoint_holds_what_is_not_finite(trainer):
    own = trainer()
    with torch.no_grad():
        own.learner.plain.bn2.running_var[7] = math.inf
        own.learner.plain.fc.bias[0] = math.nan
    message = r"bn2\.running_var and 1 more of the model is not finite at step 0: lower --lr, .*; "
    with pytest.raises(TrainingError, match=message + "there is no checkpoint yet"):
        own.save()
    with torch.no_grad():
        own.learner.plain.bn2.running_var[7] = 1
        own.learner.plain.fc.bias[0] = 0
    own.save()
    own.position.step = 5
    own.learner.average.bn1.running_mean[0] = math.inf
    message = r"bn1\.running_mean of the average is not finite at step 5: .*; whole is step_00000000$"
    with pytest.raises(TrainingError, match=message):
        own.save()
    assert [path.name for path in (own.folder / "checkpoints").iterdir()] == ["step_00000000"]
    assert not differing(load_newest(own.folder / "checkpoints").model, own.learner.plain.state_dict())


def test_best_weights_that_are_not_finite_are_not_kept(trainer):
    own = trainer()
    own.val_indices = own.val_indices[:0]  # nobody looks at what the network says
    own.learner.average.fc.bias[0] = math.nan
    with pytest.raises(TrainingError, match=r"fc\.bias of the best weights is not finite: lower --lr"):
        own._end_epoch()
    assert not (own.folder / "best").exists()


def test_a_run_that_overflows_names_the_checkpoints_that_are_whole(trainer):
    own = trainer()
    own.train_epoch()
    own.save()
    own.learner.average.fc.bias[0] = math.inf
    with pytest.raises(TrainingError, match=r"output is not finite at step 7: .*; whole is step_00000007$"):
        own._end_epoch()


def test_a_checkpoint_of_old_with_an_infinity_is_passed_over(tmp_path, monkeypatch, capsys):
    from deeplense.training import checkpoint as module

    good = module.Checkpoint({"w": torch.ones(2)}, {}, {"step": 1})
    save_checkpoint(tmp_path, 1, good, keep=5)
    with monkeypatch.context() as before:
        before.setattr(module, "not_finite", lambda tensors: None)
        save_checkpoint(tmp_path, 2, module.Checkpoint({"w": torch.tensor([1, math.inf])}, {}, {"step": 2}), keep=5)
    with pytest.raises(Damaged, match=r"w in model\.safetensors is not finite"):
        read_checkpoint(tmp_path / "step_00000002")
    assert load_newest(tmp_path).state["step"] == 1
    assert "is damaged (w in model.safetensors is not finite): using the one before" in capsys.readouterr().err
