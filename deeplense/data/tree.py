"""What lies in a folder: the tree of its files, by name. Nothing is opened."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from deeplense.data.decode import suffix_of
from deeplense.errors import InputError

BOOKKEEPING = ("__macosx", "@eadir", "$recycle.bin", "thumbs.db", "desktop.ini")
"""What operating systems leave behind; hidden, as names with a dot are."""

DEEPEST = 8
"""Folders below folders that are looked into."""


@dataclasses.dataclass
class Node:
    """One folder."""

    where: str
    """Relative to the set's folder, with a slash at its end; empty for that itself."""
    name: str
    images: list[str] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)
    folders: list[Node] = dataclasses.field(default_factory=list)

    @property
    def filled(self) -> list[Node]:
        """The folders in it that hold images, however deep."""
        return [inner for inner in self.folders if inner.images or inner.filled]


def scan(folder: Path) -> Node:
    """The tree of files below `folder`, without what is hidden. A suffix is enough to be meant as an image.

    Raises:
        InputError: there are folders below folders without end.
    """
    return _scan(folder, "", folder.name, set(), 0)


def paths_of(node: Node) -> list[str]:
    """Paths of all images in a folder and below it, in order."""
    return sorted(
        [node.where + name for name in node.images] + [path for inner in node.folders for path in paths_of(inner)]
    )


def dissolved(node: Node, which: Callable[[Node], bool]) -> Node:
    """The tree without the folders that `which` is true of: what lies in them lies in the folder above."""
    whole = Node(node.where, node.name, list(node.images), list(node.others))
    for inner in (dissolved(below, which) for below in node.folders):
        if which(inner):
            whole.images += [f"{inner.name}/{name}" for name in inner.images]
            whole.others += [f"{inner.name}/{name}" for name in inner.others]
            whole.folders += inner.folders
        else:
            whole.folders.append(inner)
    return whole


def printable(path: str) -> str:
    """A path that can be written down: bytes of other encodings, in an old archive's names, as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _scan(folder: Path, where: str, name: str, above: set[str], depth: int) -> Node:
    node = Node(where, name)
    real = os.path.realpath(folder)
    if real in above:
        return node  # a link that leads back
    if depth > DEEPEST:
        raise InputError(f"--data: {folder} lies more than {DEEPEST} folders deep: give a folder further in")
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
