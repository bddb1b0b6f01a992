"""A table of classes beside a folder of images: `--labels FILE`."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from deeplense.data.bands import base_of, joined
from deeplense.data.companions import companions_among
from deeplense.data.decode import SUFFIXES, stem_of
from deeplense.data.layout import Layout, Listed
from deeplense.data.names import PART_WORDS, fold
from deeplense.data.tree import paths_of, scan
from deeplense.errors import InputError

PATH_COLUMNS = ("path", "file", "filename", "filepath", "image", "imagepath", "name", "id", "imageid", "objectid",
                "objid", "index", "uid")  # fmt: skip
CLASS_COLUMNS = ("class", "label", "target", "category", "type", "islens", "y")
PART_COLUMNS = ("part", "split", "set", "subset")
"""Headers that are known, as `fold` gives them, the first that is there wins."""


def labelled_files(folder: Path, table: Path, bands: tuple[str, ...] = ()) -> Layout:
    """The images below `folder` that `table` gives a class.

    An image is found by its path, its name or its id, each with or without suffix.

    Raises:
        InputError: the table has no such columns, names images that are not there or twice, or leaves a class alone.
        OSError: the folder cannot be read.
    """
    paths = paths_of(scan(folder))
    companions = companions_among(paths)
    files = [Listed(path, "", "") for path in paths if path not in set(companions)]
    unused: list[tuple[str, str]] = []
    if bands:
        found, unused = joined([item.path for item in files], bands)
        files = [item._replace(bands=found[item.path]) for item in files if item.path in found]
    if not files:
        raise InputError(f"--data {folder}: holds no images ({' '.join(SUFFIXES)})")
    find = _finder(files, bands)
    listed: dict[str, Listed] = {}
    rows = read_table(table)
    for line, (key, name, part) in rows:
        meant = find(key)
        if not meant:
            unused.append((key, "has no image of its own"))
        elif len(meant) > 1:
            raise InputError(
                f"--labels {table}: {key} in line {line} is {len(meant)} images, {meant[0].path} and {meant[1].path} "
                "for two: give their paths"
            )
        else:
            item = meant[0]._replace(name=name, part=part)
            if listed.setdefault(item.path, item) != item:
                raise InputError(f"--labels {table}: {item.path} has two classes or parts, the second in line {line}")
    unused += [(item.path, f"has no line in {table.name}") for item in files if item.path not in listed]
    if not listed:
        raise InputError(
            f"--labels {table}: names none of the images in {folder}: it has «{rows[0][1][0]}», and one of the images "
            f"is {files[0].path}: give their paths, their names or the numbers at the ends of these"
        )
    names = sorted({item.name for item in listed.values()})
    if len(names) < 2:
        raise InputError(f"--labels {table}: has one class ({names[0]}): two are needed to tell apart")
    note = f"{len(listed)} images have their class from {table}: {', '.join(names)}"
    notes = [note] + ([f"{', '.join(companions[:3])} are no lenses by name"] if companions else [])
    return Layout(sorted(listed.values()), unused, notes)


def _finder(files: list[Listed], bands: tuple[str, ...]) -> Callable[[str], list[Listed]]:
    """What a key of a table may mean: a path, or the end of one from another computer, a name, or the number that a
    name ends in, with or without zeros before it; the first that is there."""
    named: dict[str, list[Listed]] = defaultdict(list)
    numbered: dict[str, list[Listed]] = defaultdict(list)
    for item in files:
        pure, stem = PurePosixPath(item.path), stem_of(item.path)
        for key in {item.path, pure.name, str(pure.with_name(stem)), stem, base_of(item.path, bands)}:
            named[key].append(item)
        number = re.search(r"\d+$", base_of(item.path, bands))
        if number:
            numbered[number.group().lstrip("0")].append(item)

    def find(key: str) -> list[Listed]:
        parts = key.removeprefix("./").split("/")
        for start in range(len(parts)):
            if meant := named.get("/".join(parts[start:])):
                return meant
        return numbered.get(key.lstrip("0"), []) if key.isdecimal() else []

    return find


def read_table(file: Path) -> list[tuple[int, tuple[str, str, str]]]:
    """Line number, and image, class and part of each row."""
    rows = read_csv(file, "--labels")
    if not rows:
        raise InputError(f"--labels {file}: has no rows: give a header, path,class for one, and a line for each image")
    columns = {fold(name): name for name in rows[0] if name}
    path, name, part = (
        next((columns[word] for word in words if word in columns), None)
        for words in (PATH_COLUMNS, CLASS_COLUMNS, PART_COLUMNS)
    )
    if path is None or name is None:
        raise InputError(
            f"--labels {file}: its columns are {', '.join(columns.values())}: give one called path, file or id, and "
            "one called class or label"
        )
    found = []
    for line, row in enumerate(rows, 2):
        key, own, said = (str(row[column] or "").strip() if column else "" for column in (path, name, part))
        if not key or not own:
            raise InputError(
                f"--labels {file}: line {line} has no {name if key else path}: give it, or remove the line"
            )
        if said and fold(said) not in PART_WORDS:
            raise InputError(f"--labels {file}: line {line} has the {part} «{said}»: give train, val or test")
        found.append((line, (key.replace("\\", "/"), own, PART_WORDS.get(fold(said), ""))))
    if len({bool(row[2]) for _, row in found}) > 1:
        line = next(line for line, row in found if not row[2])
        raise InputError(f"--labels {file}: line {line} has no {part}, and others have: give it for all or none")
    return found


def read_csv(file: Path, what: str) -> list[dict[str, str]]:
    """The rows of a table, whatever spreadsheet wrote it: with a BOM, in Latin-1, with semicolons or tabs,
    with empty lines.

    Raises:
        InputError: it cannot be read; the message begins with `what`.
    """
    try:
        content = file.read_bytes()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        header = text.split("\n", 1)[0]
        sign = max(",;\t", key=header.count)
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=sign))
        return [row for row in rows if any(row.values())]
    except (OSError, ValueError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{what} {file}: cannot be read as a table ({reason}): give a CSV file") from None
