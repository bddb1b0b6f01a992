"""The command `python -m deeplense.benchmark`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import tyro

from deeplense.benchmark import familiar, growth, load, locate, online, processes, simulate, start, together, train
from deeplense.cli import parse
from deeplense.errors import run_command

Result = dict[str, Any]

BENCHMARKS: dict[type, tuple[Callable[[Any], Result], Callable[[Result], None]]] = {
    train.Train: (train.measure, train.show),
    start.Start: (start.measure, start.show),
    growth.Growth: (growth.measure, growth.show),
    load.Load: (load.measure, load.show),
    simulate.Simulate: (simulate.measure, simulate.show),
    online.Online: (online.measure, online.show),
    processes.Processes: (processes.measure, processes.show),
    locate.Locate: (locate.measure, locate.show),
    familiar.Familiar: (familiar.measure, familiar.show),
    together.All: (together.measure, together.show),
}
"""What measures by which settings, and what prints the result for a reader."""


def main() -> None:
    """Parse, measure, print."""
    commands = {kind.__name__.lower(): kind for kind in BENCHMARKS}
    arguments = sys.argv[1:]
    if arguments[:1] == ["--table"]:
        arguments = ["all", *arguments]  # nothing is measured, so no benchmark needs a name
    wanted: Any = parse(
        tyro.extras.subcommand_type_from_defaults({name: kind() for name, kind in commands.items()}),
        arguments,
        "Measurements of this machine: medians of several rounds, with their spread and the versions measured.",
    )
    measure, show = BENCHMARKS[type(wanted)]
    result = measure(wanted)
    if wanted.json is True:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    run_command(main)
