"""The three-way split: a property of each image's content, stratified by class.

An image and its copies stay on one side, whatever the files are called and in whatever order they are listed; so do
copies of another size, type or orientation. Published scores of these data sets were inflated by splits that were drawn
anew, unseeded, by script.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from deeplense.config import SplitConfig
from deeplense.data.imageset import ImageSet
from deeplense.data.near import looks_of, near_pairs
from deeplense.data.opening import tell
from deeplense.errors import InputError

PARTS = ("train", "val", "test")
LARGEST_FAMILY = 64
"""Near-copies of one image: eight orientations in eight forms."""

LOOKS = "looks.npy"

ADAPTED = "adapted.csv"
"""Beside the split of an adapted run: the images without labels that it has learned from."""
COLUMNS = ("path", "class", "sha256", "split")


@dataclasses.dataclass(frozen=True)
class Split:
    """Indices into an `ImageSet`, ascending, each (n,) int64."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def part(self, name: str) -> np.ndarray:
        """The indices of `train`, `val` or `test`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def split_images(images: ImageSet, config: SplitConfig) -> Split:
    """Draw the split.

    Within each class the images are ranked by a hash of (split seed, content); the first go to the test part,
    the next to validation. Where the folders said what is for training, that is kept, and the test part comes out of
    their validation images in the proportion of the two fractions.

    Raises:
        InputError: copies of one image with two labels, or a part that would have no image of some class.
    """
    assert images.labels is not None
    _refuse_contradictions(images)
    parts = np.full(len(images), "train", dtype="<U5")
    copies = defaultdict(list)
    for index, sha256 in enumerate(families(images)):
        copies[sha256].append(index)
    given = _given_parts(images, copies)
    by_class: dict[int, list[str]] = defaultdict(list)  # content hashes of each class
    for sha256, indices in copies.items():
        by_class[int(images.labels[indices[0]])].append(sha256)
    if given and config.val_fraction and "val" not in given.values():
        tell(
            f"there is no val/ beside train/ and test/: --val-fraction {config.val_fraction:g} of the training images "
            "are taken for validation"
        )
    for hashes in by_class.values():
        hashes.sort(key=lambda sha256: hashlib.sha256(f"{config.split_seed} {sha256}".encode()).digest())
        for part, some in _draw(hashes, copies, given, config).items():
            for sha256 in some:
                parts[copies[sha256]] = part
    split = Split(*(np.flatnonzero(parts == part) for part in PARTS))
    _refuse_empty_parts(images, split, config)
    return split


def counts_of(images: ImageSet, split: Split) -> dict[str, str]:
    """How many images of each class are in each part, in words."""
    labels = images.labels
    assert labels is not None
    return {
        part: ", ".join(
            f"{int((labels[split.part(part)] == label).sum())} {name}" for label, name in enumerate(images.classes)
        )
        for part in PARTS
    }


def families(images: ImageSet) -> list[str]:
    """For each image the least content hash among those of its class that are the same image to the eye.

    That of an image without copies is its own. Near-copies of another class are no family: whoever simulates a lens
    with and without a subhalo wants to know them apart.
    """
    if images.looks is None:
        return images.hashes
    assert images.labels is not None
    above = {sha256: sha256 for sha256 in images.hashes}

    def root(sha256: str) -> str:
        while above[sha256] != sha256:
            above[sha256] = sha256 = above[above[sha256]]
        return sha256

    for i, j in near_pairs(images.looks):
        if images.labels[i] == images.labels[j]:
            low, high = sorted((root(images.hashes[i]), root(images.hashes[j])))
            above[high] = low
    found = [root(sha256) for sha256 in images.hashes]
    sizes = Counter(root(sha256) for sha256 in set(images.hashes))
    if sum(size for size in sizes.values() if size > LARGEST_FAMILY):
        tell(
            f"{max(sizes.values())} images look so much alike that they cannot be copies of one: they are split as "
            "images of their own",
            "warning",
        )
    torn = sum(size - 1 for size in sizes.values() if size <= LARGEST_FAMILY)
    if torn:
        tell(f"{torn} images are near-copies of others (of other size, type or orientation): they stay on one side")
    return [own if sizes[own] <= LARGEST_FAMILY else sha256 for own, sha256 in zip(found, images.hashes, strict=True)]


def write_split(file: Path, images: ImageSet, split: Split) -> None:
    """Write `split.csv`: path,class,sha256,split."""
    assert images.labels is not None
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(COLUMNS)
        part_of = {int(index): part for part in PARTS for index in split.part(part)}
        for index, path in enumerate(images.paths):
            writer.writerow([path, images.classes[images.labels[index]], images.hashes[index], part_of[index]])


def write_looks(run: Path, images: ImageSet, split: Split) -> None:
    """Write `looks.npy`: what near-copies of the images that the run learns from would have in common with them."""
    learned = np.concatenate([split.train, split.val])
    np.save(run / LOOKS, looks_of(images, learned).astype(np.float16))


def read_looks(run: Path) -> np.ndarray | None:
    """(n, D) float32, what `write_looks` wrote; None: nobody did. Raises `InputError` if it is damaged."""
    if not (run / LOOKS).is_file():
        return None
    try:
        return np.load(run / LOOKS, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{run / LOOKS} is damaged ({error}): restore or remove it") from None


def check_split(file: Path, images: ImageSet, split: Split) -> None:
    """See that a resumed run has the split that it wrote down.

    Raises:
        InputError: it has not, for folders below train/ and val/ were changed, say, or those of classes.
    """
    written = read_split(file)
    now = {images.hashes[index]: part for part in PARTS for index in split.part(part)}
    if now != {row["sha256"]: row["split"] for row in written}:
        raise InputError(f"--resume: the images are split otherwise than in {file}: restore their folders")
    refuse_other_labels(file, images, written, "--resume")


def refuse_other_labels(file: Path, images: ImageSet, written: list[dict[str, str]], what: str) -> None:
    """See that the images of a run have the classes that it wrote down; raises `InputError` if not."""
    if images.labels is None:
        return
    was = {row["sha256"]: row["class"] for row in written}
    moved = [
        f"{images.paths[index]} was {was[sha256]}"
        for index, sha256 in enumerate(images.hashes)
        if was.get(sha256, images.classes[images.labels[index]]) != images.classes[images.labels[index]]
    ]
    if moved:
        raise InputError(
            f"{what}: {len(moved)} images have another class than in {file} ({moved[0]}, for one): restore their "
            "folders, or score them as other images with --data"
        )


def read_split(file: Path) -> list[dict[str, str]]:
    """The rows of a `split.csv`. Raises `InputError` if it is missing or damaged."""
    try:
        with file.open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({error}): the run folder is damaged") from None
    if not rows or set(rows[0]) != set(COLUMNS) or any(row["split"] not in PARTS for row in rows):
        raise InputError(f"{file} is damaged: its columns are {','.join(COLUMNS)}")
    return rows


def read_adapted(run: Path) -> set[str]:
    """Content of the unlabelled images that a run has adapted to. Raises `InputError` if the list is damaged."""
    file = run / ADAPTED
    if not file.is_file():
        return set()
    try:
        with file.open(newline="", encoding="utf-8") as table:
            return {row["sha256"] for row in csv.DictReader(table)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise InputError(f"{file} cannot be read ({error}): the run folder is damaged") from None


def _draw(
    hashes: list[str], copies: dict[str, list[int]], given: dict[str, str], config: SplitConfig
) -> dict[str, list[str]]:
    """Content hashes of one class, ranked, into parts."""
    if not given:
        total = sum(len(copies[sha256]) for sha256 in hashes)
        test, rest = _take(hashes, copies, round(config.test_fraction * total))
        val, train = _take(rest, copies, round(config.val_fraction * total))
        return {"train": train, "val": val, "test": test}
    drawn = {part: [sha256 for sha256 in hashes if given[sha256] == part] for part in PARTS}
    held_out = config.val_fraction + config.test_fraction
    if not any(part == "val" for part in given.values()):
        count = sum(len(copies[sha256]) for sha256 in drawn["train"])
        drawn["val"], drawn["train"] = _take(drawn["train"], copies, round(count * config.val_fraction))
    elif not any(part == "test" for part in given.values()) and held_out:
        count = sum(len(copies[sha256]) for sha256 in drawn["val"])
        drawn["test"], drawn["val"] = _take(drawn["val"], copies, round(count * config.test_fraction / held_out))
    return drawn


def _take(ranked: list[str], copies: dict[str, list[int]], count: int) -> tuple[list[str], list[str]]:
    """The first of `ranked` until they make `count` images, and the others."""
    taken = 0
    for place, sha256 in enumerate(ranked):
        if taken >= count:
            return ranked[:place], ranked[place:]
        taken += len(copies[sha256])
    return ranked, []


def _given_parts(images: ImageSet, copies: dict[str, list[int]]) -> dict[str, str]:
    """The part that the folders give each content; copies that they put on two sides go to the first of PARTS."""
    if images.parts is None:
        return {}
    given, torn = {}, 0
    for sha256, indices in copies.items():
        said = {images.parts[index] for index in indices}
        torn += len(said) > 1
        given[sha256] = next(part for part in PARTS if part in said)
    if torn:
        tell(
            f"{torn} images have exact copies in another of the folders train, val and test: "
            "the copies were all put on one side, train before val before test",
            "warning",
        )
    if set(given.values()) == {"train"}:
        tell("all images are for training by their folders: those for validation and test are drawn from them")
        return {}
    return given


def _refuse_contradictions(images: ImageSet) -> None:
    """Copies of one image with two labels can neither be learned nor scored."""
    assert images.labels is not None
    first: dict[str, int] = {}
    pairs = []
    for index, sha256 in enumerate(images.hashes):
        other = first.setdefault(sha256, index)
        if images.labels[other] != images.labels[index]:
            pairs.append(f"{images.paths[other]} = {images.paths[index]}")
    if pairs:
        more = f"; and {len(pairs) - 10} more" if len(pairs) > 10 else ""
        raise InputError(
            f"--data: {len(pairs)} images are exact copies with two labels: {'; '.join(pairs[:10])}{more}: "
            "remove the wrong ones"
        )


def _refuse_empty_parts(images: ImageSet, split: Split, config: SplitConfig) -> None:
    assert images.labels is not None
    trains = images.parts is None or "train" in images.parts  # else the training images are simulated as needed
    wanted = {"train": float(trains), "val": config.val_fraction, "test": config.test_fraction}
    for part, fraction in wanted.items():
        for label, name in enumerate(images.classes):
            if fraction and not (images.labels[split.part(part)] == label).any():
                have = int((images.labels == label).sum())
                raise InputError(
                    f"--data: the {have} images of class {name} are too few, none is left for the {part} part: "
                    f"add images, or change --val-fraction {config.val_fraction} and "
                    f"--test-fraction {config.test_fraction}"
                )
