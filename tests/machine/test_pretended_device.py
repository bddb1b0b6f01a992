"""What a run does on a GPU, driven on one that is pretended: nothing waits, nothing is left behind on the CPU."""

import collections
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_cuda import built_on_cpu, pretended_cuda
from torch._subclasses.fake_tensor import DataDependentOutputException
from torchvision.models.resnet import BasicBlock, ResNet

from deeplense.classification import task as classification
from deeplense.classification.predictions import predict_views
from deeplense.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    OptimizationConfig,
    SimulationConfig,
    TrackingConfig,
    TrainConfig,
)
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.evaluation.predict import predict
from deeplense.localisation import task as localisation
from deeplense.localisation.truth import TrueSubhalos
from deeplense.network.views import OrientedResNet
from deeplense.simulation import camera, deflection, render, simulator
from deeplense.simulation.sets import SETS
from deeplense.simulation.stream import ImageStream
from deeplense.tasks import make_task
from deeplense.training import learner, session
from deeplense.training.capture import WARM_UP
from deeplense.training.loop import Trainer
from deeplense.training.pace import EAGERLY, Way

COUNT, BATCH = 16, 8
NOBODY = np.arange(0)

SET_UP = {"network/model.py: placed", "data/store.py: _convert", "data/store.py: _upload"} | {
    f"{task}/task.py: targets" for task in ("classification", "localisation")
}
"""What may cross before the first step: weights, pixels, labels."""

OF_AN_EPOCH = {"data/batches.py: raw": 2, "data/store.py: batches": 1}
"""Copies within an epoch, however many steps it has: where its images are, twice, and the draws of its augmentation."""


def images_of(kind, channels=1, classes=2):
    pixels = np.random.default_rng(0).random((COUNT, channels, 40, 40))
    pixels = (pixels * (1 if kind == "float32" else np.iinfo(kind).max)).astype(kind)
    names = [str(index) for index in range(COUNT)]
    return ImageSet(pixels, np.arange(COUNT) % classes, ("no_sub", "cdm", "axion")[:classes], names, names)


def small_network(classes, channels=1, orient=False):
    """A ResNet with one block of two in each stage: all kinds of layers, and half the time."""
    kind = OrientedResNet if orient else ResNet
    network = kind(BasicBlock, [1, 1, 1, 1], num_classes=1 if classes == 2 else classes)
    network.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    return network


def settings(
    optimizer="adam", precision="fp16", placement="device", ema=None, clip=None, parts=1, channels=1, last=True,
    data=None, online=False, smoothing=0.0, orient=False,
):  # fmt: skip
    return TrainConfig(
        data=DataConfig(
            data="model_i" if online else "images", image_size=32, placement=placement, channels=channels,
            **(data or {}),
        ),
        simulation=SimulationConfig(online=online, epoch_images=COUNT),
        model=ModelConfig(orient=orient),
        optimization=OptimizationConfig(
            optimizer=optimizer, batch_size=BATCH, grad_accum=parts, ema_decay=ema, clip_norm=clip,
            label_smoothing=smoothing, epochs=1,
        ),
        compute=ComputeConfig(mixed_precision=precision, channels_last=last),
        tracking=TrackingConfig(wandb="disabled"),
    )  # fmt: skip


def prepared(config, images, way=EAGERLY):
    """A trainer, as `train.py` makes it."""
    accelerator = session.make_accelerator(config)
    task = make_task(config, images.classes)
    task.look_at(images)
    task.network = built_on_cpu(task.network)
    network = task.network()
    store, batches = session.make_batches(accelerator, config, task, images, Split(np.arange(COUNT), NOBODY, NOBODY))
    session.prepare_network(accelerator, network, config)
    own = Trainer(config, accelerator, task, network, store, batches, images, NOBODY, Path("nowhere"), way)
    own._collect = lambda: None  # the one wait, which is meant
    return own


