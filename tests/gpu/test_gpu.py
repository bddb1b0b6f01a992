"""What only a GPU can show: `pytest -m gpu -n 0`, minutes on one card. deeplense/machine/README.md has what it needs.

The first seven and the last two need little more than torch; each of the others names what it lacks.
"""

import copy
import itertools
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from conftest import ROOT, run_python, write_lenses

from configs import best
from deeplense.config import AugmentConfig, DataConfig, OptimizationConfig, TrainConfig
from deeplense.data.augment import affine, resample, to_unit
from deeplense.data.batches import PixelStore, TrainBatches
from deeplense.data.imageset import ImageSet
from deeplense.evaluation.predict import predict
from deeplense.localisation.network import Localizer
from deeplense.machine import remarks
from deeplense.machine.precision import full_float32, repeatable
from deeplense.network.model import build_model, placed
from deeplense.network.views import Views
from deeplense.training.capture import WARM_UP
from deeplense.training.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from deeplense.training.learner import Learner
from deeplense.training.pace import EAGERLY, Way

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: pytest -m gpu -n 0")]

GPU, CPU = torch.device("cuda"), torch.device("cpu")
NO_SUB_OR_SUB = ("no_sub", "sub")


class Labels:
    """What a learner asks of a task: two classes, with the network that is trained."""

    def __init__(self, orient=False):
        self.orient = orient

    def network(self):
        return build_model(2, 1, self.orient)

    def loss(self, outputs, labels):
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.float())


def learner(device=GPU, precision="fp16", way=EAGERLY, seen=None, orient=False, **settings):
    """A ResNet-18 with the same weights each time, in training."""
    AcceleratorState._reset_state(reset_partial_state=True)
    full_float32()
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    config = TrainConfig(optimization=OptimizationConfig(**{"lr": 1e-3, "batch_size": 32, **settings}))
    accelerator, task = Accelerator(cpu=device.type == "cpu", mixed_precision=precision), Labels(orient)
    whole = {} if seen is None else {"seen": seen}
    own = Learner(config, accelerator, task, placed(task.network(), device), way=way, **whole)
    own.network.train()
    return own


def image_set(count=256, kind="uint8", side=150):
    pixels = np.random.default_rng(0).random((count, 1, side, side))
    pixels = (pixels * (np.iinfo(kind).max if kind.startswith("u") else 1)).astype(kind)
    names = [str(index) for index in range(count)]
    return ImageSet(pixels, np.arange(count) % 2, NO_SUB_OR_SUB, names, names)


def batches_of(images, batch=32, parts=1, device=None, **data):
    """The training batches of a set of images; None: on the GPU."""
    device = GPU if device is None else device
    store = PixelStore(images, DataConfig(image_size=64, **data), device)
    labels = torch.from_numpy(images.labels).to(device)
    index = np.arange(len(images))
    return TrainBatches(store, lambda rows, maps: labels[rows], index, AugmentConfig(), batch, parts, seed=0)


def endless(batches) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return itertools.chain.from_iterable(batches.epoch(epoch) for epoch in itertools.count())


def endless_raw(batches):
    """What a step that is captured begins with."""
    return itertools.chain.from_iterable(batches.raw(epoch) for epoch in itertools.count())


def some_batch(device, size=32):
    random = torch.Generator().manual_seed(1)
    return torch.randn(size, 1, 64, 64, generator=random).to(device), (torch.arange(size) % 2).to(device)


@pytest.mark.parametrize(("precision", "of_loss", "of_gradient"), [("no", 1e-4, 1e-3), ("fp16", 1e-2, 0.2)])
def test_1_a_step_is_that_of_a_cpu(precision, of_loss, of_gradient):
    """Loss, and all gradients together against the size of the CPU's, which is in float32. A network of random weights
    makes much of rounding: fp16 computed on a CPU, of 16 images of 32 px, was off by 0.15."""
    losses, gradients = [], []
    for device, own_precision in ((CPU, "no"), (GPU, precision)):
        own = learner(device, own_precision)
        images, labels = some_batch(device)
        loss = own.task.loss(own.network(images), labels)
        (1024 * loss).backward()  # small ones are 0 in fp16; the scaler's own first scale may be too much
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.double().flatten().cpu() for p in own.plain.parameters()]))
    assert losses[1] == pytest.approx(losses[0], rel=of_loss)
    assert (gradients[1] - gradients[0]).norm() < of_gradient * gradients[0].norm()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16", "float32"])
