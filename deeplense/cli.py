"""From the command line, or a saved file, to a configuration."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from deeplense.config import TrainConfig
from deeplense.errors import InputError

T = TypeVar("T")

TRAIN_DESCRIPTION = """Train a classifier of strong-lens images: substructure, or none.

Start from a preset and change what you like; the preset comes first, its flags after it. `--config FILE` starts
from a saved config.json instead (`--config runs/NAME/config.json --name AGAIN` repeats a run).
"""


def parse_training(
    arguments: Sequence[str], presets: dict[str, TrainConfig], descriptions: dict[str, str]
) -> TrainConfig:
    """Parse the arguments of `train.py`: a preset or `--config FILE`, then flags, which win.

    Raises:
        InputError: arguments that cannot be understood, refused settings, or a file that is not a configuration.
    """
    arguments, file = _take_option(_spelled_out(arguments), "--config")
    if file is not None:
        saved = load_config(Path(file))
        return parse(TrainConfig, arguments, description=TRAIN_DESCRIPTION, default=saved)
    return parse(
        tyro.extras.subcommand_type_from_defaults(presets, descriptions),
        arguments,
        description=TRAIN_DESCRIPTION,
        default=presets["report"],
    )


def parse(kind: Callable[..., T], arguments: Sequence[str], description: str, **options: Any) -> T:
    """`tyro.cli` with flat flags, whose complaint is an `InputError` of one line in place of a printed box."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                args=arguments,
                description=description,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.CascadeSubcommandArgs),
                **options,
            )
    except SystemExit as stop:
        if not stop.code:  # --help, already printed
            raise
        raise InputError(_one_line(complaint.getvalue())) from None


def save_config(config: TrainConfig, file: Path) -> None:
    """Write `config` as JSON, nested like the dataclasses."""
    file.write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n", encoding="utf-8")


def load_config(file: Path) -> TrainConfig:
    """Read back what `save_config` wrote, to an equal object.

    Raises:
        InputError: no such file, no JSON, or settings unknown, missing their type or refused.
    """
    import pydantic  # here, since it would slow every other start

    try:
        return pydantic.TypeAdapter(TrainConfig).validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); a configuration is a run's config.json") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{file} is damaged or not a configuration ({where + ': ' if where else ''}{first['msg']}): "
            "restore it, or give the settings as flags"
        ) from None


def flag_name(field: str) -> str:
    """The flag of a field: `val_fraction` is `--val-fraction`."""
    return "--" + field.replace("_", "-")


def flat(config: TrainConfig) -> dict[str, Any]:
    """All settings by field name, as the flags are: without the components."""
    settings: dict[str, Any] = {}
    for name, value in dataclasses.asdict(config).items():
        settings.update(value if isinstance(value, dict) else {name: value})
    return settings


def _take_option(arguments: list[str], option: str) -> tuple[list[str], str | None]:
    """Take `option VALUE` or `option=VALUE` out of `arguments`, which tyro does not know."""
    for place, argument in enumerate(arguments):
        if argument == option:
            if place + 1 == len(arguments):
                raise InputError(f"{option} needs a value: give a file")
            return arguments[:place] + arguments[place + 2 :], arguments[place + 1]
        if argument.startswith(option + "="):
            return arguments[:place] + arguments[place + 1 :], argument.removeprefix(option + "=")
    return arguments, None


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """`--compile` and `--no-compile` alone, as flags of two values have it; this one has a third."""
    spelled: list[str] = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        if argument == "--no-compile":
            spelled += ["--compile", "False"]
        elif argument == "--compile" and following.startswith("--"):
            spelled += ["--compile", "True"]
        else:
            spelled.append(argument)
    return spelled


def _one_line(box: str) -> str:
    """The text of one of tyro's framed messages, without the frame and the help that it repeats."""
    parts = [[]]  # type: list[list[str]]
    for line in box.splitlines()[1:]:  # the first line is the frame's title
        text = line.strip("│╰╯ ")
        if re.fullmatch(r"─*", text):
            parts.append([])
        else:
            parts[-1].append(text)
    told = [" ".join(part) for part in parts if part and not part[0].startswith("Argument helptext")]
    return "; ".join(told) or f"{sys.argv[0]}: see --help"
