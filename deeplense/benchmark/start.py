"""How long it takes from the command to the first optimiser step, and how much memory training wants.

The whole command, `accelerate launch train.py`, on 8,000 simulated images that are in the cache; a short epoch of four
steps, which logs each of them, so the first line of the log is the end of the first step. All but the last run are cut
off there; that one goes on to its end, the scores of the other images included, for its memory.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.benchmark.measuring import Benchmark, about, heading, shown, spread
from deeplense.errors import InputError

IMAGES, STEPS = 8_000, 4


@dataclass(frozen=True)
class Start(Benchmark):
    """Time a launch to its first step, and weigh its memory."""

    image_size: int = 64
    """Pixels a side."""
    batch_size: int = 128
    """Images in a batch; up to 1,000."""
    compile: bool = False
    """With --compile."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.batch_size <= 1000:
            raise InputError(f"--batch-size {self.batch_size}: give 2 to 1000")


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    print(heading(result))
    print(f"launch to first step {shown(result['seconds_to_first_step'], 1)} s")
    print(
        f"peak memory {result['peak_memory_gib']:.2f} GiB, of it {result['images_gib']:.2f} of images and "
        f"{result['network_gib']:.2f} of network, gradient and optimiser"
    )


def measure(wanted: Start) -> dict[str, Any]:
    """Seconds to the first step, and peak memory of the process: of the GPU where there is one."""
    import torch

    from deeplense.data.mixed import Mixed
    from deeplense.data.simulated import simulated
    from deeplense.network.model import build_model

    images = simulated("model_i", IMAGES, ("no_sub", "sub"), 0, "cpu")  # into the cache
    _launch(wanted)  # warms the disk's cache up
    seconds = [_launch(wanted)[0] for _ in range(wanted.rounds - 1)]
    last, peak = _launch(wanted, to_its_end=True)
    parameters = sum(parameter.numel() for parameter in build_model(2, 1).parameters())
    assert not isinstance(images.pixels, Mixed)
    on_device = images.pixels.size * 2  # float16
    return about(wanted, "cuda" if torch.cuda.is_available() else "cpu", "torch", "accelerate") | {
        "seconds_to_first_step": spread([*seconds, last]),
        "peak_memory_gib": peak / 2**30,
        "images_gib": on_device / 2**30,
        "network_gib": 4 * 4 * parameters / 2**30,  # weights, gradient, two moments of Adam, float32
    }


def _launch(wanted: Start, to_its_end: bool = False) -> tuple[float, float]:
    """One run of one epoch: seconds to the first line of its log, and, at its end, its peak memory in bytes."""
    part = wanted.batch_size * STEPS / IMAGES
    held_out = 1 - part - 0.5 / IMAGES  # half an image to spare: the parts are rounded
    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "data": "model_i",
            "count": IMAGES,
            "val-fraction": 0.02,
            "test-fraction": held_out - 0.02,
            "image-size": wanted.image_size,
            "batch-size": wanted.batch_size,
            "init": "random",
            "epochs": 1,
            "wandb": "disabled",
            "output-dir": folder,
            "name": "start",
        }
        command = [sys.executable, "-m", "accelerate.commands.launch", "train.py", "report"]
        command += [item for name, value in flags.items() for item in (f"--{name}", str(value))]
        command += ["--compile"] if wanted.compile else []
        log = Path(folder) / "start" / "metrics.jsonl"
        start = time.perf_counter()
        said = Path(folder) / "said"
        with said.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        seconds = None
        while process.poll() is None and (seconds is None or to_its_end):
            if seconds is None and log.exists() and log.stat().st_size:
                seconds = time.perf_counter() - start
            time.sleep(0.01)
        if seconds is None or process.returncode:
            raise InputError(f"the run failed; in the project's folder? it said: {said.read_text().strip()[-500:]}")
        if not to_its_end:
            os.killpg(process.pid, signal.SIGKILL)  # the launcher and what it launched
            process.wait()
            return seconds, 0.0
        return seconds, json.loads((Path(folder) / "start" / "summary.json").read_text())["peak_memory_bytes"]
