"""In which way the steps of a run are to be run: what compiling and capturing cost, and what they save.

Estimates for an H100, from sizes of layers and the time that a launch takes: nothing here was measured on a GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import torch

CAPTURE_SECONDS, CAPTURE_SAVES = 1.0, 1.5e-3
"""What it takes to capture a step, and what each one then is faster by: some 300 launches become one."""

COMPILE_SECONDS, COMPILE_SAVES, COMPILE_SAVES_A_PIXEL = 60.0, 0.3e-3, 0.8e-6 / 64**2
"""What it takes to compile a network for training and validation, and what a step is then faster by: small kernels
become fewer, and activations are written once less for each pixel of the batch."""


@dataclasses.dataclass(frozen=True)
class Way:
    """How a step is run."""

    compiled: bool = False
    captured: bool = False
    said: str = ""
    """Why, in a line; empty where there was no choice."""


EAGERLY = Way()


def choose(
    asked: bool | Literal["auto"],
    device: torch.device,
    processes: int,
    steps: int,
    pixels: int,
    why_not: Callable[[str], str | None],
) -> tuple[Way, str | None]:
    """The way of a run, and, where it was asked for another, why that is not to be had.

    Args:
        asked: `--compile`.
        processes: that train together. What they exchange is not captured.
        steps: that are left.
        pixels: of all images of a batch, as the network sees them.
        why_not: the reason why nothing can be compiled for a type of device, if there is one; asked if need be.
    """
    alone_on_gpu = device.type == "cuda" and processes == 1
    if asked is False or (asked == "auto" and device.type != "cuda"):
        return EAGERLY, None
    saves = steps * (COMPILE_SAVES + COMPILE_SAVES_A_PIXEL * pixels)
    captured = alone_on_gpu and (asked is True or steps * CAPTURE_SAVES > CAPTURE_SECONDS)
    reason = why_not(device.type) if asked is True or saves > COMPILE_SECONDS else None
    compiled = (asked is True or saves > COMPILE_SECONDS) and reason is None
    return Way(compiled, captured, _said(asked, compiled, captured, steps, saves)), reason


def _said(asked: bool | str, compiled: bool, captured: bool, steps: int, saves: float) -> str:
    how = {(True, True): "compiled, captured", (True, False): "compiled", (False, True): "captured"}
    way = how.get((compiled, captured), "run eagerly")
    if asked is True:
        return f"{way} (--compile)"
    capture = f"capturing saves some {_time(steps * CAPTURE_SAVES)} and takes {_time(CAPTURE_SECONDS)}"
    compile_ = f"compiling {_time(saves)} and {_time(COMPILE_SECONDS)}"
    return f"{way}: for {steps:,} of them {capture}, {compile_} (estimated; --compile, --no-compile)"


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
