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
from test_overflow import Small, differing, everything
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend

from deeplense.classification import task as classification
from deeplense.classification.task import Classification
from deeplense.config import AugmentConfig, ComputeConfig, DataConfig, OptimizationConfig, SimulationConfig, TrainConfig
from deeplense.data.batches import PixelStore, TrainBatches
from deeplense.data.images import load_images
from deeplense.data.imageset import ImageSet
from deeplense.data.mixed import Mixed
from deeplense.data.split import Split
from deeplense.localisation import task as localisation
from deeplense.localisation.network import _bounded as bounded
from deeplense.localisation.truth import Scale, TrueSubhalos
from deeplense.machine import compiling, remarks
from deeplense.simulation import camera, deflection, render, simulator
from deeplense.tasks import make_task
from deeplense.training import capture, learner, session
from deeplense.training.checkpoint import load_newest
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


NOBODY = np.arange(0)


def prepared(images, way, folder, task="classify", data=None, online=False, crowd=0.0, **settings):
    """A trainer as `train.py` makes it, of all the images."""
    config = TrainConfig(
        task=task,
        data=DataConfig(**{"data": "model_i" if online else "images", "image_size": 32, **(data or {})}),
        simulation=SimulationConfig(online=online, epoch_images=48, crowd=crowd),
        optimization=OptimizationConfig(**{"batch_size": 8, "epochs": 1, "lr": 1e-3, **settings}),
        compute=ComputeConfig(mixed_precision="no"),
    )
    accelerator = session.make_accelerator(config)
    own = make_task(config, images.classes)
    own.look_at(images)
    network, split = own.network(), Split(np.arange(len(images)), NOBODY, NOBODY)
    store, batches = session.make_batches(accelerator, config, own, images, split)
    session.prepare_network(accelerator, network, config)
    return Trainer(config, accelerator, own, network, store, batches, images, NOBODY, folder, way)


def images_of(count=48, side=40):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 1, side, side), dtype=np.uint8)
    names = [str(index) for index in range(count)]
    return ImageSet(pixels, np.arange(count) % 2, ("no_sub", "sub"), names, names)


@pytest.fixture
def tasks(monkeypatch):
    """Small networks of either task, and subhalos for one of them."""
    random = np.random.default_rng(0)
    truth = TrueSubhalos(*random.uniform(-15, 15, (2, 48, 3)), 10 ** random.uniform(8, 10, (48, 3)))
    monkeypatch.setattr(localisation, "read_truth", lambda images, where: truth)
    monkeypatch.setattr(localisation, "scale_of", lambda images, crop, size: Scale(0.1, 40, crop, size))
    monkeypatch.setattr(localisation, "Localizer", SmallLocalizer)
    monkeypatch.setattr(classification, "build_model", lambda *settings: Small.network(None))


class SmallLocalizer(torch.nn.Module):
    """One layer that says as much as the network does."""

    def __init__(self, channels, prior=None):
        super().__init__()
        self.conv = torch.nn.Conv2d(channels, 6, 2, 2)

    def forward(self, images):
        return bounded(self.conv(images))


@pytest.mark.parametrize("online", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["stored", "online"])
@pytest.mark.parametrize("task", ["classify", "locate"])
def test_each_task_is_captured(tmp_path, graphs, tasks, task, online):
    """With targets of several tensors, turned with the pixels; and with images that were drawn just now."""
    owns = [prepared(images_of(), way, tmp_path, task, online=online) for way in (EAGERLY, CAPTURED)]
    for own in owns:
        own.train_epoch()
    assert graphs[0].replays == 2
    assert not remarks._made
    assert not differing(everything(owns[0].learner), everything(owns[1].learner))


@pytest.mark.slow
def test_fewer_subhalos_later_need_no_new_capture(tmp_path, graphs, tasks):
    """The first steps see many in each image (`--crowd`), the last ones at most one."""
    settings = {"data": {"data": "one_subhalo"}, "online": True, "crowd": 3.0}
    owns = [prepared(images_of(), way, tmp_path, "locate", **settings) for way in (EAGERLY, CAPTURED)]
    assert capture.WARM_UP < owns[0].batches.lessons[0].until < owns[0].batches.steps
    for own in owns:
        own.train_epoch()
    assert graphs[0].replays == 2
    assert not differing(everything(owns[0].learner), everything(owns[1].learner))


def test_images_of_several_sizes_are_not_captured(tmp_path, tasks):
    whole = images_of()
    forms = [("uint8", (1, side, side)) for side in (40, 48)] * 24
    buffer = np.random.default_rng(0).integers(0, 256, 24 * (40**2 + 48**2), dtype=np.uint8)
    images = dataclasses.replace(whole, pixels=Mixed.of(buffer, forms))
    plain, own = (prepared(images, way, tmp_path) for way in (EAGERLY, CAPTURED))
    for one in (plain, own):
        one.train_epoch()
    (said,) = remarks._made
    assert said.startswith("the step is not captured, training is slower: its images are of several sizes")
    assert not differing(everything(plain.learner), everything(own.learner))


