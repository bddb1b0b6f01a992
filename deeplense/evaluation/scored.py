"""Which images an evaluation may score: never those that the run has learned from."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplense.config import EvaluateConfig, TrainConfig
from deeplense.data.images import load_images
from deeplense.data.imageset import ImageSet
from deeplense.data.names import parse_class_map, translated
from deeplense.data.near import looks_of, near_pairs
from deeplense.data.opening import opening_of, tell
from deeplense.data.scale import mention_strangers, say_scale
from deeplense.data.simulated import load_data, mention_folder, simulated
from deeplense.data.split import PARTS, read_adapted, read_looks, read_split, refuse_other_labels
from deeplense.errors import InputError
from deeplense.evaluation.card import Card
from deeplense.simulation.sets import SETS

RESERVED = (*PARTS, "all", "sensitivity", "")
"""Names that say what an evaluation is of."""


def without_comparisons(config: EvaluateConfig) -> EvaluateConfig:
    """The same without what `runs/*` gives beside runs: the folder of their comparisons."""
    runs = tuple(run for run in config.runs if run.name != "comparison" or (run / "config.json").is_file())
    if not runs or runs == config.runs:
        return config
    return dataclasses.replace(config, runs=runs)


def choose_images(
    run: Path, card: Card, trained: TrainConfig, config: EvaluateConfig
) -> tuple[ImageSet, np.ndarray, dict[str, object]]:
    """The images that `evaluate.py` was asked to score: the set, indices into it, and what is to be said of the choice.

    Raises:
        InputError: see `own_images` and `other_images`.
    """
    if config.data is None or config.split is not None:
        images, indices = own_images(run, card, trained, config.part, config)
        return images, indices, {"split": config.part, "data": config.data or trained.data.data}
    images, indices, left_out = other_images(run, card, config)
    if card.scale is not None:
        tell(f"pixels: {say_scale(images, card.scale)}")
        mention_strangers(images, card.scale)
    return images, indices, {"data": config.data, "left_out_since_learned_from": left_out}


def own_images(
    run: Path,
    card: Card,
    trained: TrainConfig,
    part: str,
    asked: EvaluateConfig | None = None,
    to_score: bool = True,
) -> tuple[ImageSet, np.ndarray]:
    """A part of the images of `run` (or `all`), by the split that it wrote down: the set, and indices into it.

    Args:
        asked: whose `moved_to` says where the images are now; they are known by their content, and others there are
            left alone.
        to_score: whether they are; if not, nothing is said of parts that are no honest score.

    Raises:
        InputError: the images are not those of the run any more, or the part is empty.
    """
    written = read_split(run / "split.csv")
    part_of = {row["sha256"]: row["split"] for row in written}
    wanted = {sha256 for sha256, own in part_of.items() if part in (own, "all")}
    moved_to = asked and asked.moved_to
    where = moved_to or trained.data.data
    if asked and moved_to:
        images = _open_other(run, card, asked)
    else:
        images = _open_own(run, trained)
        if set(images.hashes) != set(part_of):
            changed = len(set(images.hashes) ^ set(part_of))
            raise InputError(
                f"{where}: {changed} images are not those that {run} was made with: restore them, or score "
                f"them as other images with --data {where}"
            )
        if images.classes != card.classes:
            raise InputError(
                f"{where}: its classes are {', '.join(images.classes)}, and those of {run} were "
                f"{', '.join(card.classes)}: restore the names of the folders"
            )
    refuse_other_labels(run / "split.csv", images, written, where)
    if to_score and part in ("all", "train"):
        what = "includes images that" if part == "all" else "is what"
        print(f"note: --split {part} {what} the run has learned from: no honest score", file=sys.stderr)
    if not wanted:
        raise InputError(f"--split {part}: {run} has no images in that part")
    indices = np.array([i for i, sha256 in enumerate(images.hashes) if sha256 in wanted], dtype=np.int64)
    if not len(indices):
        raise InputError(f"--data {where}: none of the {len(wanted)} images of {run} in part {part} is there")
    missing = len(wanted - set(images.hashes))
    if missing:
        print(f"note: {missing} of the {len(wanted)} images of part {part} are not at {where}", file=sys.stderr)
    return images, indices


def _open_own(run: Path, trained: TrainConfig) -> ImageSet:
    """The images that a run was made with, where they were."""
    where = trained.data.data
    if where not in SETS and not Path(where).expanduser().exists():
        raise InputError(
            f"{run} was made with the images at {where}, where there is nothing now: say where they are, with "
            "--data NEW --split test, which finds its test part there by content"
        )
    return load_data(trained.data, trained.simulation, trained.split)


def common_images(
    runs: Sequence[Path], card: Card, trained: TrainConfig, config: EvaluateConfig
) -> tuple[ImageSet, np.ndarray, int]:
    """Labelled images that none of `runs` has learned from: at `--data`, or the test images that they share.

    Args:
        runs: of equal classes.
        card, trained: of the first of them.

    Returns:
        The set, indices into it, and how many images were left out.

    Raises:
        InputError: there is no such image.
    """
    if config.data is None:
        parts = [{row["sha256"]: row["split"] for row in read_split(run / "split.csv")} for run in runs]
        images, own = own_images(runs[0], card, trained, "test")
        keep = np.array([all(part.get(images.hashes[index]) == "test" for part in parts) for index in own], dtype=bool)
        where = f"the test images of {runs[0]}"
        remedy = "give images that none of them has seen with --data"
    else:
        images = _open_other(runs[0], card, config)
        own = np.arange(len(images))
        keep = ~np.any([np.logical_or(*seen_before(run, images)) for run in runs], axis=0)
        where, remedy = f"--data {config.data}", "give others"
        if images.labels is None:
            raise InputError(f"--data {config.data}: a comparison needs labels: give folders of classes")
    if not keep.any():
        kept = "in the test part of all runs" if config.data is None else "unknown to all runs"
        raise InputError(f"{where}: none of the {len(keep)} images is {kept}: {remedy}")
    return images, own[keep], int((~keep).sum())


def name_of(config: EvaluateConfig) -> str:
    """What an evaluation is called: as the part of the split or the folder of other images, and how it was scored.

    Raises:
        InputError: it would be called like something that it is not.
    """
    how = ("-tta" if config.tta else "") + ("" if config.fpr is None else f"-fpr{config.fpr:g}")
    how += ("-turned" if config.turn_test else "") + ("-familiar" if config.foreign == "leave-out" else "")
    if config.sensitivity:
        plain, what = "sensitivity", "--sensitivity"
    elif config.data is None:
        plain, what = config.part + how, f"--split {config.part}"
    else:
        part = f"-{config.split}" if config.split else ""
        plain, what = Path(config.data).expanduser().resolve().name + part + how, f"--data {config.data}"
    name = config.name or plain
    own = "sensitivity" if config.sensitivity else None if config.data or how else config.part
    if name != own and name in RESERVED:
        raise InputError(f"{what}: would be kept as «{name}», which stands for something else: give another --name")
    return name


def other_images(run: Path, card: Card, config: EvaluateConfig) -> tuple[ImageSet, np.ndarray, int]:
    """The images at `--data`, with labels as the run numbers them; which of them to score; how many were left out.

    Raises:
        InputError: classes that the run does not know, or images that it has learned from.
    """
    assert config.data is not None
    images = _open_other(run, card, config)
    exact, near = seen_before(run, images)
    seen = exact | near
    alike = int((near & ~exact).sum())
    told = f" ({alike} of them in another size, type or orientation)" if alike else ""
    if seen.any() and not config.allow_overlap:
        raise InputError(
            f"--data {config.data}: {seen.sum()} of {len(seen)} images are ones {run} was trained on or chosen by"
            f"{told}: leave them out with --allow-overlap, or score the run's own test part without --data"
        )
    if seen.all():
        raise InputError(f"--data {config.data}: all {len(seen)} images are ones that {run} has learned from")
    if seen.any():
        print(
            f"note: left out {seen.sum()} of {len(seen)} images that the run has learned from{told}",
            file=sys.stderr,
        )
    return images, np.flatnonzero(~seen), int(seen.sum())


def seen_before(run: Path, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    """Which images `run` was trained on or chosen by, each (n,) bool: by their content, and by their looks."""
    learned = {row["sha256"] for row in read_split(run / "split.csv") if row["split"] != "test"} | read_adapted(run)
    exact = np.array([sha256 in learned for sha256 in images.hashes])
    near = np.zeros(len(images), dtype=bool)
    looks = read_looks(run)
    simulated_now = images.looks is None and images.folder is not None  # each is one of its kind
    if looks is not None and not simulated_now:
        near[[index for _, index in near_pairs(looks, looks_of(images, np.arange(len(images))))]] = True
    return exact, near


def _open_other(run: Path, card: Card, config: EvaluateConfig) -> ImageSet:
    """The images at `--data`, with labels as `run` numbers them."""
    where = config.data
    assert where is not None
    if where in SETS:
        mention_folder(where)
        images = simulated(where, config.count, card.classes, config.simulation_seed, "cpu")
    else:
        images = load_images(where, config.bad_images, False, opening_of(config, card.bands))
    names = translated(images.classes, card.classes, parse_class_map(config.class_map, card.classes))
    meant = {name: own for name, own in names.items() if own is not None}
    unknown = [name for name in names if name not in meant]
    if unknown:
        raise InputError(
            f"--data {where}: class {unknown[0]} is not one that {run} knows ({', '.join(card.classes)}): "
            f"say which it is with --class-map {unknown[0]}=CLASS, or remove the folder"
        )
    renamed = [f"{name} is {own}" for name, own in meant.items() if name != own]
    if renamed:
        print(f"note: --data {where}: {', '.join(renamed)}", file=sys.stderr)
    if images.labels is not None:
        number = np.array([card.classes.index(meant[name]) for name in images.classes])
        images = dataclasses.replace(images, labels=number[images.labels], classes=card.classes)
    return images
