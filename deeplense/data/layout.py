"""Which files of a folder are images, of which class and part, and what is left over.

Nothing is opened here: all follows from names. What a name could mean two ways is said aloud, and `--layout` decides.
"""

from __future__ import annotations

import dataclasses
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deeplense.data.bands import joined
from deeplense.data.decode import SUFFIXES, stem_of, suffix_of
from deeplense.data.names import fold, is_known, part_and_class, part_of
from deeplense.errors import InputError

BOOKKEEPING = ("__macosx", "@eadir", "$recycle.bin", "thumbs.db", "desktop.ini")
"""What operating systems leave behind; hidden, as names with a dot are."""

COMPANIONS = ("noise", "noisemap", "psf", "mask", "err", "error", "dq", "wht", "weight", "rms", "sigma", "var",
              "variance", "ivar", "positions", "segmentation")  # fmt: skip
MAIN = ("data", "image", "img", "sci")
"""`psf.fits` beside `data.fits`, and `lens7_noise_map.fits` beside `lens7.fits` or `lens7_data.fits`, are no lenses."""

DEEPEST = 8
"""Folders below folders that are looked into."""


class Listed(NamedTuple):
    """One image of a folder, before it is opened."""

    path: str
    """Of its file, relative to the folder, with forward slashes."""
    name: str
    """Its class; empty in a flat folder."""
    part: str
    """`train`, `val`, `test`, or empty."""
    bands: tuple[str, ...] = ()
    """Paths of its further bands, where each has a file of its own."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a folder was understood."""

    listed: list[Listed]
    """In order of path."""
    unused: list[tuple[str, str]]
    """Path and reason: what lies where images lie, and is not used."""
    notes: list[str]
    """What a user should know before anything else is said."""


@dataclasses.dataclass
class _Node:
    """One folder."""

    where: str
    """Relative to the set's folder, with a slash at its end; empty for that itself."""
    name: str
    images: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    folders: list[_Node] = dataclasses.field(default_factory=list)

    @property
    def filled(self) -> list[_Node]:
        """The folders in it that hold images, however deep."""
        return [inner for inner in self.folders if inner.images or inner.filled]


def understand(folder: Path, labelled: bool, layout: str = "auto", bands: tuple[str, ...] = ()) -> Layout:
    """The images below `folder`: in class folders, in those of parts, or flat.

    Args:
        labelled: whether a flat folder of images, without classes, is refused.
        layout: `auto`; `classes`: every folder is a class, whatever it is called; `parts`: names say the part.
        bands: names of bands that have a file each.

    Raises:
        InputError: it holds no images, not two classes, or an empty class.
        OSError: it cannot be read.
    """
    notes: list[str] = []
    node = _descend(folder, scan(folder), notes)
    inner = node.filled
    _refuse_empty(folder, node, notes, sparse=bool(inner))
    if not inner or (bands and all(below.name in bands for below in inner)):
        listed = [Listed(path, "", "") for path in paths_of(node)]
        if labelled and listed:
            raise InputError(
                f"--data {folder}: has no class folders: give a folder with one folder for each class, or a table of "
                "classes with --labels"
            )
        unused: list[tuple[str, str]] = []
    else:
        by_parts = layout == "parts" or (layout == "auto" and _names_say_parts(inner, notes))
        listed, unused = _sort_out(node, by_parts)
        if layout == "parts":
            _refuse_partless(folder, listed)
        listed = _one_spelling(listed)
        if by_parts:
            _refuse_untrained(folder, listed)
            notes.append(_understood(listed))
    listed, companions = without_companions(listed)
    if companions:
        notes.append(f"{_several(companions)} by name belong to the images beside them, and are no lenses")
    if bands:
        found, left = joined([item.path for item in listed], bands)
        listed = [item._replace(bands=found[item.path]) for item in listed if item.path in found]
        unused += left
    if not listed:
        what = "has no class folders" if labelled else "holds no images"
        raise InputError(f"--data {folder}: {what} ({' '.join(SUFFIXES)})")
    names = sorted({item.name for item in listed})
    if labelled and len(names) < 2:
        raise InputError(f"--data {folder}: has one class ({names[0]}): two are needed to tell apart")
    return Layout(sorted(listed), unused, notes)


def scan(folder: Path) -> _Node:
    """The tree of files below `folder`, without what is hidden. A suffix is enough to be meant as an image."""
    return _scan(folder, "", folder.name, set(), 0)


def paths_of(node: _Node) -> list[str]:
    """Paths of all images in a folder and below it, in order."""
    return sorted(
        [node.where + name for name in node.images] + [path for inner in node.folders for path in paths_of(inner)]
    )


def without_companions(listed: list[Listed]) -> tuple[list[Listed], list[str]]:
    """The images without point-spread functions, noise maps and masks that lie beside them; and the latter's paths."""
    by_folder: dict[str, set[str]] = defaultdict(set)
    for item in listed:
        by_folder[str(Path(item.path).parent)].add(stem_of(item.path).casefold())
    kept: list[Listed] = []
    companions: list[Listed] = []
    for item in listed:
        beside = by_folder[str(Path(item.path).parent)]
        (companions if _is_companion(stem_of(item.path).casefold(), beside) else kept).append(item)
    return kept, [item.path for item in companions]


