"""All benchmarks in one file, and the tables of several machines from such files."""

import json

import pytest
from conftest import run_python

from deeplense.benchmark.table import KINDS, read, render
from deeplense.benchmark.together import PARTS, All, measure
from deeplense.errors import InputError


def rate(median):
    return {"median": median, "lowest": median / 2, "highest": median * 2, "rounds": 5}


def result(hardware, **own):
    return {"hardware": hardware, "versions": {"torch": "2.14"}, **own}


def kept(hardware, training):
    """A file of a machine that has measured two things, and had no time for a third."""
    ways = {
        name: {"training": rate(training / by), "scoring": rate(4 * training / by)}
        for name, by in (("deeplense", 1), ("tuned", 2))
    }
    train = result(hardware, precision="fp16", settings={"image_size": 64, "batch_size": 128}, results=ways)
    start = result(hardware, seconds_to_first_step=rate(7.25), peak_memory_gib=3.0, images_gib=0.4, network_gib=0.2)
    return {"format": 1, "results": {"train": train, "start": start}, "left_out": {"growth": "no time was left"}}


def test_figures_of_two_machines_stand_side_by_side():
    table = render({"a/small.json": kept("a laptop", 300), "b/large.json": kept("a GPU", 200_000)}).splitlines()
    assert table[:3] == [
        "|  | `small.json` | `large.json` |",
        "| --- | --- | --- |",
        "| hardware | a laptop | a GPU |",
    ]
    ours = "| deeplense, 64 px, batch 128, images/s | 300 (150 to 600) | 200,000 (100,000 to 400,000) |"
    twice = "; 2.00 times as fast"
    theirs = f"| tuned, scoring, images/s | 600 (300 to 1,200){twice} | 400,000 (200,000 to 800,000){twice} |"
    assert ours in table
    assert theirs in table
    assert "| launch to first step, s | 7.2 (3.6 to 14.5) | 7.2 (3.6 to 14.5) |" in table
    assert "| memory above images and network, GiB | 2.40 | 2.40 |" in table
    assert table[-1] == "`large.json` is without `growth`: no time was left"
    assert all(line.count("|") == 4 for line in table[:-3])


def test_a_machine_that_lacks_a_figure_has_an_empty_place():
    poor = {**kept("a laptop", 300), "results": {}}
    assert "| deeplense, 64 px, batch 128, images/s |  | 8 (4 to 16) |" in render({"a": poor, "b": kept("b", 8)})


def test_every_benchmark_has_its_lines():
    assert set(KINDS) == set(PARTS)


@pytest.mark.slow
def test_measured_kept_and_rendered(lenses, tmp_path):
    """As a user would: one benchmark for all of them, each a process of its own."""
    file = tmp_path / "here.json"
    done = run_python("-m", "deeplense.benchmark", "all", "--only", "load", "--data", lenses, "--json", file)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("load: 8.0 minutes are left")
    assert read(file)["results"]["load"]["images"] == 240
    shown = run_python("-m", "deeplense.benchmark", "--table", file, file)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[0] == "|  | `here.json` |"  # once: it is one machine
    assert "| deeplense loads a folder, images/s | " in shown.stdout
    assert done.stdout == shown.stdout


def test_what_there_is_no_time_for_is_named(tmp_path):
    file = tmp_path / "none.json"
    measure(All(json=file, minutes=1e-12))
    assert json.loads(file.read_text())["left_out"] == dict.fromkeys(PARTS, "no time was left")
    measure(All(json=file, minutes=0.02, only=("load",)))  # Python alone takes longer with torch
    assert read(file)["left_out"] == {"load": "it took longer than its 1 s"}


def test_what_fails_is_named(tmp_path):
    file = tmp_path / "none.json"
    measure(All(json=file, only=("load",), data=str(tmp_path / "nowhere")))
    assert read(file)["left_out"] == {"load": f"--data {tmp_path / 'nowhere'}: there is no such folder"}


def test_what_cannot_be_rendered_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--table .*none\.json: cannot be read \(No such file or directory\)"):
        read(tmp_path / "none.json")
    (tmp_path / "other.json").write_text('{"results": []}')
    with pytest.raises(
        InputError, match=r"other\.json: is no file of `python -m deeplense\.benchmark all --json FILE`"
    ):
        read(tmp_path / "other.json")
    for settings, message in (
        ({"only": ("speed",)}, "--only speed: there is no such benchmark; there are train, simulate"),
        ({"minutes": 0}, "--minutes 0: give more than 0"),
        ({"table": (tmp_path,), "json": tmp_path}, "--table renders files that are there, --json makes one"),
    ):
        with pytest.raises(InputError, match=message):
            All(**settings)
