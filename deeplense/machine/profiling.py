"""Where the time of a step goes: a trace of some steps, for ui.perfetto.dev and TensorBoard."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule, tensorboard_trace_handler

SETTLING = 5
"""Steps before the trace begins, in which kernels are chosen and compiled."""

WARMING = 2
"""Steps that the profiler itself needs before its first."""

UNTRACED = SETTLING + WARMING


def tracing(steps: int, folder: Path, rank: int) -> AbstractContextManager[Any]:
    """A profiler that wants a `step()` after each step and writes `steps` of them to `folder`; None if that is 0."""
    if not steps:
        return nullcontext()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])
    return profile(
        activities=activities,
        schedule=schedule(skip_first=SETTLING, wait=0, warmup=WARMING, active=steps, repeat=1),
        on_trace_ready=tensorboard_trace_handler(str(folder), worker_name=f"process{rank}"),
        record_shapes=True,
    )
