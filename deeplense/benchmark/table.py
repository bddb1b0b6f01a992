"""Tables from kept results: the figures of several machines side by side, each under its own name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeplense.errors import InputError

FORMAT = 1

Row = tuple[str, str]
"""What is measured, and the figure."""


def read(file: Path) -> dict[str, Any]:
    """What `benchmark all` kept in `file`.

    Raises:
        InputError: there is no such file, or it is none of these.
    """
    try:
        found: dict[str, Any] = json.loads(file.read_text())
        if found["format"] == FORMAT and isinstance(found["results"], dict) and isinstance(found["left_out"], dict):
            return found
    except OSError as error:
        raise InputError(f"--table {file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(f"--table {file}: is no file of `python -m deeplense.benchmark all --json FILE`")


def render(files: dict[str, dict[str, Any]]) -> str:
    """A Markdown table with a column for each file, and a line for each figure that one of them has."""
    columns = [dict(_rows(found)) for found in files.values()]
    names = list(dict.fromkeys(name for column in columns for name in column))
    short = [Path(file).name for file in files]
    called = dict(zip(files, short if len(set(short)) == len(short) else files, strict=True))
    lines = [["", *(f"`{name}`" for name in called.values())], ["---"] * (len(files) + 1)]
    lines += [[name, *(column.get(name, "") for column in columns)] for name in names]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    missing = [
        f"`{called[file]}` is without `{name}`: {reason}"
        for file, found in files.items()
        for name, reason in found["left_out"].items()
    ]
    return "\n".join([table, *(["", *missing] if missing else [])])


def _rows(found: dict[str, Any]) -> Iterator[Row]:
    results = found["results"]
    yield from _machine(results)
    for name, result in results.items():
        yield from KINDS[name](result)


def _machine(results: dict[str, Any]) -> Iterator[Row]:
    """Hardware, versions and precision: of a GPU rather than of the CPU beside it, which some benchmarks stay on."""
    names = [result["hardware"] for result in results.values()]
    if names:
        yield "hardware", max(names, key=len)
    versions = {name: version for result in results.values() for name, version in result["versions"].items()}
    if versions:
        yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    for result in results.values():
        if "precision" in result:
            yield "precision", result["precision"]
            return


def _train(result: dict[str, Any]) -> Iterator[Row]:
    settings, ours = result["settings"], result["results"]["deeplense"]
    for kind in ("training", "scoring"):
        for name, one in result["results"].items():
            times = "" if name == "deeplense" else f"; {ours[kind]['median'] / one[kind]['median']:.2f} times as fast"
            where = f"{settings['image_size']} px, batch {settings['batch_size']}" if kind == "training" else "scoring"
            yield f"{name}, {where}, images/s", _rate(one[kind]) + times


def _simulate(result: dict[str, Any]) -> Iterator[Row]:
    for name in ("deeplense", "lenstronomy"):
        yield f"{name} simulates, images/s", f"{_rate(result[name])} {result[name]['what']}"


def _load(result: dict[str, Any]) -> Iterator[Row]:
    for name, one in result["results"].items():
        yield f"{name} loads a folder, images/s", _rate(one["images_per_second"])


def _online(result: dict[str, Any]) -> Iterator[Row]:
    yield "an online epoch, against a stored one", f"{result['ratio']:.2f} times as long"


def _start(result: dict[str, Any]) -> Iterator[Row]:
    yield "launch to first step, s", _rate(result["seconds_to_first_step"], 1)
    above = result["peak_memory_gib"] - result["images_gib"] - result["network_gib"]
    yield "memory above images and network, GiB", f"{above:.2f}"


def _processes(result: dict[str, Any]) -> Iterator[Row]:
    for one in result["results"]:
        yield f"{one['processes']} process(es) on the CPU, images/s", _rate(one["images_per_second"])
    yield "the same, predicted from what they exchange", f"{result['predicted_images_per_second']:.0f}"
    for one in result["gpus"]:
        what = f"estimated: {one['nodes']} node(s) of {one['gpus']} H100, {one['images_per_gpu']} images each, images/s"
        yield what, f"{one['images_per_second']:,.0f}, {one['efficiency']:.0%} of as many alone"


def _growth(result: dict[str, Any]) -> Iterator[Row]:
    for one in result["results"]:
        what = f"{one['count']:,} images, batch {one['batch_size']}, {one['image_size']} px, images/s"
        yield what, _rate(one["images_per_second"])


KINDS = {
    "train": _train,
    "simulate": _simulate,
    "load": _load,
    "online": _online,
    "start": _start,
    "processes": _processes,
    "growth": _growth,
}


def _rate(rate: dict[str, Any], places: int = 0) -> str:
    """Median and range."""
    return f"{rate['median']:,.{places}f} ({rate['lowest']:,.{places}f} to {rate['highest']:,.{places}f})"
