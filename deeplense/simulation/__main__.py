"""The command `python -m deeplense.simulation NAME --out DIR`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deeplense.cli import parse
from deeplense.errors import Stopped, run_command
from deeplense.simulation.sets import SUMMARIES, find_classes, find_set


@dataclass(frozen=True)
class Simulation:
    """Which images to make, and where to."""

    name: Annotated[str, tyro.conf.Positional]
    """The set; --list alone prints them all, with a line on each."""
    out: Path
    """The folder to write; one that holds the same set is gone on with."""
    count: int = 10_000
    """Images of all classes together, in equal parts."""
    classes: tuple[str, ...] = ("no_sub", "cdm")
    """Of no_sub, cdm (written sub where there are two classes) and axion."""
    seed: int = 0
    """Another seed gives other images."""
    format: Literal["packed", "folders"] = "packed"
    """packed: dataset.json, images.npy, catalog.csv, subhalos.csv. folders: a folder a class, a .npy an image."""
    snr: bool = False
    """Also the signal-to-noise ratio of the substructure, and of each subhalo, with lens and source fitted: a column
    of catalog.csv and of subhalos.csv. It takes tens of times as long."""


DESCRIPTION = """Simulate a set of strong-lens images, with the truth about each.

An interrupted command goes on where it was when it is given again. samples.png in the folder shows what was made.
`python -m deeplense.simulation --list` prints the sets.
"""


def main() -> None:
    """Refuse what can be refused at once, and only then import what takes seconds."""
    if sys.argv[1:] == ["--list"]:
        width = max(map(len, SUMMARIES))
        print("\n".join(f"{name:{width}}  {summary}" for name, summary in SUMMARIES.items()))
        return
    wanted = parse(Simulation, sys.argv[1:], DESCRIPTION)
    find_set(wanted.name)
    find_classes(wanted.classes)

    import torch

    from deeplense.simulation.figures import draw_samples
    from deeplense.simulation.files import finished_images
    from deeplense.simulation.write import simulate_set

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        simulate_set(
            wanted.name, wanted.out, wanted.count, wanted.classes, wanted.seed, device, wanted.format, snr=wanted.snr
        )
    except KeyboardInterrupt:
        raise Stopped(
            f"--out {wanted.out}: {finished_images(wanted.out)} of {wanted.count} images are there: "
            "give the same command again to go on"
        ) from None
    draw_samples(wanted.name, wanted.out / "samples.png", wanted.classes, wanted.seed, device)
    print(f"{wanted.out}: {finished_images(wanted.out)} images; look at {wanted.out / 'samples.png'}")


if __name__ == "__main__":
    run_command(main)