def crossed_in_an_epoch(config, images):
    """How often what crossed in an epoch of two steps."""
    with pretended_cuda() as crossings:
        own = prepared(config, images)
        assert own.accelerator.device.type == "cuda"
        assert (own.accelerator.scaler is not None) == (config.compute.mixed_precision == "fp16")
        assert set(crossings.found) <= SET_UP
        crossings.found.clear()
        own.train_epoch()
        assert own.position.step == 2
        assert {value.device.type for state in own.learner.tensors() for value in (state or {}).values()} == {"cuda"}
        return dict(crossings.found)


def expected_of(config):
    if config.simulation.online:
        return {}
    if config.data.placement == "device":
        return OF_AN_EPOCH
    parts = COUNT // BATCH * config.optimization.grad_accum
    return {"data/batches.py: raw": 2, "data/store.py: _convert": parts}  # each part from pinned memory, and no index


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(classification, "build_model", small_network)


@pytest.fixture
def eager(monkeypatch):
    """A simulator that is not compiled, and keeps nothing of the pretended device."""
    caches = (
        simulator._generator,
        camera._kernels,
        camera._transfer,
        render._kernel,
        deflection._kernels,
        deflection._table,
    )
    for module in (simulator, camera, render, deflection):
        monkeypatch.setattr(module, "compiled", lambda function, kind: function)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_the_network_that_is_trained():
    """A ResNet-18, with everything that a step may do."""
    config = settings("adamw", ema=0.99, clip=1.0, smoothing=0.1)
    assert crossed_in_an_epoch(config, images_of("uint8")) == OF_AN_EPOCH


