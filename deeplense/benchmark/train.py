"""How fast this package trains, beside what a user would run instead.

The same images, network (ResNet-18, one channel), batch and precision for all; they take turns in one process, so that
whatever else the machine does falls on all of them. Each has a warm-up that is not counted.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deeplense.benchmark.measuring import hardware, rates, spread, versions
from deeplense.errors import InputError

if TYPE_CHECKING:
    pass

Name = Literal["report", "tuned", "timm"]


@dataclass(frozen=True)
class Train:
    """Time training, beside the loops that people write."""

    data: str | None = None
    """A folder of class folders of images that PIL opens; none: 2,000 simulated ones, written as JPEG."""
    against: tuple[Name, ...] = ("report", "tuned", "timm")
    """report: the common-task report's way. tuned: with workers, pinned memory, channels-last. timm: its loader."""
    image_size: int = 64
    """Pixels a side."""
    batch_size: int = 128
    """Images in a batch."""
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """For all of them. auto: fp16 on CUDA, bf16 on a CPU that has it."""
    compile: bool = False
    """Compile our network, which theirs are not."""
    steps: int = 10
    """Timed steps in a round."""
    rounds: int = 5
    """Timed turns of each."""
    json: bool = False
    """One JSON object on standard output in place of a table."""

    def __post_init__(self) -> None:
        if self.rounds < 5:
            raise InputError(f"--rounds {self.rounds}: give 5 or more, else there is no spread to speak of")
        if self.steps < 1:
            raise InputError(f"--steps {self.steps}: give 1 or more")


def main(wanted: Train) -> None:
    """Measure and print."""
    result = measure(wanted)
    if wanted.json:
        print(json.dumps(result))
        return
    print(f"{result['hardware']}; " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()))
    print(
        f"{wanted.image_size} px, batch {wanted.batch_size}, precision {result['precision']}, {wanted.rounds} rounds "
        f"of {wanted.steps} steps"
    )
    ours = result["results"]["deeplense"]["images_per_second"]["median"]
    for name, one in result["results"].items():
        rate = one["images_per_second"]
        memory = "" if one["step_memory_bytes"] is None else f", {one['step_memory_bytes'] / 2**30:.2f} GiB a step"
        print(
            f"{name:10} {rate['median']:11,.1f} images/s  ({rate['lowest']:,.1f} to {rate['highest']:,.1f}), "
            f"{one['waiting']['median']:4.0%} of it for batches, {one['flops_per_second'] / 1e12:.3g} TFLOP/s{memory}"
            + ("" if name == "deeplense" else f", {ours / rate['median']:.2f} times slower than deeplense")
        )
        print(f"           {one['what']}")
    print(f"a product of two matrices reaches {result['matrix_flops_per_second'] / 1e12:.3g} TFLOP/s here")


def measure(wanted: Train) -> dict[str, Any]:
    """Rates in images/s, share of the time that goes into batches, FLOP/s, and device memory above data and model."""
    import torch

    from deeplense.benchmark.contenders import CONTENDERS, Contender, Ours
    from deeplense.config import ComputeConfig, DataConfig, OptimizationConfig, TrackingConfig, TrainConfig

    device = "cuda" if torch.cuda.is_available() else "cpu"
    with _images(wanted.data) as folder, tempfile.TemporaryDirectory() as nowhere:
        config = TrainConfig(
            data=DataConfig(data=str(folder), image_size=wanted.image_size),
            optimization=OptimizationConfig(batch_size=wanted.batch_size),
            compute=ComputeConfig(mixed_precision=wanted.mixed_precision, compile=wanted.compile),
            tracking=TrackingConfig(wandb="disabled"),
        )
        ours = Ours(config, wanted.steps, Path(nowhere))
        contenders: dict[str, Contender] = {"deeplense": ours}
        contenders |= {name: CONTENDERS[name](config) for name in wanted.against}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        waiting: dict[str, list[float]] = {name: [] for name in contenders}
        memory: dict[str, int | None] = dict.fromkeys(contenders)
        for contender in contenders.values():
            contender.run(wanted.steps)
        for _ in range(wanted.rounds):
            for name, contender in contenders.items():
                if device == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                    held = torch.cuda.memory_allocated()
                took, waited = contender.run(wanted.steps)
                seconds[name].append(took)
                waiting[name].append(waited / took)
                if device == "cuda":
                    memory[name] = torch.cuda.max_memory_allocated() - held
    images = wanted.batch_size * wanted.steps
    flops = flops_of_an_image(wanted.image_size)
    results = {}
    for name, contender in contenders.items():
        rate = rates(images, seconds[name])
        results[name] = {
            "what": contender.what,
            "images_per_second": rate,
            "waiting": spread(waiting[name]),
            "flops_per_second": rate["median"] * flops,
            "step_memory_bytes": memory[name],
        }
    precision = ours.trainer.accelerator.mixed_precision
    return {
        "benchmark": "train",
        "hardware": hardware(device),
        "versions": versions("torch", "torchvision", "accelerate", *(["timm"] if "timm" in wanted.against else [])),
        "settings": {name: value for name, value in vars(wanted).items() if name != "json"},
        "precision": precision,
        "flops_of_an_image": flops,
        "matrix_flops_per_second": matrix_flops(precision, device),
        "results": results,
    }


@contextmanager
def _images(data: str | None) -> Iterator[Path]:
    """The folder of class folders to train on; simulated into a temporary one if there is none."""
    if data is not None:
        yield Path(data)
        return
    from PIL import Image

    from deeplense.data.simulated import simulated

    images = simulated("model_i", 2000, ("no_sub", "sub"), 0, "cpu")
    assert images.labels is not None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in images.classes:
            (folder / name).mkdir()
        for index, label in enumerate(images.labels):
            image = images.pixels[index, 0].astype("float32")
            low, high = image.min(), image.max()
            grey = ((image - low) / (high - low) * 255).astype("uint8")
            Image.fromarray(grey).save(folder / images.classes[label] / f"{index}.jpg", quality=95)
        yield folder


def flops_of_an_image(size: int) -> int:
    """Floating-point operations of one training image of `size` pixels a side: forward and backward, counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from deeplense.model import build_model

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