def printable(path: str) -> str:
    """A path that can be written down: bytes of other encodings, in an old archive's names, as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_companion(stem: str, beside: set[str]) -> bool:
    if fold(stem) in COMPANIONS:
        return any(main in beside for main in MAIN)
    words = stem.replace("-", "_").split("_")
    for count in (1, 2):  # `psf`, `noise_map`
        base = "_".join(words[:-count])
        if base and fold("".join(words[-count:])) in COMPANIONS:
            bases = {other.replace("-", "_") for other in beside}
            return base in bases or any(f"{base}_{main}" in bases for main in MAIN)
    return False


def _scan(folder: Path, where: str, name: str, above: set[str], depth: int) -> _Node:
    node = _Node(where, name)
    real = os.path.realpath(folder)
    if real in above or depth > DEEPEST:
        return node  # links that lead back
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.casefold() in BOOKKEEPING:
                continue
            if entry.is_dir():
                inner = f"{where}{entry.name}/"
                node.folders.append(_scan(folder / entry.name, inner, entry.name, above | {real}, depth + 1))
            elif suffix_of(entry.name):
                node.images.append(entry.name)
            else:
                node.others.append(entry.name)
    return node


def _descend(folder: Path, node: _Node, notes: list[str]) -> _Node:
    """An archive unpacks to `lenses/lenses/no_sub`: to the folder of the class folders."""
    while not node.images and len(node.filled) == 1:
        (only,) = node.filled
        if (
            only.images
            or part_and_class(only.name)[0]
            or any(is_known(other.name) for other in node.folders if other is not only)
        ):
            break
        node = only
    if node.where:
        notes.append(f"--data {folder}: the class folders are those in {folder / node.where}")
    return node


def _refuse_empty(folder: Path, node: _Node, notes: list[str], sparse: bool) -> None:
    for inner in node.folders:
        if inner in node.filled:
            continue
        meant = is_known(inner.name) or part_of(inner.name) or not (inner.others or inner.folders)
        if meant and (sparse or len(node.folders) > 1):
            raise InputError(
                f"--data: the class folder {folder / inner.where} holds no images ({' '.join(SUFFIXES)}): "
                "fill it or remove it"
            )
        notes.append(f"{folder / inner.where} holds no images, and is taken for no class")


def _names_say_parts(inner: list[_Node], notes: list[str]) -> bool:
    """Whether the names of folders that hold images say `train` and `test` beside classes, or in their place."""
    tops = [part_and_class(node.name) for node in inner]
    if any(part == "train" and not name and node.filled for (part, name), node in zip(tops, inner, strict=True)):
        return True  # train/no_sub
    nested = [part_of(lower.name) for node in inner for lower in node.filled]
    if nested and "train" in nested and all(nested) and not any(node.images for node in inner):
        return True  # no_sub/train
    joined = [(part, name) for part, name in tops if part and name]
    parts = {part for part, _ in joined}
    classes = {fold(name) for part, name in joined if part == "train"}
    if len(joined) == len(tops) and "train" in parts and len(parts) > 1 and len(classes) > 1:
        return True  # train_lenses, test_lenses
    if joined:
        names = ", ".join(node.name for node in inner)
        notes.append(f"{names}: read as {len(inner)} classes; if the names say part and class, give --layout parts")
    return False


def _sort_out(node: _Node, by_parts: bool) -> tuple[list[Listed], list[tuple[str, str]]]:
    """The images of class folders, and what lies there and is none, or lies elsewhere."""
    listed: list[Listed] = []
    unused: list[tuple[str, str]] = []

    def visit(inner: _Node, part: str, name: str) -> None:
        if inner is not node:
            said, own = part_and_class(inner.name) if by_parts else ("", inner.name)
            if (said and part) or (own and name):
                unused.extend((path, f"lies in a folder within the class folder {name or own}") for path in deep(inner))
                return
            part, name = part or said, name or printable(own)
        if name:
            listed.extend(Listed(inner.where + file, name, part) for file in inner.images)
            unused.extend((inner.where + file, "is of no format that is read") for file in inner.others)
        else:
            unused.extend((inner.where + file, "lies in no class folder") for file in inner.images)
        for lower in inner.folders:
            visit(lower, part, name)

    def deep(inner: _Node) -> Iterator[str]:
        yield from (inner.where + file for file in (*inner.images, *inner.others))
        for lower in inner.folders:
            yield from deep(lower)

    visit(node, "", "")
    return listed, unused


def _one_spelling(listed: list[Listed]) -> list[Listed]:
    """`train/No_Sub` and `val/no_sub` are one class, as the first part spells it."""
    spellings: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for item in listed:
        spellings[fold(item.name)][item.name].add(item.part)
    chosen: dict[str, str] = {}
    for of_one in spellings.values():
        everywhere = [part for parts in of_one.values() for part in parts]
        apart = len(everywhere) == len(set(everywhere))  # two spellings in one part are two classes
        first = min(of_one, key=lambda name: ("train" not in of_one[name], name))
        chosen |= {name: first if apart else name for name in of_one}
    return [item._replace(name=chosen[item.name]) for item in listed]


def _refuse_partless(folder: Path, listed: list[Listed]) -> None:
    for item in listed:
        if not item.part:
            raise InputError(
                f"--layout parts: {folder / item.path} is in no folder whose name says train, val or test: move it, "
                "or give --layout classes"
            )


def _refuse_untrained(folder: Path, listed: list[Listed]) -> None:
    learned = {item.name for item in listed if item.part == "train"}
    for item in listed:
        if learned and item.name not in learned:
            raise InputError(
                f"--data {folder}: class {item.name} has images for {item.part} and none for training "
                f"({', '.join(sorted(learned))}): give it some, or rename its folder"
            )


def _understood(listed: list[Listed]) -> str:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item in listed:
        counts[item.part][item.name] += 1
    said = (
        f"{part or 'no part'} ({', '.join(f'{count} {name}' for name, count in sorted(counts[part].items()))})"
        for part in ("train", "val", "test", "")
        if part in counts
    )
    return f"by the names of the folders: {', '.join(said)}; --layout classes reads them as classes"


def _several(paths: list[str], most: int = 3) -> str:
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(paths[:most]) + more
