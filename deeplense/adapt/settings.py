"""What `python -m deeplense.adapt` can be told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deeplense.errors import InputError

FEWEST = 200
"""Images that a network can adapt to: statistics of fewer are mostly noise."""


@dataclasses.dataclass(frozen=True)
class AdaptConfig:
    """A run, and the images that it is to be made fit for."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run folder of a classifier. It stays as it is."""
    data: str
    """Images without labels, as for `evaluate.py`: a flat folder, or any other whose classes are not looked at."""
    name: str | None = None
    """The new run folder is OUTPUT_DIR/NAME; none: RUN-on-DATA."""
    output_dir: Path | None = None
    """none: where RUN is."""
    shares: tuple[float, ...] = ()
    """How the classes are shared out among the images, in the order of the run's classes; none: as in its training."""
    rounds: int = 8
    """Times that the network says what the images are and learns from it. 0: batch norm's statistics alone change."""
    lr: float = 3e-4
    """Learning rate of the first round; it falls to 0."""
    weight_decay: float = 0.05
    """Decoupled, as adamw has it."""
    smoothing: float = 0.1
    """Part of each guessed label that goes to all classes alike, since some of them are wrong."""
    batch_size: int = 64
    """Images of each kind in a step."""
    count: int = 4_000
    """Images of a simulated set."""
    simulation_seed: int = 1
    """Seed of a simulated set."""
    bad_images: Literal["error", "skip"] = "error"
    """An image that cannot be read: stop, or leave it out."""
    seed: int = 0
    """Order of the images and their augmentation."""

    def __post_init__(self) -> None:
        _require(bool(self.data), "--data is empty: give a folder or a packed set")
        _require(self.rounds >= 0, f"--rounds {self.rounds}: give 0 or more")
        _require(0 < self.lr < float("inf"), f"--lr {self.lr}: give a learning rate above 0")
        _require(0 <= self.smoothing < 1, f"--smoothing {self.smoothing}: give a part from 0 up to, not including, 1")
        _require(self.batch_size >= 2, f"--batch-size {self.batch_size}: give 2 or more (batch norm needs two)")
        _require(self.seed >= 0, f"--seed {self.seed}: give 0 or more")
        _require(
            not self.shares or (min(self.shares) > 0 and abs(sum(self.shares) - 1) < 0.01),
            f"--shares {' '.join(map(str, self.shares))}: give a part above 0 for each class, 1 together",
        )
        _require(
            self.name is None or (self.name not in ("", ".", "..") and Path(self.name).name == self.name),
            f"--name {self.name}: give the name of one folder, without slashes",
        )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InputError(message)