def test_2_pixels_are_those_of_a_cpu(kind):
    images = image_set(48, kind)
    stored, draws = torch.from_numpy(images.pixels), torch.rand(48, 3, generator=torch.Generator().manual_seed(0))
    seen = []
    for device in (CPU, GPU):
        maps = affine(draws.to(device), 30.0, True)
        pixels = to_unit(stored.to(device), 1, math.nan)
        seen.append([pixels, maps, resample(pixels, maps, 64), resample(pixels, None, 64, "log", 0.8, True)])
    for own, expected in zip(seen[1], seen[0], strict=True):
        assert own.dtype == expected.dtype
        torch.testing.assert_close(
            own.float().cpu(), expected.float(), atol=1e-5 if own.dtype != torch.float16 else 1e-3, rtol=1e-4
        )
    on_device, on_host = (batches_of(images, 16, placement=where).epoch(0) for where in ("device", "host"))
    for (one, _), (other, _) in zip(on_device, on_host, strict=True):
        assert torch.equal(one, other)


AS_IN_BEST = {name: getattr(best.CONFIG.data, name) for name in ("stretch", "crop", "standardize")}

WAYS = {
    "device": ({}, {"placement": "device"}),
    "host": ({}, {"placement": "host"}),
    "averaged, clipped, in parts": ({"ema_decay": 0.99, "clip_norm": 1.0, "grad_accum": 2}, {}),
    "sgd": ({"optimizer": "sgd"}, {}),
    "as in best": ({"optimizer": "adamw", "orient": True}, AS_IN_BEST),
    "online": ({"optimizer": "adamw"}, None),
}


@pytest.mark.parametrize("way", WAYS)
def test_3_nothing_in_a_step_waits(way):
    """By torch's own account, over 20 steps after a warm-up."""
    settings, data = WAYS[way]
    own = learner(**settings)
    if data is None:
        items = fresh_images()
    else:
        items = batches_of(image_set(32 * 30), parts=own.config.grad_accum, **data).epoch(0)
    for _ in range(5):
        own.step(items, 1e-3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            own.step(items, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert math.isfinite(own.collect()[0])


def fresh_images():
    pytest.importorskip("caustics")
    from deeplense.simulation.stream import ImageStream

    stream = ImageStream("model_i", device="cuda")
    for start in itertools.count(step=32):
        counts, draws = stream.span(start, start + 32)
        yield resample(to_unit(counts, 1, math.nan), None, 64), draws.label


def everything(own):
    model, optimizer, average = own.tensors()
    parts = {"model": model, "optimizer": optimizer, "average": average or {}}
    return {f"{part}.{name}": value.clone() for part, state in parts.items() for name, value in state.items()}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_4_a_step_that_overflows_changes_nothing(optimizer):
    own = learner(optimizer=optimizer, ema_decay=0.9)
    items = itertools.repeat(some_batch(GPU))
    for _ in range(12):  # the scale finds its place
        own.step(items, 1e-3)
    assert own.collect()[1] == 0

    def spoil_gradient(gradient):
        return gradient + torch.zeros_like(gradient).index_fill_(0, torch.tensor([3], device=GPU), math.inf)

    def spoil_activation(module, inputs, output):
        return output + torch.zeros_like(output).index_fill_(1, torch.tensor([2], device=GPU), math.inf)

    for spoil in (own.plain.layer2[0].conv1.weight.register_hook, own.plain.layer1[0].conv1.register_forward_hook):
        before, scale = everything(own), own.accelerator.scaler.get_scale()
        handle = spoil(spoil_gradient if spoil.__self__ is own.plain.layer2[0].conv1.weight else spoil_activation)
        own.step(items, 1e-3)
        handle.remove()
        after = everything(own)
        assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
        assert own.accelerator.scaler.get_scale() == scale / 2
    own.step(items, 1e-3)
    assert own.collect()[1] == 0
    assert all(value.isfinite().all() for value in everything(own).values())


def train(folder: Path, *flags: object) -> dict:
    """A run of the commands, in a process of its own: its summary."""
    for needed in ("sklearn", "scipy", "matplotlib", "wandb", "captum", "platformdirs"):
        pytest.importorskip(needed)
    done = run_python("train.py", "debug", *command(folder, *flags))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "run" / "summary.json").read_text())


