"""The tasks that there are, by the name that `--task` gives them, and the run folders that hold them."""

from __future__ import annotations

import importlib
from pathlib import Path

from deeplense.cli import load_config
from deeplense.config import TrainConfig
from deeplense.errors import InputError
from deeplense.evaluation.best import best_folder
from deeplense.task import Task, Trained, load_trained

TASKS = {
    "classify": "deeplense.classification.task:Classification",
    "locate": "deeplense.localisation.task:Localisation",
}
"""Where the class of each task is: imported when it is needed."""


def find_task(name: str) -> type[Task]:
    """The task called `name`. Raises `InputError` if there is none."""
    if name not in TASKS:
        raise InputError(f"--task {name}: there is no such task; there are {', '.join(TASKS)}")
    module, kind = TASKS[name].split(":")
    found: type[Task] = getattr(importlib.import_module(module), kind)
    return found


def make_task(config: TrainConfig, classes: tuple[str, ...]) -> Task:
    """The task of a run on images of `classes`. Raises `InputError` if its settings do not fit them."""
    return find_task(config.task)(config, classes)


def load_run(run: Path) -> Trained:
    """The best weights of a run, on the CPU, with all that is needed to use them.

    Raises:
        InputError: there are none, or they are damaged.
    """
    best_folder(run)  # a folder that is no run has no settings either, but this says it better
    config = load_config(run / "config.json")
    return load_trained(run, config, find_task(config.task))
