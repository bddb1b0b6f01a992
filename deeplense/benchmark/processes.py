"""How training grows with processes on one machine's CPU: images per second, and the bytes that they exchange.

What runs is the training loop itself, on images of noise that are in memory. One process and several take turns, each
process with the same number of threads, so the figures say what another process adds, not what another core does.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.benchmark.measuring import Benchmark, about, heading, rates, shown, spread
from deeplense.errors import InputError


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


def measure(wanted: Processes) -> dict[str, Any]:
    """Rates, bytes a step, and the ratio of the medians."""
    seconds: dict[int, list[float]] = {1: [], wanted.processes: []}
    crossed: dict[int, list[float]] = {1: [], wanted.processes: []}
    for _ in range(wanted.rounds):
        for count in seconds:
            result = _round(wanted, count)
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
    one, several = (entry["images_per_second"]["median"] for entry in results)  # type: ignore[index]
    return about(wanted, "cpu", "torch", "accelerate") | {
        "gradient_bytes": result["gradient_bytes"],
        "results": results,
        "ratio": several / one,
    }


def _round(wanted: Processes, count: int) -> dict[str, float]:
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
    if accelerator.is_main_process:
        gradient = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
        result = {"seconds": time.perf_counter() - start, "bytes": _crossed() - before, "gradient_bytes": gradient}
        (folder / "result.json").write_text(json.dumps(result))
    accelerator.end_training()


def _crossed() -> int:
    """Bytes sent over the loopback device so far: all that processes of one machine send one another."""
    import psutil

    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent
