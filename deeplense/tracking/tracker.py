"""Weights & Biases, beside the run folder, which has everything that W&B gets. On the first process only."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from deeplense.cli import flat
from deeplense.config import TrainConfig
from deeplense.errors import TrainingError
from deeplense.files import write_text


class Tracker:
    """One W&B run for a run folder, over any number of restarts; silent where W&B is off. For the first process."""

    def __init__(self, accelerator: Accelerator, config: TrainConfig, folder: Path, facts: dict[str, Any]) -> None:
        self.accelerator = accelerator
        self.run: Any = None
        self.lines = 0
        """Lines of metrics.jsonl so far."""
        self.lost: str | None = None
        """Why W&B has ended before the run."""
        if not accelerator.log_with:
            return
        import wandb

        from deeplense.tracking.wandb_files import entries_of

        earlier = entries_of(folder / "wandb")  # before this session has a file of its own
        mode = wandb_mode(config.tracking.wandb)
        options = {
            "id": _run_id(folder),
            "name": config.run.name,
            "dir": str(folder),
            "resume": "allow",
            "mode": mode,
            "settings": wandb.Settings(silent=True, console="off"),
        }
        settings = {**flat(config), **facts}
        try:
            accelerator.init_trackers(config.tracking.wandb_project, settings, {"wandb": options})
        except wandb.errors.CommError as error:  # logged in, but no network: cluster nodes
            print(f"warning: W&B cannot be reached ({error}): tracking offline", file=sys.stderr)
            accelerator.init_trackers(
                config.tracking.wandb_project, settings, {"wandb": {**options, "mode": "offline"}}
            )
        self.run = accelerator.get_tracker("wandb", unwrap=True)
        self.run.define_metric("global_step")
        self.run.define_metric("*", step_metric="global_step")
        # The server knows best what it has; offline, the files of the earlier sessions do.
        self.known = self.run.starting_step if mode == "online" and not self.run.offline else earlier
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            self.log_line(json.loads(line))

    def log_line(self, line: dict[str, Any]) -> None:
        """A line of `metrics.jsonl`, unless W&B has it already: a resumed run goes through some of them again.

        W&B's own step is the number of the line, so that none is lost or doubled; `global_step` is the run's.
        """
        if self.run is None:
            return
        if self.lines >= self.known:
            values = {name: value for name, value in line.items() if name != "step"}
            with self._or_without():
                self._log({**values, "global_step": line["step"]}, commit=True)
        self.lines += 1

    def log(self, values: dict[str, Any], step: int) -> None:
        """Numbers, or W&B's own objects, that stand in no line; all since the last line become one entry."""
        if self.run is not None and self.lines >= self.known:
            self._log({**values, "global_step": step}, commit=False)

    def _log(self, values: dict[str, Any], commit: bool) -> None:
        self.accelerator.log(values, self.lines, {"wandb": {"commit": commit}})

    @contextmanager
    def _or_without(self) -> Iterator[None]:
        """Do something with W&B; if that has gone, the run goes on without it, to its next checkpoint at least.

        W&B works in a process of its own, which ends at the first SIGTERM, and SLURM sends that to all processes of a
        job that it wants back.
        """
        import wandb

        try:
            yield
        except (OSError, wandb.errors.Error) as error:
            self.lost = f"{type(error).__name__}: {error}"
            self.run = None
            self.accelerator.trackers.clear()
            with suppress(OSError, wandb.errors.Error):
                wandb.teardown()  # or W&B would try, with a traceback, when the process ends
            print(f"warning: W&B has ended ({self.lost}): what it lacks follows with --resume", file=sys.stderr)

    def log_figures(self, files: Sequence[Path], step: int) -> None:
        if self.run is not None:
            import wandb

            self.log({f"figures/{file.stem}": wandb.Image(str(file)) for file in files}, step)

    def log_numbers(self, part: str, scores: dict[str, Any], step: int) -> None:
        """The numbers among nested scores of a part, by their path; in the run's summary as well."""
        if self.run is not None:
            numbers = dict(_numbers(scores, part))
            self.log(numbers, step)
            self.run.summary.update(numbers)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """A table; cells that are arrays, (H, W) or (H, W, 3) uint8, are images."""
        if self.run is not None:
            import wandb

            cells = [[wandb.Image(cell) if isinstance(cell, np.ndarray) else cell for cell in row] for row in rows]
            self.log({name: wandb.Table(columns=list(columns), data=cells)}, step)

    def log_report(self, part: str, file: Path, step: int) -> None:
        """The report of an evaluation as it is, if one was written."""
        if self.run is not None and file.is_file():
            import wandb

            self.log({f"{part}/report": wandb.Html(str(file), inject=False)}, step)

    def log_weights(self, folder: Path) -> None:
        """The best weights, with what is needed to use them, as an artifact."""
        if self.run is not None:
            import wandb

            artifact = wandb.Artifact(f"{self.run.id}-best", type="model")
            for file in sorted(folder.iterdir()):
                artifact.add_file(str(file))
            self.run.log_artifact(artifact)

    def finish(self) -> None:
        """Hand over the last entry, and wait until W&B has all.

        Raises:
            TrainingError: W&B has ended before, so the run is not complete.
        """
        if self.lost:
            raise TrainingError(f"W&B has ended before the run ({self.lost}): go on with --resume, which is quick")
        if self.run is not None:
            import wandb

            self.run.finish()
            wandb.teardown()  # W&B's own process writes the last of it when it ends

    def leave(self) -> None:
        """Hand over what there is, at the end of the process, however the run has ended."""
        if self.run is not None:
            with self._or_without():
                self.run.finish()

    def where(self) -> str:
        """For the user: where to look."""
        if self.run is None:
            return "off"
        if self.run.offline:
            return f"offline (`wandb sync {Path(self.run.dir).parent}` uploads it)"
        return str(self.run.url)


def wandb_mode(asked: str) -> str:
    """`online`, `offline` or `disabled`. Asks nobody: not the user, not the network."""
    if asked != "auto":
        return asked
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    import wandb

    return "online" if wandb.login(prompt=False, verify=False) else "offline"


def _run_id(folder: Path) -> str:
    """The id under which W&B knows this run folder, made once; a sweep's agent gives its own and allows no other."""
    file = folder / "wandb_id"
    if not file.exists():
        write_text(file, os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4))
    return file.read_text(encoding="utf-8")


def _numbers(scores: dict[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """The numbers among nested scores, by their path."""
    for name, value in scores.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}/{name}")
        elif isinstance(value, (int, float)):
            yield f"{prefix}/{name}", value
