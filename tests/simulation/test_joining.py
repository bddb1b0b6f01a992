"""Shares of a set: made apart, joined to the same bytes as in one go, and what is said of those that do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from deeplense.errors import InputError
from deeplense.simulation import joining
from deeplense.simulation.joining import join_parts
from deeplense.simulation.shares import Part
from deeplense.simulation.write import simulate_set

COUNT = 70


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def make(folder: Path, part: str | None, seed: int = 4, count: int = COUNT) -> None:
    share = None if part is None else Part.parse(part)
    simulate_set("one_subhalo", folder, count, seed=seed, progress=False, part=share)


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shares, made in another order."""
    folder = tmp_path_factory.mktemp("shares")
    for part in ("3/3", "1/3", "2/3"):
        make(folder, part)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    make(folder, None)
    return content(folder)


def test_joined_shares_are_the_set_as_made_in_one_go(tmp_path: Path, shares: Path, whole: dict[str, bytes]) -> None:
    shutil.copytree(shares, tmp_path / "set")
    first = (tmp_path / "set" / "part-1-of-3" / "images.npy").stat().st_ino
    assert join_parts(tmp_path / "set", "one_subhalo") == COUNT
    assert content(tmp_path / "set") == whole
    assert (tmp_path / "set" / "images.npy").stat().st_ino == first  # moved, not copied
    # Of two tasks that end at the same time the second one finds it done; and a share comes too late.
    assert join_parts(tmp_path / "set", "one_subhalo") == COUNT
    with pytest.raises(InputError, match=r"set: holds a whole set already: give another folder, or leave --part out$"):
        make(tmp_path / "set", "2/3")
    assert content(tmp_path / "set") == whole


@pytest.mark.parametrize("step", range(8))
def test_an_interrupted_join_goes_on(
    tmp_path: Path, shares: Path, whole: dict[str, bytes], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off at each of the steps that change files."""
    shutil.copytree(shares, tmp_path / "set")
    left = step

    def cut_off(original):
        def function(*arguments, **options):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return original(*arguments, **options)

        return function

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off(Path.rename))
        patch.setattr(joining.Packed, "take_over", cut_off(joining.Packed.take_over))
        patch.setattr(joining.Table, "append", cut_off(joining.Table.append))
        with pytest.raises(KeyboardInterrupt):
            join_parts(tmp_path / "set", "one_subhalo")
    assert join_parts(tmp_path / "set", "one_subhalo") == COUNT
    assert content(tmp_path / "set") == whole


def test_shares_that_do_not_fit_are_named(tmp_path: Path, shares: Path) -> None:
    def refused(folder: Path) -> str:
        before = content(folder)
        with pytest.raises(InputError) as refusal:
            join_parts(folder, "one_subhalo")
        assert content(folder) == before
        return str(refusal.value)

    with pytest.raises(InputError, match=r"set: has no shares to join: make them with --part K/N$"):
        join_parts(tmp_path / "set", "one_subhalo")
    shutil.copytree(shares, tmp_path / "missing")
    shutil.rmtree(tmp_path / "missing" / "part-2-of-3")
    assert refused(tmp_path / "missing").endswith("part 2 of 3 is missing: make them with --part K/3")
    with pytest.raises(InputError, match=r"set2: has shares of one_subhalo, and none of model_i: name that set$"):
        join_parts(shutil.copytree(shares, tmp_path / "set2"), "model_i")
    shutil.copytree(shares, tmp_path / "cut")
    for place in (1, 3):
        table = tmp_path / "cut" / f"part-{place}-of-3" / "catalog.csv"
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    assert refused(tmp_path / "cut").endswith(
        "parts 1, 3 of 3 are not finished: give their commands again, and then join"
    )
    shutil.copytree(shares, tmp_path / "other")
    about = tmp_path / "other" / "part-3-of-3" / "dataset.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "seed": 5, "unit": "ADU"}))
    assert refused(tmp_path / "other").endswith(
        "part-3-of-3: seed, unit differ from those of part 1: make this share again"
    )
    about.write_text("{")
    assert refused(tmp_path / "other").endswith("dataset.json: is damaged: make this share again")
    (tmp_path / "other" / "part-1-of-2").mkdir()
    assert "has shares of 2 and of 3 parts" in refused(tmp_path / "other")


def test_parts_are_understood_or_refused() -> None:
    assert Part.parse("3/8") == Part(3, 8)
    assert [Part(k, 4).span(10) for k in (1, 2, 3, 4)] == [(0, 2), (2, 5), (5, 7), (7, 10)]
    for text in ("0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/3", "²/3"):
        with pytest.raises(InputError, match=r"^--part .*: give K/N for the K-th of N shares, 1/8 to 8/8 say$"):
            Part.parse(text)
    with pytest.raises(InputError, match=r"^--part 1/4: --count 3 is too few for 4 shares$"):
        Part(1, 4).span(3)
    with pytest.raises(InputError, match=r"^--part: shares are packed sets: leave --format out$"):
        simulate_set("one_subhalo", Path("nowhere"), 8, form="folders", part=Part(1, 2))
