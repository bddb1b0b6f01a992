"""How fast this package trains, beside what a user would run instead.

The same images, network (ResNet-18, one channel), training batch and precision for all; each has a process
of its own, as a user would have it, and they take turns, so that whatever else the machine does falls on all of them.
Each has a warm-up that is not counted. Loaders with workers start a round with batches that are ready: few steps in a
round would be a present to them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from deeplense.benchmark.measuring import SteppedBenchmark, about, heading, image_folder, rates, shown, spread

if TYPE_CHECKING:
    from deeplense.benchmark.contenders import Contender

Name = Literal["report", "tuned", "timm"]


@dataclass(frozen=True)
class Train(SteppedBenchmark):
    """Time training and scoring, beside the loops that people write."""

    data: str | None = None
    """A folder of class folders of images that PIL opens; none: 2,000 simulated ones, written as JPEG."""
    against: tuple[Name, ...] = ("report", "tuned", "timm")
    """report: the common-task report's way. tuned: with workers, pinned memory, channels-last. timm: its loader."""
    image_size: int = 64
    """Pixels a side."""
    batch_size: int = 128
    """Images in a training batch, and in a scored one of the others; ours are scored as the device likes it."""
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """For all of them. auto: fp16 on CUDA, bf16 on a CPU that has it."""
    compile: bool = False
    """Compile our network, which theirs are not."""


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    settings = result["settings"]
    print(heading(result))
    print(
        f"{settings['image_size']} px, batch {settings['batch_size']}, precision {result['precision']}, "
        f"{settings['rounds']} rounds of {result['steps']} steps"
    )
    ours = result["results"]["deeplense"]
    for name, one in result["results"].items():
        memory = "" if one["step_memory_bytes"] is None else f", {one['step_memory_bytes'] / 2**30:.2f} GiB a step"
        print(f"{name:10}{one['what']}")
        for kind in ("training", "scoring"):
            ratio = ours[kind]["median"] / one[kind]["median"]
            print(
                f"  {kind:8}{shown(one[kind])} images/s"
                + (
                    f", {one['waiting']['median']:.0%} of it for batches, {one['flops_per_second'] / 1e12:.3g} TFLOP/s"
                    f"{memory}"
                    if kind == "training"
                    else ""
                )
                + ("" if name == "deeplense" else f"; deeplense {ratio:.2f} times as fast")
            )
    print(f"a product of two matrices reaches {result['matrix_flops_per_second'] / 1e12:.3g} TFLOP/s here")


def measure(wanted: Train) -> dict[str, Any]:
    """Images/s of training and scoring, share of the time that goes into batches, FLOP/s, memory above data and model.

    The memory is that of a GPU; on a CPU it is None.
    """
    import torch

    from deeplense.benchmark.apart import apart
    from deeplense.benchmark.contenders import CONTENDERS, our_loop, require_timm
    from deeplense.config import ComputeConfig, DataConfig, OptimizationConfig, RunConfig, TrackingConfig, TrainConfig
    from deeplense.machine.precision import effective_precision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = wanted.steps_on(device)
    count = wanted.batch_size * steps
    if "timm" in wanted.against:
        require_timm()
    with image_folder(wanted.data) as folder, tempfile.TemporaryDirectory() as nowhere, ExitStack() as processes:
        config = TrainConfig(
            data=DataConfig(data=str(folder), image_size=wanted.image_size),
            optimization=OptimizationConfig(batch_size=wanted.batch_size),
            compute=ComputeConfig(mixed_precision=wanted.mixed_precision, compile=wanted.compile or "auto"),
            run=RunConfig(output_dir=nowhere),
            tracking=TrackingConfig(wandb="disabled"),
        )
        ways: dict[str, Callable[[], Contender]] = {"deeplense": partial(our_loop, config, steps)}
        ways |= {name: partial(CONTENDERS[name], config) for name in wanted.against}
        contenders = {name: processes.enter_context(apart(name, make)) for name, make in ways.items()}
        training: dict[str, list[float]] = {name: [] for name in contenders}
        waiting: dict[str, list[float]] = {name: [] for name in contenders}
        scoring: dict[str, list[float]] = {name: [] for name in contenders}
        memory: dict[str, int | None] = {}
        for turn in range(wanted.rounds + 1):
            for name, contender in contenders.items():
                time.sleep(0.5)  # workers of the one before fill their queues
                took, waited, memory[name] = contender.run(steps)
                scored = contender.score(count)
                if turn:  # the first one warms up
                    training[name].append(took)
                    waiting[name].append(waited / took)
                    scoring[name].append(scored)
    flops = flops_of_an_image(wanted.image_size)
    results = {
        name: {
            "what": contender.what,
            "training": rates(count, training[name]),
            "waiting": spread(waiting[name]),
            "flops_per_second": rates(count, training[name])["median"] * flops,
            "step_memory_bytes": memory[name],
            "scoring": rates(count, [count * each for each in scoring[name]]),
        }
        for name, contender in contenders.items()
    }
    precision = effective_precision(wanted.mixed_precision, torch.device(device))
    packages = ["torch", "torchvision", "accelerate", *(["timm"] if "timm" in wanted.against else [])]
    return about(wanted, device, *packages) | {
        "precision": precision,
        "steps": steps,
        "flops_of_an_image": flops,
        "matrix_flops_per_second": matrix_flops(precision, device),
        "results": results,
    }


def flops_of_an_image(size: int) -> int:
    """Floating-point operations of one training image of `size` pixels a side: forward and backward, counted.

    Of the plain network, for all: work that somebody saves counts as done.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from deeplense.network.model import build_model

    model = build_model(2, 1)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(2, 1, size, size)).sum().backward()
    return counter.get_total_flops() // 2


def matrix_flops(precision: str, device: str) -> float:
    """FLOP/s of a product of square matrices in `precision`: the best of several, as a ceiling for this machine."""
    import torch

    side, kind = (8192 if device == "cuda" else 2048), {"fp16": torch.float16, "bf16": torch.bfloat16}
    one = torch.randn(side, side, device=device, dtype=kind.get(precision, torch.float32))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        one @ one
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
