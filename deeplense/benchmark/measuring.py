"""What all measurements share: their rounds, rates with their spread, and on what they were measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.errors import InputError


@dataclass(frozen=True)
class Benchmark:
    """Settings of every benchmark."""

    rounds: int = 5
    """Timed turns of each thing that is measured."""
    json: bool = False
    """One JSON object on standard output in place of lines for readers."""

    def __post_init__(self) -> None:
        if self.rounds < 5:
            raise InputError(f"--rounds {self.rounds}: give 5 or more, else there is no spread to speak of")


@dataclass(frozen=True)
class SteppedBenchmark(Benchmark):
    """Settings of those that time training steps."""

    steps: int | None = None
    """Timed steps in a round; none: 10 on a CPU, 500 on a GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is not None and self.steps < 1:
            raise InputError(f"--steps {self.steps}: give 1 or more")

    def steps_on(self, device: str) -> int:
        """Timed steps in a round on `device`."""
        return self.steps or (10 if device == "cpu" else 500)


def about(wanted: Benchmark, device: str, *packages: str) -> dict[str, Any]:
    """What a result begins with: which benchmark, with which settings, on which hardware and versions."""
    return {
        "benchmark": type(wanted).__name__.lower(),
        "hardware": hardware(device),
        "versions": versions(*packages),
        "settings": {name: value for name, value in vars(wanted).items() if name != "json"},
    }


def heading(result: dict[str, Any]) -> str:
    """On what a result was measured, in a line."""
    return f"{result['hardware']}; " + ", ".join(f"{name} {version}" for name, version in result["versions"].items())


def rates(images: int, seconds: list[float]) -> dict[str, Any]:
    """Images a second of rounds that took `seconds` for `images` each: median and spread."""
    return spread([images / each for each in seconds]) | {"images": images}


def spread(values: list[float]) -> dict[str, Any]:
    """Median, lowest and highest of the rounds."""
    return {
        "median": statistics.median(values),
        "lowest": min(values),
        "highest": max(values),
        "rounds": len(values),
    }


def shown(rate: dict[str, Any], places: int = 0) -> str:
    """A median with its spread, for a table."""
    return f"{rate['median']:11,.{places}f}  ({rate['lowest']:,.{places}f} to {rate['highest']:,.{places}f})"


def versions(*packages: str) -> dict[str, str]:
    """Of Python and of `packages`."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def hardware(device: str) -> str:
    """The processor, and the GPU where there is one in play."""
    import torch  # here and not above: the settings of a benchmark are parsed without it

    cpu = f"{_cpu_name()}, {os.cpu_count()} cores"
    return cpu if device == "cpu" else f"{torch.cuda.get_device_name(device)} ({cpu})"


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def image_folder(data: str | None) -> Iterator[Path]:
    """A folder of class folders to measure on: `data`, or 2,000 simulated images, written as JPEG for that long."""
    if data is not None:
        if not Path(data).is_dir():
            raise InputError(f"--data {data}: there is no such folder")
        if not any(path.suffix.lower() in (".jpg", ".jpeg", ".png") for path in Path(data).glob("*/*")):
            raise InputError(f"--data {data}: has no class folders of .jpg or .png, which all loaders here can open")
        yield Path(data)
        return
    from PIL import Image

    from deeplense.data.mixed import Mixed
    from deeplense.data.simulated import simulated

    images = simulated("model_i", 2000, ("no_sub", "sub"), 0, "cpu")
    assert images.labels is not None
    assert not isinstance(images.pixels, Mixed)
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