WAYS = {
    "as it comes": (settings(), images_of("uint8")),
    "sgd, host, parts, colour": (
        settings("sgd", placement="host", parts=2, channels=3), images_of("float32", channels=3),
    ),
    "bf16, host, averaged": (settings(precision="bf16", placement="host", ema=0.99), images_of("uint16")),
    "float32, adamw, clipped, three classes": (
        settings("adamw", "no", clip=1.0, channels=3), images_of("uint8", classes=3),
    ),
    "sgd, averaged, other treatment of light, one of the views": (
        settings("sgd", ema=0.99, last=False, orient=True, data={"stretch": "log", "standardize": True, "crop": 0.8}),
        images_of("float32"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_a_step_waits_or_crosses(small, way):
    config, images = WAYS[way]
    assert crossed_in_an_epoch(config, images) == expected_of(config)


def test_subhalos_are_carried_along_on_the_device(monkeypatch):
    """The other task: a network of another kind, and targets that are turned with the pixels."""
    random = np.random.default_rng(0)
    truth = TrueSubhalos(*random.uniform(-15, 15, (2, COUNT, 3)), 10 ** random.uniform(8, 10, (COUNT, 3)))
    monkeypatch.setattr(localisation, "read_truth", lambda images, where: truth)
    config = dataclasses.replace(settings("adamw", ema=0.99, clip=1.0), task="locate")
    assert crossed_in_an_epoch(config, images_of("float32")) == OF_AN_EPOCH


class PretendedGraph:
    """Runs what it is to capture, which cannot wait here."""

    captured, replays = False, 0

    def warm_up(self, step):
        step()
        return False

    def capture(self, step):
        step()
        self.captured = True

    def replay(self):
        self.replays += 1


@pytest.mark.parametrize("way", WAYS)
def test_a_step_can_be_captured(small, monkeypatch, way):
    """Within it nothing crosses at all; and then there are few operators left outside."""
    config, images = WAYS[way]
    graph = PretendedGraph()
    monkeypatch.setattr(learner, "CudaGraph", lambda: graph)
    with pretended_cuda() as crossings:
        own = prepared(config, images, Way(captured=True))
        outside, captured = [], own.learner._advance

        def advance(items):
            before = dict(crossings.found)
            captured(items)
            assert crossings.found == before

        own.learner._steps._advance = advance
        for epoch in range(3):
            own.position.epoch, own.position.batch = epoch, 0
            before = crossings.operators
            own.train_epoch()
            outside.append(crossings.operators - before)
    assert graph.captured
    assert graph.replays == 3 * (COUNT // BATCH) - WARM_UP
    assert outside[2] < outside[0] / 10
    assert all(group.get("capturable", True) for group in own.learner.optimizer.param_groups)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_all_ways(small, optimizer, precision, placement, kind):
    for ema, clip, parts, channels in itertools.product((None, 0.99), (None, 1.0), (1, 2), (1, 3)):
        config = settings(optimizer, precision, placement, ema, clip, parts, channels)
        assert crossed_in_an_epoch(config, images_of(kind, channels)) == expected_of(config)


def test_images_that_are_made_on_the_device(small, eager):
    """Every batch of an `--online` run; keys and point-spread function are there from the start."""
    config = settings("adamw", online=True)
    with pretended_cuda() as crossings:
        own = prepared(config, images_of("uint8"))
        crossings.found.clear()
        own.train_epoch()
        assert not crossings.found


ONCE_FOR_ALL = {"simulation/camera.py: _transfer", "simulation/deflection.py: _table"}
"""The point-spread function, and the profile of a subhalo."""

LONG = {"hst_subhalo"}
"""The set that does most. `model_i` is that of the test above; the others are made of parts of these two."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in LONG else pytest.mark.slow) for name in SETS])
def test_no_part_of_a_set_is_made_on_the_cpu(eager, name):
    with pretended_cuda() as crossings:
        stream = ImageStream(name, ("no_sub", "cdm", "axion"), device="cuda")
        crossings.found.clear()
        counts, draws = stream.span(4, 100)
        assert counts.device.type == draws.label.device.type == "cuda"
        assert set(crossings.found) <= ONCE_FOR_ALL


def test_prediction_crosses_once(small):
    with pretended_cuda() as crossings:
        own = prepared(settings(), images_of("uint8"))
        crossings.found.clear()
        some = np.arange(14)
        outputs = predict(own.learner.best, own.store, some, 8, own.accelerator, precision=own.accelerator.autocast)
        assert (outputs.shape, outputs.device.type, outputs.dtype) == ((14, 1), "cuda", torch.float32)
        assert dict(crossings.found) == {"data/store.py: batches": 1}
        crossings.found.clear()
        predict_views(own.learner.best, own.store, some, np.arange(5), (0, 2, 4, 6), tta=True)
        assert set(crossings.found) <= {"data/store.py: batches", "classification/predictions.py: predict_views"}


def test_what_waits_is_what_is_meant_to(small):
    """The loss, when it is logged, and the verdict on validation."""
    with pretended_cuda():
        own = prepared(settings(), images_of("uint8"))
        own.val_indices = np.arange(8)
        with pytest.raises(DataDependentOutputException):
            own.learner.collect()
        with pytest.raises(DataDependentOutputException):
            own._validate()


def asks(outputs, loss):
    return loss * outputs.mean().item()


def branches(outputs, loss):
    return loss if loss > 0 else -loss


def counts_pixels(outputs, loss):
    return loss * len(outputs.nonzero())


def brings_a_tensor(outputs, loss):
    return loss + torch.ones(BATCH, 1).mul(outputs).mean()


@pytest.mark.parametrize("mistake", [asks, branches, counts_pixels, brings_a_tensor])
def test_a_step_that_waits_or_mixes_devices_is_caught(small, mistake):
    with pretended_cuda():
        own = prepared(settings(), images_of("uint8"))
        loss = own.task.loss
        own.task.loss = lambda outputs, targets: mistake(outputs, loss(outputs, targets))
        with pytest.raises(Exception, match=r"_local_scalar_dense|nonzero|on the same device"):
            own.train_epoch()


def looks(outputs):
    return outputs.cpu()


def makes(outputs):
    return torch.tensor([1.0, 2.0], device=outputs.device)


@pytest.mark.parametrize("crossing", [looks, makes])
def test_a_copy_is_noted(small, monkeypatch, crossing):
    """Also one that some versions of torch have no operator for."""
    original = classification.loss_function

    def watched(classes, outputs, *others):
        crossing(outputs)
        return original(classes, outputs, *others)

    monkeypatch.setattr(classification, "loss_function", watched)
    found = collections.Counter(crossed_in_an_epoch(settings(), images_of("uint8")))
    assert set(found - collections.Counter(OF_AN_EPOCH)) == {"classification/task.py: loss"}
