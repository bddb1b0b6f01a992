"""Score runs: `python evaluate.py RUN [RUN ...] [--data WHERE] [--split test|val|train|all] [--flag value ...]`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from deeplense.cli import parse
from deeplense.config import EvaluateConfig
from deeplense.errors import InputError, run_command

if TYPE_CHECKING:
    from deeplense.task import Trained

DESCRIPTION = """Score a run: on the part of its own images that it has not learned from, or on other images.

Images that the run was trained on, or that chose its weights, are refused. Unlabelled images (--data with a flat
folder) get predictions only. Results are in RUN/evaluation/NAME.

Several runs are compared: on the test images that they share or on those at --data, without any image that one
of them has learned from. Results are in comparison/NAME beside the first run.
"""


def main(config: EvaluateConfig) -> None:
    """One run is scored, or asked what else its task can say; several are compared."""
    # Here and not above: torch takes seconds to import, and --help should not wait for it.
    from deeplense.evaluation.scored import without_comparisons
    from deeplense.tasks import load_run

    config = without_comparisons(config)
    runs = [load_run(run) for run in config.runs]
    first = runs[0]
    for run in runs:
        if run.config.task not in (first.config.task, *first.task.beside):
            raise InputError(
                f"{run.folder} was trained to {run.config.task}, and {first.folder} to {first.config.task}: "
                "compare runs of one task"
            )
    if len(runs) > 1:
        first.task.compare(runs, config)
    elif not first.task.study(first, config):
        score_run(first, config)


def score_run(run: Trained, config: EvaluateConfig) -> None:
    """The story of scoring a run."""
    from deeplense.evaluation.predict import scoring_device
    from deeplense.evaluation.scored import choose_images, name_of
    from deeplense.task import Scored

    name = name_of(config)
    images, indices, about = choose_images(run.folder, run.card, run.config, config)
    device = scoring_device()
    run.network.to(device)
    scored = Scored(images, indices, run.card.store(images, device), f"{run.folder.name} on {name}", about)
    folder = run.folder / "evaluation" / name
    evaluation = run.task.evaluate(run, scored, folder, asked=config)
    assert evaluation is not None  # there is no other process
    print(f"{evaluation.said()}\nall of it is in {folder}")


if __name__ == "__main__":
    run_command(lambda: main(parse(EvaluateConfig, sys.argv[1:], DESCRIPTION)))
