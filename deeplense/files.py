"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def write_json(file: Path, content: Any) -> None:
    """Write JSON so that `file` is at any moment whole."""
    write_text(file, json.dumps(content, indent=2) + "\n")


def write_text(file: Path, content: str) -> None:
    """Write so that `file` is at any moment whole."""
    write_bytes(file, content.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write so that `file` is at any moment whole."""
    aside = file.with_name(f".{file.name}.partial")
    aside.write_bytes(content)
    aside.replace(file)


def write_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files so that it survives a power cut, see `replacing`."""
    with replacing(target) as aside:
        for name, content in files.items():
            with (aside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(aside)
    _sync(target.parent)


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A folder to fill, which then takes the place of `target`; at any moment `target` or `target.replaced` is whole.

    A folder that is there already is moved to `target.replaced` until its successor stands, and then deleted. After an
    error it stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        yield aside
        replaced = replaced_name(target)
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            target.rename(replaced)
        aside.rename(target)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def replaced_name(target: Path) -> Path:
    """Where `replacing` keeps the folder that it replaces."""
    return target.with_name(f"{target.name}.replaced")


def _sync(folder: Path) -> None:
    """Make renames within `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
