"""How training grows with processes on one machine's CPU: images per second, and the bytes that they exchange.

What runs is the training loop itself, on images of noise that are in memory. One process and several take turns, each
process with the same number of threads, so the figures say what another process adds, not what another core does.

The same is predicted, by the model of `scaling`, from steps that exchange nothing and the speed of an exchange alone;
and, from estimates of a GPU, what eight of them and four nodes of eight are worth.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeplense.benchmark.measuring import Benchmark, about, heading, rates, shown, spread
from deeplense.benchmark.scaling import Gpu, Link, Step, buckets, exchange, predicted, step_seconds
from deeplense.errors import InputError

if TYPE_CHECKING:
    import torch

    from deeplense.training.loop import Trainer

EXCHANGES = 5
"""Sums that are timed together."""


@dataclass(frozen=True)
class Processes(Benchmark):
    """Time training on one process and on several, on the CPU."""

    processes: int = 2
    """Processes to set beside one."""
    threads: int = 1
    """Threads of each process."""
    batch_size: int = 128
    """The global batch."""
    image_size: int = 64
    """Pixels a side."""
    steps: int = 4
    """Timed steps in a round."""
    sync_batchnorm: bool = False
    """Batch norm over the global batch, which takes messages of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes < 2:
            raise InputError(f"--processes {self.processes}: give 2 or more, to be set beside one")
        if self.batch_size % self.processes or self.batch_size // self.processes < 2:
            raise InputError(
                f"--processes {self.processes} do not divide --batch-size {self.batch_size} into two or more"
            )
        if self.threads < 1 or self.steps < 1:
            raise InputError(f"--threads {self.threads} and --steps {self.steps}: give 1 or more of each")


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    print(heading(result))
    for one in result["results"]:
        rate, crossed = one["images_per_second"], one["bytes_per_step"]
        print(
            f"{one['processes']} process(es) x {result['settings']['threads']} thread(s): {shown(rate, 1)} images/s "
            f"in {rate['rounds']} rounds of {rate['images']:,}, "
            f"{crossed['median'] / 1e6:.1f} MB a step between them"
        )
    print(f"{result['ratio']:.2f} times as fast; the gradient has {result['gradient_bytes'] / 1e6:.1f} MB")
    print(
        f"predicted {result['predicted_images_per_second']:.1f} images/s, from {result['seconds_alone']:.3f} s a step "
        f"without an exchange, {result['bandwidth'] / 1e9:.2f} GB/s and {result['latency'] * 1e3:.2f} ms a message; "
        f"{result['off']:+.0%} from what was measured"
    )
    for one in result["gpus"]:
        print(
            f"estimated: {one['nodes']} node(s) of {one['gpus']} H100, {one['images_per_gpu']} images each: "
            f"{one['images_per_second']:,.0f} images/s, {one['efficiency']:.0%} of as many alone and captured, "
            f"{one['efficiency_without_host']:.0%} if no host were in the way"
        )


def measure(wanted: Processes) -> dict[str, Any]:
    """Rates, bytes a step, and the ratio of the medians."""
    several = wanted.processes
    found: dict[int, list[dict[str, Any]]] = {1: [], several: []}
    seconds: dict[int, list[float]] = {1: [], wanted.processes: []}
    crossed: dict[int, list[float]] = {1: [], wanted.processes: []}
    for _ in range(wanted.rounds):
        for count in seconds:
            result = _round(wanted, count)
            found[count].append(result)
            seconds[count].append(result["seconds"])
            crossed[count].append(result["bytes"] / wanted.steps)
    images = wanted.batch_size * wanted.steps
    results = [
        {
            "processes": count,
            "images_per_second": rates(images, seconds[count]),
            "bytes_per_step": spread(crossed[count]),
        }
        for count in seconds
    ]
    one, together = (float(entry["images_per_second"]["median"]) for entry in results)  # type: ignore[index]

    def median(count: int, name: str) -> float:
        return statistics.median(one[name] for one in found[count])

    link = Link(median(several, "bandwidth"), median(several, "latency"))
    parts = buckets(result["sizes"], [statistics.median(each) for each in zip(*_ready(found[1]), strict=True)])
    alone = median(several, "seconds_alone")
    # Nothing goes on beside the arithmetic: a process has one core for both.
    messages = [exchange(part.size, several, link) for part in parts]
    expected = wanted.batch_size / step_seconds(Step(0.0, alone, 0.0), parts, messages, overlap=0.0)
    gpu = Gpu()
    return about(wanted, "cpu", "torch", "accelerate") | {
        "gradient_bytes": result["gradient_bytes"],
        "results": results,
        "ratio": together / one,
        "seconds_alone": alone,
        "bandwidth": link.bandwidth,
        "latency": link.latency,
        "predicted_images_per_second": expected,
        "off": expected / together - 1,
        "gpus": [predicted(gpu, parts, images, 8, nodes) for images in (128, 512) for nodes in (1, 4)],
    }


