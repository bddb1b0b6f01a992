"""The command `python -m deeplense.benchmark`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tyro

from deeplense.benchmark import processes, simulate, train
from deeplense.cli import parse
from deeplense.errors import run_command

BENCHMARKS: dict[type, Callable[[Any], None]] = {
    train.Train: train.main,
    simulate.Simulate: simulate.main,
    processes.Processes: processes.main,
}
"""What each subcommand's settings are handed to; the subcommand has the name of the dataclass."""


def main() -> None:
    """Parse, measure, print."""
    commands = {kind.__name__.lower(): kind for kind in BENCHMARKS}
    wanted: Any = parse(
        tyro.extras.subcommand_type_from_defaults({name: kind() for name, kind in commands.items()}),
        sys.argv[1:],
        "Measurements of this machine: medians of several rounds, with their spread and the versions measured.",
    )
    BENCHMARKS[type(wanted)](wanted)


if __name__ == "__main__":
    run_command(main)
