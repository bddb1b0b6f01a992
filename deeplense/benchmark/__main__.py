"""The command `python -m deeplense.benchmark`."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import tyro

from deeplense.benchmark import growth, load, processes, simulate, start, train
from deeplense.cli import parse
from deeplense.errors import run_command

BENCHMARKS: dict[type, ModuleType] = {
    train.Train: train,
    start.Start: start,
    growth.Growth: growth,
    load.Load: load,
    simulate.Simulate: simulate,
    processes.Processes: processes,
}
"""Whose `measure` makes the result of which settings, and whose `show` prints it for a reader."""


def main() -> None:
    """Parse, measure, print."""
    commands = {kind.__name__.lower(): kind for kind in BENCHMARKS}
    wanted: Any = parse(
        tyro.extras.subcommand_type_from_defaults({name: kind() for name, kind in commands.items()}),
        sys.argv[1:],
        "Measurements of this machine: medians of several rounds, with their spread and the versions measured.",
    )
    benchmark = BENCHMARKS[type(wanted)]
    result = benchmark.measure(wanted)
    if wanted.json:
        print(json.dumps(result))
    else:
        benchmark.show(result)


if __name__ == "__main__":
    run_command(main)
