"""The command `python -m deeplense.export RUN --format {onnx,torch}`."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deeplense.cli import parse
from deeplense.errors import InputError, run_command

NEEDED = ("onnx", "onnxscript", "onnxruntime")
"""Packages of the extra `export`, without which there is no ONNX."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Which run, and how it is to be written."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run folder."""
    format: Literal["onnx", "torch"]
    """onnx: for ONNX Runtime, in any language. torch: for torch.export.load, without this program."""
    out: Path | None = None
    """The file to write, with its card beside it; none: RUN/export/model.onnx or model.pt2."""
    size: tuple[int, int] | None = None
    """Height and width of the images that it is to take, in pixels; none: those of the run's own images."""

    def __post_init__(self) -> None:
        if self.size is not None and not all(8 <= side <= 4096 for side in self.size):
            raise InputError(f"--size {self.size[0]} {self.size[1]}: give a height and a width from 8 to 4096 pixels")


DESCRIPTION = """Write a run's best weights for use without this program, and check them.

The file takes raw pixels, (N, C, H, W) in any number, and gives the probability of each class, (N, K), or, of a run
that locates, maps of subhalos, (N, 6, h, w): it normalises and resamples them as the run did. A card beside it says
what it is, how good it is, and how to call it.
"""


def main() -> None:
    """Refuse what can be refused at once, and only then import what takes seconds."""
    wanted = parse(Export, sys.argv[1:], DESCRIPTION)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if wanted.format == "onnx" and missing:
        raise InputError(
            f"--format onnx needs {', '.join(missing)}: give `pip install -e '.[export]'` first, or --format torch"
        )

    from deeplense.export.card import write_card
    from deeplense.export.write import export, output_of

    exported = export(wanted.run, wanted.format, wanted.out, wanted.size)
    card = write_card(wanted.run, exported)
    print(
        f"{exported.file}: its {output_of(exported.model)} differ from the program's own by "
        f"{exported.difference:.1e} at most, on {exported.checked} images of the run\n"
        f"what it is, and how to call it: {card}"
    )


if __name__ == "__main__":
    run_command(main)