def command(folder: Path, *flags: object) -> list[object]:
    return [
        "--init", "random", "--image-size", 32, "--lr", "1e-3", "--wandb", "disabled", "--output-dir", folder,
        "--name", "run", *flags,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def easy(tmp_path_factory):
    """2,000 images that are told apart by a spot."""
    return write_lenses(tmp_path_factory.mktemp("easy") / "lenses", 1000, suffix=".npy")


def test_5_it_learns(easy, tmp_path):
    summary = train(tmp_path, "--data", easy, "--batch-size", 64, "--epochs", 5)
    assert summary["test"]["roc_auc"] > 0.9
    session = json.loads((tmp_path / "run" / "record.json").read_text())["sessions"][0]
    assert session["device"] == torch.cuda.get_device_name()
    assert session["effective_precision"] == "fp16"
    assert session["repeatable"] is False


def test_6_deterministic_stopped_and_resumed_is_never_stopped(easy, tmp_path):
    """Bit for bit, with an average and the loss scale: what `--deterministic` promises."""
    flags = ("--data", easy, "--batch-size", 32, "--epochs", 6, "--ema-decay", "0.9", "--deterministic")
    train(tmp_path / "whole", *flags)
    arguments = [str(one) for one in command(tmp_path / "cut", *flags)]
    process = subprocess.Popen(
        [sys.executable, "train.py", "debug", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    log, since = tmp_path / "cut" / "run" / "metrics.jsonl", time.monotonic()
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - since < 120
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 75
    train(tmp_path / "cut", *flags, "--resume")
    for name in ("best/model.safetensors", "evaluation/test/predictions.csv"):
        assert (tmp_path / "cut" / "run" / name).read_bytes() == (tmp_path / "whole" / "run" / name).read_bytes()


def test_7_memory_is_flat():
    """And bounded: 2 GiB above images and network, at the size of the report."""
    images = image_set(4096, side=64)
    batches = batches_of(images, 128, placement="auto")
    assert batches.store.on_device is not None
    assert batches.store.on_device[0].numel() <= torch.cuda.mem_get_info()[1] / 2
    own = learner(batch_size=128, ema_decay=0.99)
    held, items, allocated = torch.cuda.memory_allocated(), endless(batches), []
    torch.cuda.reset_peak_memory_stats()
    for step in range(1, 201):
        own.step(items, 1e-3)
        if step in (50, 200):
            torch.cuda.synchronize()
            allocated.append(torch.cuda.memory_allocated())
    assert allocated[0] == allocated[1]
    assert torch.cuda.max_memory_allocated() - held < 2 * 2**30


def test_8_compiled_is_as_good_and_compiled_once():
    from torch._dynamo.utils import counters

    images = image_set(320, side=64)
    losses = {}
    for way in (EAGERLY, Way(compiled=True)):
        counters.clear()
        batches = batches_of(images)
        own = learner(precision="no", way=way, seen=batches.seen, lr=1e-4, ema_decay=0.9)
        graphs = []
        for epoch in range(3):
            items = batches.raw(epoch)
            own.plain.train()
            for _ in range(batches.steps):
                own.step(items, 1e-4)
            predict(own.best, batches.store, np.arange(300), 128)
            graphs.append(counters["stats"]["unique_graphs"])
        losses[way] = own.collect()[0]
    assert graphs[0] == graphs[-1] == 2  # one for training, one for validation
    assert not counters["graph_break"]
    eager, compiled = losses.values()
    assert compiled == pytest.approx(eager, rel=0.02)


def test_9_the_simulator_is_that_of_a_cpu():
    pytest.importorskip("caustics")
    from deeplense.simulation.sets import find_classes, find_set
    from deeplense.simulation.simulator import Simulator

    lens_set, classes = find_set("model_i"), find_classes(("no_sub", "cdm", "axion"))
    there, here = (Simulator(lens_set, classes, 0, device) for device in (GPU, CPU))
    number = torch.arange(96)
    words = (number, number + 1, number & 7, number * 3)
    for own, expected in zip(there.random(tuple(w.to(GPU) for w in words)), here.random(words), strict=True):
        assert torch.equal(own.cpu(), expected)
    counts, draws = there.make(number.to(GPU))
    expected, truth = here.make(number)
    assert torch.equal(draws.label.cpu(), truth.label)
    flux, expected_flux = there.render(draws).cpu(), here.render(truth)
    torch.testing.assert_close(flux, expected_flux, atol=1e-4 * expected_flux.max().item(), rtol=1e-4)
    off = ((counts.cpu() - expected).abs() > 1e-3 * expected.abs().clamp(min=1)).double().mean().item()
    assert off < 1e-3  # single counts at the edge between two
    many, _ = there.make(torch.arange(1024, device=GPU))  # in one piece of 1,024 in place of one of 128
    assert ((many[:96] - counts).abs() > 1e-3 * counts.abs().clamp(min=1)).double().mean() < 1e-3


def test_10_scores_are_those_of_a_cpu():
    """Labels and probabilities, in all views; and a map of what speaks for them."""
    images, outputs = image_set(64, side=64), {}
    network = learner(CPU, "no").plain.eval()
    with torch.no_grad():
        network.fc.weight.mul_(20)
    for device in (CPU, GPU):
        store = PixelStore(images, DataConfig(image_size=64), device)
        own = placed(copy.deepcopy(network), device)
        outputs[device.type] = predict(Views(own), store, np.arange(64), 40).sigmoid().cpu()
    torch.testing.assert_close(outputs["cuda"], outputs["cpu"], atol=1e-3, rtol=0)
    sure = (outputs["cpu"] - 0.5).abs() > 1e-3
    assert torch.equal((outputs["cuda"] > 0.5)[sure], (outputs["cpu"] > 0.5)[sure])
    for needed in ("captum", "sklearn", "matplotlib"):
        pytest.importorskip(needed)
    from deeplense.classification.attribution import attribution_maps

    _, maps = attribution_maps(placed(network, GPU), PixelStore(images, DataConfig(image_size=64), GPU), np.arange(3))
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


@pytest.mark.parametrize(("before", "after"), [(GPU, CPU), (CPU, GPU)], ids=["to a CPU", "to a GPU"])
def test_11_a_checkpoint_goes_on_elsewhere(tmp_path, before, after):
    """Moments in the memory layout of the weights, and the next step the same."""
    first = learner(before, "no", ema_decay=0.9)
    for _ in range(2):
        first.step(itertools.repeat(some_batch(before)), 1e-4)
    path = save_checkpoint(tmp_path, 2, Checkpoint(*first.tensors()[:2], {}, first.tensors()[2]), keep=1)
    sums, second = first.gathered_sums(), None
    first.step(itertools.repeat(some_batch(before)), 1e-4)
    expected = {name: value.cpu() for name, value in everything(first).items()}
    second = learner(after, "no", ema_decay=0.9)
    second.restore(read_checkpoint(path), sums, None)
    moments = second.optimizer.state[second.plain.layer1[0].conv1.weight]["exp_avg"]
    assert moments.device.type == after.type
    assert moments.is_contiguous(memory_format=torch.channels_last)
    second.step(itertools.repeat(some_batch(after)), 1e-4)
    for name, value in everything(second).items():
        torch.testing.assert_close(value.cpu(), expected[name], atol=2e-4, rtol=1e-3, msg=name)


RATES = {
    "eager": EAGERLY, "captured": Way(captured=True), "compiled": Way(compiled=True),
    "compiled, captured": Way(compiled=True, captured=True),
}  # fmt: skip


def test_12_how_fast(tmp_path_factory, capsys):
    """Images a second by batch and way; as JSON, with the name of the card."""
    found = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    images = image_set(8192, side=64)
    for batch, (name, way) in itertools.product((128, 512, 1024), RATES.items()):
        batches = batches_of(images, batch)
        own = learner(batch_size=batch, way=way, seen=batches.seen)
        items, steps = endless_raw(batches), 40_960 // batch
        for _ in range(10):
            own.step(items, 1e-3)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            own.step(items, 1e-3)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        rate = {"images_per_second": batch * steps / seconds, "ms_per_step": 1e3 * seconds / steps}
        found[f"batch {batch}, {name}"] = rate
        del own, items
    file = tmp_path_factory.mktemp("rate") / "rate.json"
    file.write_text(json.dumps(found, indent=2))
    with capsys.disabled():
        print(f"\n{file}\n{file.read_text()}")
    assert found["batch 1024, eager"]["images_per_second"] > 20_000
    assert found["batch 128, captured"]["ms_per_step"] < found["batch 128, eager"]["ms_per_step"]


@pytest.fixture
def alike():
    """The same kernels each time, so that bits can be compared."""
    repeatable(True)
    yield
    repeatable(False)


CAPTURED = {
    "adam": ({}, {}),
    "adamw, averaged, clipped, in parts": (
        {"optimizer": "adamw", "ema_decay": 0.9, "clip_norm": 1.0, "grad_accum": 2}, {},
    ),
    "sgd, host": ({"optimizer": "sgd"}, {"placement": "host"}),
    "as in best": ({"optimizer": "adamw", "orient": True}, AS_IN_BEST),
}  # fmt: skip


@pytest.mark.parametrize("precision", ["fp16", "no"])
@pytest.mark.parametrize("case", CAPTURED)
def test_13_captured_is_eager(alike, case, precision):
    """Bit for bit, while the rate moves and fp16's scale falls, with validation in between; and it launches no more
    than the graph and what fills it."""
    settings, data = CAPTURED[case]
    images, owns = image_set(32 * 12), []
    for way in (EAGERLY, Way(captured=True)):
        batches = batches_of(images, parts=settings.get("grad_accum", 1), **data)
        owns.append(own := learner(precision=precision, way=way, seen=batches.seen, **settings))
        for epoch in range(2):
            items = batches.raw(epoch)
            own.network.train()
            for step in range(batches.steps):
                own.step(items, 1e-3 / (1 + step))
            predict(own.best, batches.store, np.arange(100), 64, precision=own.accelerator.autocast)
    assert owns[1]._steps._held is not None, remarks._made
    assert [
        name for name, value in everything(owns[0]).items() if not torch.equal(value, everything(owns[1])[name])
    ] == []
    assert owns[0].gathered_sums() == owns[1].gathered_sums()
    if precision == "fp16":
        assert owns[0].accelerator.scaler.state_dict() == owns[1].accelerator.scaler.state_dict()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            own.step(batches.raw(2), 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    launches = [event for event in profile.events() if "cudaLaunchKernel" in event.name]
    assert len(launches) < 40 * settings.get("grad_accum", 1)
    assert sum(event.name == "cudaGraphLaunch" for event in profile.events()) <= 1


def test_14_a_captured_step_that_overflows_changes_nothing():
    own = learner(way=Way(captured=True), ema_decay=0.9)
    images, labels = some_batch(GPU)
    for _ in range(12 + WARM_UP):  # the scale finds its place
        own.step(iter([(images, labels)]), 1e-3)
    assert own._steps._held is not None, remarks._made
    assert own.collect()[1] == 0
    before, scale = everything(own), own.accelerator.scaler.get_scale()
    spoiled = images.clone()
    spoiled[3, 0, 5, 7] = math.inf
    own.step(iter([(spoiled, labels)]), 1e-3)
    after = everything(own)
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    assert own.accelerator.scaler.get_scale() == scale / 2
    own.step(iter([(images, labels)]), 1e-3)
    assert own.collect()[1] == 0
    assert all(value.isfinite().all() for value in everything(own).values())


def test_15_what_cannot_be_captured_is_said_and_run_eagerly(capsys):
    own = learner(way=Way(captured=True))
    loss = own.task.loss
    own.task.loss = lambda outputs, labels: loss(outputs, labels) * (1 if outputs.mean().item() < 1e9 else 2)
    for _ in range(WARM_UP + 3):
        own.step(iter([some_batch(GPU)]), 1e-3)
    assert own._steps._held is None
    assert capsys.readouterr().err.count("the step is not captured, training is slower: something in it waits") == 1
    assert own.collect()[0] is not None


def test_16_a_localiser_repeats_itself(alike):
    """`locate --deterministic`: no layer of its network is refused, and a gradient is the same to the bit."""
    torch.manual_seed(0)
    network = placed(Localizer(), GPU).train()
    images, gradients = torch.randn(32, 1, 56, 56).to(GPU), []
    for _ in range(2):
        network.zero_grad()
        network(images).square().mean().backward()
        gradients.append(torch.cat([own.grad.flatten() for own in network.parameters()]))
    assert torch.equal(*gradients)
    assert gradients[0].isfinite().all()