def _ready(rounds: list[dict[str, Any]]) -> list[list[float]]:
    return [one["ready"] for one in rounds]


def _round(wanted: Processes, count: int) -> dict[str, Any]:
    """One group of processes, from its start to its end."""
    import torch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_process, (count, wanted, port, Path(folder)), count)
        return json.loads((Path(folder) / "result.json").read_text())


def _process(rank: int, count: int, wanted: Processes, port: int, folder: Path) -> None:
    """What `torchrun` would have started: one process of `count`, which trains and notes how long it took."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "1",
        "OMP_NUM_THREADS": str(wanted.threads),
    }
    import numpy as np
    import torch

    from deeplense.config import ComputeConfig, DataConfig, OptimizationConfig, TrackingConfig, TrainConfig
    from deeplense.data.imageset import ImageSet
    from deeplense.data.split import Split
    from deeplense.tasks import make_task
    from deeplense.training import session
    from deeplense.training.loop import Trainer

    torch.set_num_threads(wanted.threads)
    config = TrainConfig(
        data=DataConfig(image_size=wanted.image_size),
        optimization=OptimizationConfig(batch_size=wanted.batch_size, epochs=1),
        compute=ComputeConfig(sync_batchnorm=wanted.sync_batchnorm),
        tracking=TrackingConfig(wandb="disabled"),
    )
    number = wanted.batch_size * wanted.steps
    side = wanted.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (number, 1, side, side), dtype=np.uint8)
    names = [str(index) for index in range(number)]
    images = ImageSet(pixels, np.arange(number) % 2, ("no_sub", "sub"), names, names)
    accelerator = session.make_accelerator(config)
    task = make_task(config, images.classes)
    nobody = np.empty(0, np.int64)
    store, batches = session.make_batches(accelerator, config, task, images, Split(np.arange(number), nobody, nobody))
    network = task.network()
    session.prepare_network(accelerator, network, config)
    trainer = Trainer(config, accelerator, task, network, store, batches, images, nobody, folder)
    trainer.train_epoch()  # warms up
    trainer.position.batch = 0
    start, before = time.perf_counter(), _crossed()
    trainer.train_epoch()
    result: dict[str, Any] = {"seconds": time.perf_counter() - start, "bytes": _crossed() - before}
    if count > 1:
        result |= _apart(trainer) | _exchanges(network)
    sizes, ready = _arrivals(trainer)
    if accelerator.is_main_process:
        result |= {"gradient_bytes": sum(sizes), "sizes": sizes, "ready": ready}
        (folder / "result.json").write_text(json.dumps(result))
    accelerator.end_training()


def _apart(trainer: Trainer) -> dict[str, float]:
    """Seconds of a step that exchanges nothing, while the other processes do the same."""
    trainer.position.batch = 0
    trainer.accelerator.wait_for_everyone()
    start = time.perf_counter()
    with trainer.accelerator.no_sync(trainer.learner.network):
        trainer.train_epoch()
    return {"seconds_alone": (time.perf_counter() - start) / trainer.batches.steps}


def _exchanges(network: torch.nn.Module) -> dict[str, float]:
    """bytes/s and seconds a turn of a ring, from sums of the whole gradient and of one number."""
    import torch
    from torch.distributed import all_reduce, barrier, get_world_size

    count = get_world_size()
    numbers = torch.zeros(sum(parameter.numel() for parameter in network.parameters()))
    times = []
    for some in (numbers[:1], numbers):
        all_reduce(some)
        barrier()
        start = time.perf_counter()
        for _ in range(EXCHANGES):
            all_reduce(some)
        times.append((time.perf_counter() - start) / EXCHANGES)
    turns = 2 * (count - 1)
    latency = times[0] / turns
    return {"latency": latency, "bandwidth": 4 * numbers.numel() / count / max(times[1] / turns - latency, 1e-9)}


def _arrivals(trainer: Trainer) -> tuple[list[int], list[float]]:
    """Bytes of each gradient in the order in which they come, and after which part of the backward pass."""
    network, came = trainer.learner.plain, []

    def note(parameter: torch.Tensor) -> None:
        came.append((parameter.numel() * parameter.element_size(), time.perf_counter()))

    hooks = [parameter.register_post_accumulate_grad_hook(note) for parameter in network.parameters()]
    images, targets = next(trainer.batches.epoch(0))
    loss = trainer.task.loss(network(images), targets)
    start = time.perf_counter()
    loss.backward()
    end = time.perf_counter()
    for hook in hooks:
        hook.remove()
    return [size for size, _ in came], [(at - start) / (end - start) for _, at in came]


def _crossed() -> int:
    """Bytes sent over the loopback device so far: all that processes of one machine send one another."""
    import psutil

    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent
