"""All figures of the tables in one command of minutes, kept in one file with the machine that they are of.

Each benchmark is a process of its own, with settings that leave time for the others. The file is whole after each of
them, so that what is interrupted leaves what it has; and what was not measured is named there, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplense.benchmark.table import FORMAT, read, render
from deeplense.errors import InputError
from deeplense.files import write_json

Flags = list[str]


@dataclass(frozen=True)
class All:
    """Every benchmark, in minutes; or the tables of several machines from the files that this wrote there."""

    json: Path | None = None
    """Where the figures go; none: only their table, on standard output."""
    table: tuple[Path, ...] = ()
    """Measure nothing: render the tables of such files side by side."""
    data: str | None = None
    """A folder of class folders for those that load images; none: 2,000 simulated ones."""
    minutes: float = 8.0
    """Time for all of them together: what has none left is left out, and named."""
    only: tuple[str, ...] = ()
    """Of the benchmarks, these alone; none: all."""

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise InputError(f"--minutes {self.minutes:g}: give more than 0")
        if unknown := [name for name in self.only if name not in PARTS]:
            raise InputError(f"--only {unknown[0]}: there is no such benchmark; there are {', '.join(PARTS)}")
        if self.table and self.json:
            raise InputError("--table renders files that are there, --json makes one: give one of them")
        if self.json is not None and (self.json.is_dir() or not self.json.resolve().parent.is_dir()):
            raise InputError(
                f"--json {self.json}: is no file in a folder that is there: make the folder, or give another"
            )


PARTS: dict[str, tuple[Flags, Flags]] = {
    "train": (["--against", "report", "--steps", "6"], ["--against", "report", "tuned", "--steps", "50"]),
    "simulate": ([], ["--device", "cuda"]),
    "load": ([], []),
    "online": ([], ["--steps", "50"]),
    "start": ([], []),
    "processes": (["--steps", "2"], ["--steps", "2"]),
    "growth": (
        ["--counts", "1000", "10000", "--batch-sizes", "64", "128", "512", "--images", "512"],
        ["--counts", "1000", "100000", "--batch-sizes", "64", "128", "512", "1024", "4096", "--images", "16384"],
    ),
}
"""Benchmarks, the one that says most first, and their flags on a CPU and on a GPU."""
MOST = 0.6
"""Part of the time left that one of them may take, but the last one: a slow machine has figures of the others too."""


def measure(wanted: All) -> dict[str, Any]:
    """The results by benchmark, as each prints them, and what was left out; or what the files of `table` hold."""
    if wanted.table:
        return {"files": {str(file): read(file) for file in wanted.table}}
    import torch

    on_gpu, end = torch.cuda.is_available(), time.monotonic() + 60 * wanted.minutes
    found: dict[str, Any] = {"format": FORMAT, "results": {}, "left_out": {}}
    names = list(wanted.only or PARTS)
    for name in names:
        flags = PARTS[name][on_gpu]
        flags = flags + (["--data", wanted.data] if wanted.data and name in ("train", "load") else [])
        left = max(0.0, end - time.monotonic())
        print(f"{name}: {left / 60:.1f} minutes are left", file=sys.stderr, flush=True)
        result, reason = _run(name, flags, left if name == names[-1] else MOST * left)
        if result is None:
            found["left_out"][name] = reason
        else:
            found["results"][name] = result
        if wanted.json is not None:
            write_json(wanted.json, found)
    return {"files": {str(wanted.json or "here"): found}}


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(render(result["files"]))


def _run(name: str, flags: Flags, seconds: float) -> tuple[dict[str, Any] | None, str]:
    """What a benchmark prints; or None, and why."""
    if not seconds:
        return None, "no time was left"
    command = [sys.executable, "-m", "deeplense.benchmark", name, "--json", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, f"it took longer than its {seconds:.0f} s"
    finally:
        _end(process)
    if process.returncode:
        return None, (errors.strip().splitlines() or ["it failed"])[-1].removeprefix("error: ")
    found: dict[str, Any] = json.loads(output)
    return found, ""


def _end(process: subprocess.Popen[str]) -> None:
    """End what still runs, with the processes that it has started, as Ctrl-C does: temporary folders go with it."""
    for number in (signal.SIGINT, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)
