"""What all measurements share: rates with their spread, and on what they were measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from pathlib import Path
from typing import Any


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


def versions(*packages: str) -> dict[str, str]:
    """Of Python and of `packages`."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def hardware(device: str) -> str:
    """The processor, and the GPU where there is one in play."""
    import torch  # here and not above: the settings of a benchmark are parsed without it

    cpu = f"{_cpu_name()}, {os.cpu_count()} cores"
    return cpu if device == "cpu" else f"{torch.cuda.get_device_name(device)} ({cpu})"


def _cpu_name() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
