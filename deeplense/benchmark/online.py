"""What it costs to simulate every training batch afresh (`--online`) in place of training on stored images.

The training loop itself, on the same set, batch and size; the two take turns, and each has a warm-up that is not
counted.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.benchmark.measuring import SteppedBenchmark, about, heading, rates, shown


@dataclass(frozen=True)
class Online(SteppedBenchmark):
    """Time training on images that are simulated as they are needed, beside stored ones."""

    data: str = "model_i"
    """The simulated set."""
    image_size: int = 64
    """Pixels a side of what the network sees."""
    batch_size: int = 128
    """Images in a batch."""


def show(result: dict[str, Any]) -> None:
    """Print `result` for a reader."""
    settings = result["settings"]
    print(heading(result))
    print(
        f"{settings['data']} at {settings['image_size']} px, batch {settings['batch_size']}, precision "
        f"{result['precision']}, {settings['rounds']} rounds of {result['steps']} steps"
    )
    for name in ("stored", "online"):
        print(f"{name:7}{shown(result[name])} images/s")
    print(f"an online epoch takes {result['ratio']:.2f} times as long")


def measure(wanted: Online) -> dict[str, Any]:
    """Images/s of both, and how many times as long an online epoch takes."""
    import torch

    from deeplense.benchmark.contenders import Ours
    from deeplense.config import DataConfig, OptimizationConfig, SimulationConfig, TrackingConfig, TrainConfig
    from deeplense.data.simulated import simulated

    device = "cuda" if torch.cuda.is_available() else "cpu"
    steps = wanted.steps_on(device)
    count = steps * wanted.batch_size
    stored = TrainConfig(
        data=DataConfig(data=wanted.data, image_size=wanted.image_size),
        simulation=SimulationConfig(count=count, epoch_images=count),
        optimization=OptimizationConfig(batch_size=wanted.batch_size),
        tracking=TrackingConfig(wandb="disabled"),
    )
    online = dataclasses.replace(stored, simulation=dataclasses.replace(stored.simulation, online=True))
    images = simulated(wanted.data, min(count, 10_000), stored.simulation.classes, 0, device)
    seconds: dict[str, list[float]] = {"stored": [], "online": []}
    with tempfile.TemporaryDirectory() as nowhere:
        configs = {"stored": stored, "online": online}
        loops = {name: Ours(config, images, steps, Path(nowhere)) for name, config in configs.items()}
        for turn in range(wanted.rounds + 1):
            for name, loop in loops.items():
                took, _ = loop.run(steps)
                if turn:  # the first one warms up
                    seconds[name].append(took)
    measured = {name: rates(count, times) for name, times in seconds.items()}
    return about(wanted, device, "torch", "accelerate") | {
        "precision": loops["online"].trainer.accelerator.mixed_precision,
        "steps": steps,
        **measured,
        "ratio": measured["stored"]["median"] / measured["online"]["median"],
    }
