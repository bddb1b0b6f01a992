"""The folder of an adapted run: that of the run it comes from, with other weights, and what they have learned from."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import sys
from datetime import datetime
from pathlib import Path

import numpy as np

from deeplense.adapt.settings import AdaptConfig
from deeplense.classification.card import ModelCard
from deeplense.cli import load_config, save_config
from deeplense.data.imageset import ImageSet
from deeplense.data.near import looks_of
from deeplense.data.split import ADAPTED, LOOKS, read_looks
from deeplense.errors import InputError
from deeplense.files import write_json
from deeplense.runs import git_state

COPIED = ("split.csv",)
"""What an adapted run has from the one before: which images that one has learned from is true of both."""


def new_folder(config: AdaptConfig) -> Path:
    """Where the adapted run is to be. Nothing is written.

    Raises:
        InputError: there is something already.
    """
    name = config.name or f"{config.run.resolve().name}-on-{Path(config.data).expanduser().resolve().name}"
    folder = (config.output_dir or config.run.resolve().parent) / name
    if folder.exists():
        raise InputError(f"{folder} is there already: give another --name")
    return folder


def start_folder(folder: Path, config: AdaptConfig, images: ImageSet, indices: np.ndarray) -> None:
    """Make the folder, with what the run will have seen: before the first step, so that no image is ever forgotten.

    Args:
        images: the unlabelled ones.
        indices: (n,) of them that are learned from, or looked at to know what is usual.
    """
    try:
        folder.mkdir(parents=True)
        before = load_config(config.run / "config.json")
        run = dataclasses.replace(before.run, name=folder.name, output_dir=str(folder.parent))
        save_config(dataclasses.replace(before, run=run), folder / "config.json")
        for name in COPIED:
            shutil.copyfile(config.run / name, folder / name)
        with (folder / ADAPTED).open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow(("path", "sha256"))
            earlier = config.run / ADAPTED
            if earlier.is_file():
                writer.writerows(list(csv.reader(earlier.open(newline="", encoding="utf-8")))[1:])
            writer.writerows((images.paths[index], images.hashes[index]) for index in indices)
        looks = looks_of(images, indices).astype(np.float16)
        known = read_looks(config.run)
        np.save(folder / LOOKS, looks if known is None else np.concatenate([known.astype(np.float16), looks]))
    except OSError as error:
        raise InputError(
            f"--output-dir: {folder} cannot be written ({error.strerror}): give another --output-dir"
        ) from None


def adapted_card(card: ModelCard, config: AdaptConfig) -> ModelCard:
    """That of the run, without what labelled images had told it: of the new ones there are none."""
    where = str(Path(config.data).expanduser().absolute()) if Path(config.data).exists() else config.data
    return dataclasses.replace(
        card, temperature=None, threshold=None, threshold_from=None, val_roc_auc=None, adapted_to=where
    )


def write_summary(folder: Path, config: AdaptConfig, started: datetime, shares: np.ndarray, learned: int) -> None:
    """`adapt.json`: what was done with what; and `summary.json`, which says that nothing is left to do."""
    told = {
        name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(config).items()
    }
    write_json(
        folder / "adapt.json",
        {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "started": started.astimezone().isoformat(timespec="seconds"),
            "ended": datetime.now().astimezone().isoformat(timespec="seconds"),
            "git": git_state(),
            **told,
            "shares": shares.tolist(),
            "images": learned,
        },
    )
    write_json(folder / "summary.json", {"adapted_from": str(config.run), "data": config.data, "test": None})
