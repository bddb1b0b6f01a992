"""The run folder: opened or refused, with the record of the run on disk before its first step."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from deeplense import __version__
from deeplense.cli import flag_name, flat, load_config, save_config
from deeplense.config import RunConfig, TrackingConfig, TrainConfig
from deeplense.errors import InputError
from deeplense.files import write_json
from deeplense.machine.remarks import listen
from deeplense.network.model import Initialization
from deeplense.simulation.sets import SETS

VERSIONS_OF = ("torch", "torchvision", "accelerate", "numpy", "scikit-learn", "wandb", "tyro")

FREE = {field.name for part in (RunConfig, TrackingConfig) for field in dataclasses.fields(part)} - {"seed"} | {
    "preset"
}
"""Settings that may differ when a run is resumed: they do not change its result."""


def named(config: TrainConfig, now: datetime.datetime) -> TrainConfig:
    """`config` with a name: the preset and the time, if it has none; and with paths that are the same from anywhere."""
    name = config.run.name or f"{config.preset}-{now:%Y%m%d-%H%M%S}"
    data = config.data
    where = data.data if data.data in SETS else str(Path(data.data).expanduser().absolute())
    labels = None if data.labels is None else str(Path(data.labels).expanduser().absolute())
    data = dataclasses.replace(data, data=where, labels=labels)
    return dataclasses.replace(config, data=data, run=dataclasses.replace(config.run, name=name))


def run_folder(config: TrainConfig) -> Path:
    """Where a named run lives."""
    assert config.run.name is not None
    return Path(config.run.output_dir) / config.run.name


def check_folder(config: TrainConfig) -> bool:
    """Whether there is a run to go on with. Nothing is written.

    Raises:
        InputError: the folder holds a run and the user said neither --resume nor --overwrite; it holds something
            else; or the run in it has other settings.
    """
    folder = run_folder(config)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} exists and holds no run: give another --name or --output-dir")
    if config.run.overwrite:
        return False
    if not config.run.resume:
        raise InputError(
            f"{folder} holds a run already: go on with --resume, delete it with --overwrite, or --name another"
        )
    saved = load_config(folder / "config.json")
    before, asked = flat(saved), flat(config)
    for name, value in asked.items():
        if name not in FREE and value != before[name] and not (name == "epochs" and goes_further(saved, config)):
            raise InputError(
                f"--resume: {flag_name(name)} is {value}, but {before[name]} in {folder / 'config.json'}: "
                + _remedy(name, saved, folder)
            )
    return True


def goes_further(saved: TrainConfig, asked: TrainConfig) -> bool:
    """Whether `asked` is `saved` with more epochs, and the first ones of them are the same: neither the learning rate
    nor which images are seen depends on how many there are."""
    same = asked.optimization.schedule == "constant" and not asked.simulation.has_lessons
    return same and asked.optimization.epochs > saved.optimization.epochs


def _remedy(name: str, saved: TrainConfig, folder: Path) -> str:
    schedule = saved.optimization.schedule
    if name == "epochs" and (schedule != "constant" or saved.simulation.has_lessons):
        flag = f"--schedule {schedule}" if schedule != "constant" else "--crowd or --first-set"
        weights = folder / "best" / "model.safetensors"
        return f"with {flag} each step depends on the last one: start anew, with --init {weights}"
    return f"give the same settings (--config {folder / 'config.json'} --resume) or another --name"


def is_complete(config: TrainConfig) -> bool:
    """Whether nothing is left to do for a run that may be gone on with."""
    folder = run_folder(config)
    saved = load_config(folder / "config.json")
    return (folder / "summary.json").exists() and not goes_further(saved, config)


def lengthen(config: TrainConfig) -> None:
    """Note that a run goes on to more epochs than it was started with; it is not complete any more."""
    folder = run_folder(config)
    saved = load_config(folder / "config.json")
    if goes_further(saved, config):
        (folder / "summary.json").unlink(missing_ok=True)
        epochs = dataclasses.replace(saved.optimization, epochs=config.optimization.epochs)
        write_json(folder / "config.json", dataclasses.asdict(dataclasses.replace(saved, optimization=epochs)))


def make_folder(config: TrainConfig) -> None:
    """Make the folder of a new run, in place of one to overwrite, with its `config.json`."""
    folder = run_folder(config)
    try:
        if config.run.overwrite and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").touch(exist_ok=False)  # of two runs of one name that start together, one gets it
        # What is saved starts a run afresh: these belong to the command, not to the recipe.
        recipe = dataclasses.replace(config.run, resume=False, overwrite=False, profile=0)
        save_config(dataclasses.replace(config, run=recipe), folder / "config.json")
    except FileExistsError:
        raise InputError(f"{folder} was taken by another run just now: give another --name") from None
    except OSError as error:
        raise InputError(f"--output-dir: {folder} cannot be written ({error.strerror}): give another") from None


def first_initialization(folder: Path) -> Initialization:
    """What the run in `folder` started from, as its record has it."""
    first = json.loads((folder / "record.json").read_text(encoding="utf-8"))["sessions"][0]
    return Initialization(first["effective_initialization"])


class Record:
    """`record.json`: what ran, on what, from which code and data; one entry of `sessions` for every start."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write the record before the first step.

        Args:
            folder: of the run.
            facts: what is known only now, such as device, world size, effective precision, and the data's hash.

        Raises:
            InputError: an earlier session of this run saw other data.
        """
        self.file = folder / "record.json"
        earlier = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {"sessions": []}
        if earlier.get("data_sha256", facts["data_sha256"]) != facts["data_sha256"]:
            raise InputError(f"--resume: the images are not those that {folder} was started with: restore them")
        session = {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": _now(),
            "ended": None,
            "outcome": None,
            "git": git_state(),
            "host": platform.node(),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
            "python": platform.python_version(),
            "versions": {"deeplense": __version__, **{name: metadata.version(name) for name in VERSIONS_OF}},
            **{name: value for name, value in facts.items() if name != "data_sha256"},
        }
        self.content = {**earlier, "data_sha256": facts["data_sha256"]}
        self.content["sessions"] = [*earlier["sessions"], session]
        self._write()

    def __enter__(self) -> Record:
        self._deaf = listen(self._note)
        return self

    def _note(self, remarks: list[str]) -> None:
        """What the run turned out to have to do without; see `machine.remarks`."""
        self.content["sessions"][-1]["remarks"] = remarks
        with contextlib.suppress(OSError):
            self._write()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Note how the session ended."""
        self._deaf()
        outcome = "done" if error is None else f"{type(error).__name__}: {error}"
        self.content["sessions"][-1] |= {"ended": _now(), "outcome": outcome}
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong first
            self._write()

    def _write(self) -> None:
        write_json(self.file, self.content)


def git_state() -> dict[str, str | None]:
    """Commit of the code that runs, and a hash of what differs from it (None: nothing does)."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    commit, difference = git("rev-parse", "HEAD"), git("diff", "HEAD")
    return {
        "commit": commit.strip() if commit else None,
        "diff_sha256": hashlib.sha256(difference.encode()).hexdigest() if difference else None,
    }


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")