@pytest.fixture
def graph_count(monkeypatch, compiler):
    """Compiles without generating code, and counts the graphs; one that breaks would be several."""
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(compiling, "BACKEND", counter)
    torch._dynamo.utils.counters.clear()
    return counter


@pytest.mark.parametrize("way", ["adam", "sgd, averaged"])
def test_compiled_is_one_graph_and_eager(lenses, tmp_path, graph_count, way):
    """From stored pixels to the loss, over epochs, and one more for validation; of the average, where that is it."""
    owns = []
    for how in (EAGERLY, COMPILED):
        owns.append(own := trainer_of(lenses, tmp_path, how, **WAYS[way]))
        for _ in range(2):
            own.train_epoch()
            said = own._validate()
            own.position.epoch, own.position.batch = own.position.epoch + 1, 0
    assert graph_count.frame_count == 2
    assert not torch._dynamo.utils.counters["graph_break"]
    assert not remarks._made
    torch.testing.assert_close(said.outputs, owns[0]._validate().outputs)
    for name, value in everything(owns[1].learner).items():
        torch.testing.assert_close(value, everything(owns[0].learner)[name], msg=name)


@pytest.mark.parametrize("online", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["stored", "online"])
@pytest.mark.parametrize("task", ["classify", "locate"])
def test_each_task_is_one_graph(tmp_path, tasks, graph_count, monkeypatch, task, online):
    monkeypatch.setattr(compiling, "why_not", lambda kind: "the simulator as it is")
    for cache in (simulator._generator, camera._kernels, render._kernel, deflection._kernels):
        cache.cache_clear()
    data = {"stretch": "log", "standardize": True, "crop": 0.8}
    plain, own = (prepared(images_of(), way, tmp_path, task, data, online) for way in (EAGERLY, COMPILED))
    for one in (plain, own):
        one.train_epoch()
    for cache in (simulator._generator, camera._kernels, render._kernel, deflection._kernels):
        cache.cache_clear()
    assert graph_count.frame_count == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    for name, value in everything(own.learner).items():
        torch.testing.assert_close(value, everything(plain.learner)[name], msg=name)


@pytest.mark.slow
def test_the_network_that_is_trained_is_one_graph(lenses, tmp_path, graph_count):
    own, plain = (trainer_of(lenses, tmp_path, how, kind=Classification) for how in (COMPILED, EAGERLY))
    for one in (own, plain):
        one.train_epoch()
    assert graph_count.frame_count == 1
    for name, value in everything(own.learner).items():
        torch.testing.assert_close(value, everything(plain.learner)[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_compiler_that_fails_is_done_without(lenses, tmp_path, monkeypatch, compiler, where):
    """Also where that is noticed in mid-step, when batch norm has moved already."""

    def fails(graph, inputs):
        raise ValueError("no such register\nand a traceback")

    def works(graph, inputs):
        return graph.forward

    backend = aot_autograd(fw_compiler=fails if where == "forward" else works, bw_compiler=fails)
    monkeypatch.setattr(compiling, "BACKEND", backend)
    plain, own = (trainer_of(lenses, tmp_path, how, ema_decay=0.9) for how in (EAGERLY, COMPILED))
    for one in (plain, own):
        one.train_epoch()
        one._validate()
    (said,) = remarks._made
    assert said.startswith("--compile has no effect, training runs eagerly: ")
    assert "no such register" in said
    assert "\n" not in said
    assert not differing(everything(plain.learner), everything(own.learner))


def test_a_compiler_that_fails_in_validation_is_done_without(lenses, tmp_path, monkeypatch, compiler):
    """Whose batches have a shape of their own, and which comes when an epoch of work is done."""
    graphs = []

    def fails_at_second(graph, inputs):
        graphs.append(graph)
        if len(graphs) > 1:
            raise ValueError("no kernel for this shape")
        return graph.forward

    backend = aot_autograd(fw_compiler=fails_at_second, bw_compiler=lambda graph, inputs: graph.forward)
    monkeypatch.setattr(compiling, "BACKEND", backend)
    own = trainer_of(lenses, tmp_path, COMPILED, ema_decay=0.9)
    own.train_epoch()
    assert not remarks._made
    own._validate()
    (said,) = remarks._made
    assert said.startswith("--compile has no effect, training runs eagerly: ")
    assert "no kernel for this shape" in said
    own.train_epoch()


@torch._dynamo.config.patch(recompile_limit=2)  # monkeypatch would delete it afterwards, for all tests that follow
def test_functions_of_too_many_shapes_are_told_of(compiler):
    """torch says so in its log alone, and the record of a run would not know."""
    remarks.hear_compiler()

    @torch.compile(backend="eager", dynamic=False)
    def doubled(x):
        return x * 2

    for size in range(2, 6):
        doubled(torch.ones(size))
    assert remarks._made == [
        "the compiler has met more shapes of doubled than its limit: it now runs uncompiled, slower"
    ]
