"""How the cost of training grows: with the number of images, the size of the batch, and the size of the image.

One at a time is changed, from 10,000 images, batches of 128 and 64 pixels. All settings take turns. Images that do not
fit on the device are read from the disk's cache, where the step before the timed ones has put them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.benchmark.measuring import Benchmark, about, heading, rates, shown
from deeplense.errors import InputError

COUNT, BATCH, SIZE = 10_000, 128, 64


@dataclass(frozen=True)
class Growth(Benchmark):
    """Time training against the number of images, the batch and the size of images."""

    counts: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Simulated images, which stay in the cache: a million takes 45 GB there."""
    batch_sizes: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    """Images in a batch."""
    image_sizes: tuple[int, ...] = (64, 150)
    """Pixels a side."""
    images: int = 1_024
    """Trained on in a round, or one batch where that is more."""
    compile: bool = False
    """Compile the network."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for flag, values in (("counts", self.counts), ("batch-sizes", self.batch_sizes)):
            if min(values, default=2) < 2:
                raise InputError(f"--{flag} {min(values)}: give 2 or more")
        if self.images < 1:
            raise InputError(f"--images {self.images}: give 1 or more")


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    print(heading(result))
    print(f"precision {result['precision']}; {COUNT:,} images, batch {BATCH}, {SIZE} px but for what is changed")
    for one in result["results"]:
        print(
            f"{one['count']:>9,} images, batch {one['batch_size']:>4}, {one['image_size']:>3} px: "
            f"{shown(one['images_per_second'])} images/s, images on the {one['placement']}"
        )


def measure(wanted: Growth) -> dict[str, Any]:
    """Images/s of each setting, and where the images were."""
    import torch

    from deeplense.benchmark.contenders import Ours
    from deeplense.config import ComputeConfig, DataConfig, OptimizationConfig, TrackingConfig, TrainConfig
    from deeplense.data.simulated import simulated

    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = [(count, BATCH, SIZE) for count in wanted.counts]
    settings += [(COUNT, batch, SIZE) for batch in wanted.batch_sizes]
    settings += [(COUNT, BATCH, size) for size in wanted.image_sizes]
    settings = list(dict.fromkeys(settings))
    seconds: dict[tuple[int, int, int], list[float]] = {setting: [] for setting in settings}
    placement: dict[tuple[int, int, int], str] = {}
    precision = ""
    for _ in range(wanted.rounds):
        for setting in settings:
            count, batch, size = setting
            steps = max(1, wanted.images // batch)
            with tempfile.TemporaryDirectory() as nowhere:
                images = simulated("model_i", count, ("no_sub", "sub"), 0, device)
                config = TrainConfig(
                    data=DataConfig(data="model_i", image_size=size),
                    optimization=OptimizationConfig(batch_size=batch),
                    compute=ComputeConfig(compile=wanted.compile or "auto"),
                    tracking=TrackingConfig(wandb="disabled"),
                )
                ours = Ours(config, images, steps, Path(nowhere))
                ours.run(steps)  # warms up
                took, _ = ours.run(steps)
            seconds[setting].append(took)
            placement[setting] = "host" if ours.trainer.store.on_device is None else "device"
            precision = ours.trainer.accelerator.mixed_precision
            del ours  # and its images, before the next ones come
    return about(wanted, device, "torch", "accelerate") | {
        "precision": precision,
        "results": [
            {
                "count": count,
                "batch_size": batch,
                "image_size": size,
                "images_per_second": rates(max(1, wanted.images // batch) * batch, seconds[count, batch, size]),
                "placement": placement[count, batch, size],
            }
            for count, batch, size in settings
        ],
    }
