"""The seam: all that the loop, the checkpoints and the commands know of what a network is trained for.

A task is a folder of the package with a `Task` in it, and a line in `tasks.py`. The loop, DDP, checkpoints, resume, the
moving average, SLURM and W&B are written once, in `training/` and `tracking/`, and ask a task for the rest.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from deeplense.config import EvaluateConfig, TrainConfig
from deeplense.data.batches import PixelStore, Targets
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.errors import InputError
from deeplense.evaluation.best import load_best, read_best
from deeplense.evaluation.card import Card
from deeplense.evaluation.familiar import read_familiarity
from deeplense.scores.familiarity import Familiarity
from deeplense.tracking.tracker import Tracker

if TYPE_CHECKING:
    from accelerate import Accelerator

    from deeplense.simulation.draw import Draws


@dataclasses.dataclass(frozen=True)
class Headline:
    """The validation score that chooses the weights."""

    name: str
    """In `metrics.jsonl` and `summary.json` it stands as `val_NAME`."""
    words: str
    """For figures."""
    best: float | None = None
    """Its best possible value: figures show what is missing to it, on a logarithmic axis."""


@dataclasses.dataclass(frozen=True)
class Said:
    """What the network says of validation images."""

    outputs: torch.Tensor
    """(n, ...) float32, on the device."""
    images: ImageSet
    indices: np.ndarray
    """(n,) of them."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """Images that a run is to be scored on."""

    images: ImageSet
    indices: np.ndarray
    """(n,) of them."""
    store: PixelStore
    """Their pixels, treated as the run's own."""
    title: str
    """Of figures and pages."""
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What `metrics.json` is to say of the choice."""


class Evaluation(ABC):
    """What came of scoring a run; its files are written."""

    scores: dict[str, Any]
    """As in `metrics.json`; empty where nothing is known of the images."""

    @abstractmethod
    def said(self) -> str:
        """The scores in a few lines."""

    def track(self, tracker: Tracker, part: str, step: int) -> None:
        """Hand the scores, with curves and tables, to W&B."""
        tracker.log_numbers(part, self.scores, step)


class Task(ABC):
    """What a network is trained for, with the settings of a run and the classes of its images.

    Raises:
        InputError: (when it is made) the settings do not fit the classes.
    """

    name: ClassVar[str]
    """`--task`."""
    headline: ClassVar[Headline]
    card_type: ClassVar[type[Card]] = Card
    """What is kept in `best/model.json`."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Other tasks whose runs may stand beside one of this in a comparison."""
    watched: ClassVar[tuple[str, ...]] = ()
    """Early stages of the network, in the order in which they are called, that tell whether an image looks like those
    that a run knows: names of submodules that give maps (B, K, H, W). Empty: the task has no familiarity."""

    def __init__(self, config: TrainConfig, classes: tuple[str, ...]) -> None:
        self.config = config
        self.classes = classes

    # ---- training ----------------------------------------------------------------------------------------------

    def look_at(self, images: ImageSet) -> None:  # noqa: B027 - most tasks have nothing to see
        """See the images of a run that is to be trained, before its network is made and anything is written.

        Raises:
            InputError: the set does not have what is to be learned.
        """

    def about(self, images: ImageSet, split: Split) -> dict[str, str]:
        """What is to be known of the images before training, by a word each: lines beside the loop's own."""
        return {}

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """The network with random weights from torch's generator, on the CPU: (B, C, S, S) to one tensor (B, ...)."""

    @abstractmethod
    def targets(self, images: ImageSet, device: torch.device) -> Targets:
        """What the network is to say of stored images, as they are turned by augmentation.

        Raises:
            InputError: the set does not have what is to be learned.
        """

    @abstractmethod
    def drawn_targets(self, draws: Draws, maps: torch.Tensor) -> Any:
        """The same of images that were simulated just now (`--online`), turned by `maps` (B, 2, 3)."""

    @abstractmethod
    def loss(self, outputs: torch.Tensor, targets: Any) -> torch.Tensor:
        """Mean over the batch, (). Under DDP and accumulation the means of equal parts are averaged."""

    def captions(self, targets: Any, count: int) -> list[str]:
        """A word for each of the `count` images of a batch, by which a figure of it has its rows."""
        return ["images"] * count

    # ---- choosing the weights ----------------------------------------------------------------------------------

    @abstractmethod
    def scores(self, said: Said) -> dict[str, float]:
        """Validation scores, `loss` and the headline's among them."""

    @abstractmethod
    def rank(self, scores: dict[str, float]) -> tuple[float, ...]:
        """By what weights are chosen: the larger tuple is better. Its first number alone is what `--patience` is of."""

    @abstractmethod
    def told(self, scores: dict[str, float]) -> str:
        """The validation scores beside the loss, in half a line."""

    def card(self, epoch: int, said: Said | None, scores: dict[str, float]) -> Card:
        """What is to be kept with the weights after `epoch` epochs; None: there are no validation images."""
        return self.card_type.of(self.config, self.classes, epoch)

    # ---- using the weights -------------------------------------------------------------------------------------

    @abstractmethod
    def evaluate(
        self,
        trained: Trained,
        scored: Scored,
        folder: Path,
        accelerator: Accelerator | None = None,
        asked: EvaluateConfig | None = None,
    ) -> Evaluation | None:
        """Score images, and write `folder` in place of an earlier evaluation of the same name, whole.

        Args:
            trained: the run, with its network on the device of the scored pixels.
            accelerator: of several processes: all predict, and the first one writes and returns what came of it.
            asked: the flags of `evaluate.py`; None: at the end of training.
        """

    def study(self, trained: Trained, asked: EvaluateConfig) -> bool:
        """Do what else `evaluate.py` was asked for instead of scoring; False: nothing else was."""
        return False

    def compare(self, runs: Sequence[Trained], asked: EvaluateConfig) -> None:
        """Find out which of several runs of this task is better, write it down, and say it.

        Raises:
            InputError: nobody has said how runs of this task are compared.
        """
        raise InputError(
            f"runs of --task {self.name} cannot be compared yet: score them one by one, on the same --data"
        )


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run whose weights are used."""

    folder: Path
    config: TrainConfig
    task: Task
    network: torch.nn.Module
    """With its best weights, in evaluation mode."""
    card: Card
    familiarity: Familiarity | None = None
    """What its images look like; None: it was made before that was kept, has not ended, or has too few images."""


def load_trained(run: Path, config: TrainConfig, kind: type[Task]) -> Trained:
    """The best weights of the run of a task, on the CPU, with all that is needed to use them.

    Raises:
        InputError: there are none, or they are damaged.
    """
    folder, weights, card = read_best(run, kind.card_type)
    task = kind(config, card.classes)
    network = load_best(task.network(), folder, weights)
    return Trained(run, config, task, network, card, read_familiarity(folder))
