"""Which files of a folder are images, of which class and part, and what is left over.

Nothing is opened here: all follows from names. What a name could mean two ways is said aloud, and `--layout` decides.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deeplense.data.bands import bands_in_names, is_filter, joined
from deeplense.data.companions import companions_among
from deeplense.data.decode import SUFFIXES
from deeplense.data.names import fold, is_known, part_and_class, part_of
from deeplense.data.tree import Node, dissolved, paths_of, printable, scan
from deeplense.errors import InputError

NO_CLASSES = ("doc", "docs", "documentation", "figure", "figures", "figs", "plots", "notebook", "notebooks", "scripts",
              "code", "src", "papers", "licence", "license", "logs", "metadata")  # fmt: skip
"""Folders beside those of classes, as `fold` gives them, whatever pictures are in them."""


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
    node = dissolved(scan(folder), lambda inner: inner.name in bands)
    node = _descend(folder, node, layout, notes)
    if not labelled and companions_among(paths_of(node)):
        node = _whole(node)  # a folder for each lens, and none for a class
    if not labelled and layout == "auto" and node.filled and all(_is_flat_part(below) for below in node.filled):
        node = dissolved(node, _is_flat_part)  # test/0.png: of no class
    inner = node.filled
    _refuse_empty(folder, node, notes, sparse=bool(inner))
    if not inner:
        listed = [Listed(path, "", "") for path in paths_of(node)]
        if labelled and listed:
            raise InputError(
                f"--data {folder}: has no class folders: give a folder with one folder for each class, or a table of "
                "classes with --labels"
            )
        unused: list[tuple[str, str]] = []
        if listed and node.others:
            notes.append(f"{_several(sorted(node.others))} beside {len(listed)} images: of no format that is read")
    else:
        by_parts = layout == "parts" or (layout == "auto" and _names_say_parts(inner, notes))
        if by_parts:
            _refuse_other_parts(folder, inner)
        elif layout == "auto":
            _refuse_flat_parts(folder, inner)
        listed, unused = _sort_out(node, by_parts)
        if by_parts:
            _refuse_partless(folder, listed)
        listed = _one_spelling(listed)
        if by_parts:
            _refuse_untrained(folder, listed)
            notes.append(_understood(listed))
    companions = set(companions_among(item.path for item in listed))
    if companions:
        notes.append(f"{_several(sorted(companions))} by name belong to the images beside them, and are no lenses")
        listed = [item for item in listed if item.path not in companions]
    if bands:
        found, left = joined([item.path for item in listed], bands)
        listed = [item._replace(bands=found[item.path]) for item in listed if item.path in found]
        unused += left
    elif said := bands_in_names([item.path for item in listed]):
        notes.append(
            f"names of files end in {', '.join(said)}: each file is read as an image of its own; --bands "
            f"{' '.join(said)} makes one of those that differ in nothing else"
        )
    if not listed:
        _refuse_nothing(folder, unused, labelled, bands)
    names = sorted({item.name for item in listed})
    if labelled and len(names) < 2:
        raise InputError(f"--data {folder}: has one class ({names[0]}): two are needed to tell apart")
    return Layout(sorted(listed), unused, notes)


def _descend(folder: Path, node: Node, layout: str, notes: list[str]) -> Node:
    """An archive unpacks to `lenses/lenses/no_sub`: to the folder of the class folders, without what lies beside it."""
    node = _without_others(folder, node, layout, notes)
    while not node.images and len(node.filled) == 1:
        (only,) = node.filled
        if (
            only.images
            or part_and_class(only.name)[0]
            or any(is_known(other.name) for other in node.folders if other is not only)
        ):
            break
        node = _without_others(folder, only, layout, notes)
    if node.where:
        notes.append(f"--data {folder}: the class folders are those in {folder / node.where}")
    return node


def _without_others(folder: Path, node: Node, layout: str, notes: list[str]) -> Node:
    """Without folders that are called like no class, where others hold images."""
    others = [inner for inner in node.folders if fold(inner.name) in NO_CLASSES]
    if layout == "classes" or not others or not any(inner not in others for inner in node.filled):
        return node
    for inner in others:
        count = len(paths_of(inner))
        why = f"is no class by its name, and its {count} images are not used" if count else "is taken for no class"
        more = "; --layout classes takes it for one" if count else ""
        notes.append(f"{folder / inner.where} {'' if count else 'holds no images, and '}{why}{more}")
    return dataclasses.replace(node, folders=[inner for inner in node.folders if inner not in others])


def _refuse_empty(folder: Path, node: Node, notes: list[str], sparse: bool) -> None:
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


def _names_say_parts(inner: list[Node], notes: list[str]) -> bool:
    """Whether the names of folders that hold images say `train` and `test` beside classes, or in their place."""
    tops = [part_and_class(node.name) for node in inner]
    with_classes = {part for (part, name), node in zip(tops, inner, strict=True) if part and not name and node.filled}
    if "train" in with_classes or (with_classes and all(part and not name for part, name in tops)):
        return True  # train/no_sub; or test/no_sub and nothing else
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


def _sort_out(node: Node, by_parts: bool) -> tuple[list[Listed], list[tuple[str, str]]]:
    """The images of class folders, and what lies there and is none, or lies elsewhere."""
    listed: list[Listed] = []
    unused: list[tuple[str, str]] = []

    def visit(inner: Node, part: str, name: str) -> None:
        if inner is not node:
            said, own = part_and_class(inner.name) if by_parts else ("", inner.name)
            if (said and part) or (own and name):
                unused.extend((path, f"lies in a folder within the class folder {name or own}") for path in deep(inner))
                return
            if own and not name:
                inner = _whole(inner)
            part, name = part or said, name or printable(own)
        if name:
            listed.extend(Listed(inner.where + file, name, part) for file in inner.images)
            unused.extend((inner.where + file, "is of no format that is read") for file in inner.others)
        else:
            unused.extend((inner.where + file, "lies in no class folder") for file in inner.images)
        for lower in inner.folders:
            visit(lower, part, name)

    def deep(inner: Node) -> Iterator[str]:
        yield from (inner.where + file for file in (*inner.images, *inner.others))
        for lower in inner.folders:
            yield from deep(lower)

    visit(node, "", "")
    return listed, unused


def _whole(node: Node) -> Node:
    """A class folder with the images that lie one folder deeper, if that is how all of it is made.

    `no_sub/images/0.png`, or `no_sub/lens0/data.fits`: a folder for each lens and what belongs to it.
    """
    inner = node.filled
    if node.images or any(below.filled or _says_something(below.name) for below in inner):
        return node
    lenses = [len(paths_of(below)) - len(companions_among(paths_of(below))) for below in inner]
    return dissolved(node, lambda below: below in inner) if len(inner) == 1 or set(lenses) == {1} else node


def _says_something(name: str) -> bool:
    """Whether a folder is called like a class, a part or a band."""
    return is_known(name) or bool(part_and_class(name)[0]) or is_filter(name)


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


def _refuse_other_parts(folder: Path, inner: list[Node]) -> None:
    """`dev/no_sub` beside `train/no_sub`: a part that is called otherwise."""
    learned = {below.name for node in inner if part_of(node.name) == "train" for below in node.filled}
    for node in inner:
        names = {below.name for below in node.filled}
        if names and names <= learned and not part_and_class(node.name)[0]:
            raise InputError(
                f"--data: {folder / node.where} holds classes, and its name does not say for which part: call it "
                "train, val or test, or move it away"
            )


def _refuse_nothing(folder: Path, unused: list[tuple[str, str]], labelled: bool, bands: tuple[str, ...]) -> None:
    if unused:
        path, reason = unused[0]
        remedy = "name those that there are with --bands" if bands else "give the folder of the class folders"
        raise InputError(
            f"--data {folder}: none of its {len(unused)} files is used ({folder / path} {reason}, for one): {remedy}"
        )
    what = "has no class folders" if labelled else "holds no images"
    raise InputError(f"--data {folder}: {what} ({' '.join(SUFFIXES)})")


def _is_flat_part(node: Node) -> bool:
    """Whether a folder is called like a part, and holds images of no class."""
    return bool(part_of(node.name)) and not node.filled


def _refuse_flat_parts(folder: Path, inner: list[Node]) -> None:
    for node in inner:
        if _is_flat_part(node):
            raise InputError(
                f"--data: {folder / node.where} is called like a part, and its images are in no class folders: put "
                "them in some, or move it away; if it is a class, give --layout classes"
            )


def _refuse_partless(folder: Path, listed: list[Listed]) -> None:
    """Where names say parts, an image without one would end in any of them."""
    for item in listed:
        if not item.part:
            raise InputError(
                f"--data: {folder / item.path} is in no folder whose name says train, val or test: move it, "
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
