"""The best weights of a run: written aside and renamed while it trains, read back to be used."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from deeplense.errors import InputError, TrainingError
from deeplense.evaluation.card import Card
from deeplense.files import replaced_name, write_folder
from deeplense.machine.finite import not_finite
from deeplense.network.model import placed, strange_to

State = dict[str, torch.Tensor]
C = TypeVar("C", bound=Card)


def keep_best(folder: Path, network: torch.nn.Module, card: Card) -> None:
    """Write `folder/best`: the weights, and what is needed to use them.

    Raises:
        TrainingError: they could not be written, or are not finite; those that were there still are.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    if bad := not_finite(weights):
        raise TrainingError(
            f"{bad} of the best weights is not finite: lower --lr; what {folder} has of before is whole"
        )
    files = {
        "model.safetensors": to_bytes(weights),
        "model.json": (json.dumps(dataclasses.asdict(card), indent=2) + "\n").encode(),
    }
    try:
        write_folder(folder / "best", files)
    except OSError as error:
        raise TrainingError(
            f"the best weights cannot be written to {folder} ({error.strerror}): the ones before are whole; "
            "make room and go on with --resume"
        ) from None


def best_folder(run: Path) -> Path:
    """Where the best weights of `run` are. Raises `InputError` if there are none."""
    folder = run / "best"
    if not folder.is_dir() and replaced_name(folder).is_dir():
        folder = replaced_name(folder)  # a crash between two renames
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{run} has no weights (best/model.safetensors): give the folder of a run that has validated")
    return folder


def read_best(run: Path, kind: type[C]) -> tuple[Path, State, C]:
    """The folder of the best weights of `run`, the weights, and their card.

    Raises:
        InputError: there are none, or they are damaged.
    """
    folder = best_folder(run)
    try:
        content = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        card = kind.read(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'model.json'} is damaged ({error}): restore it") from None
    try:
        return folder, load_file(folder / "model.safetensors"), card
    except Exception as error:  # safetensors raises many kinds for damaged files
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / 'model.safetensors'} is damaged ({reason}): restore it") from None


def load_best(network: torch.nn.Module, folder: Path, weights: State) -> torch.nn.Module:
    """`network` with the weights that `read_best` found in `folder`, on the CPU in evaluation mode.

    Raises:
        InputError: they are of a network of other layers, as those of an older program may be.
    """
    if odd := strange_to(network, weights):
        raise InputError(
            f"{folder / 'model.safetensors'} is of another network than this program's ({odd}): train it anew, or use "
            f"the program that {folder.parent / 'record.json'} names under git"
        )
    network.load_state_dict(weights)
    return placed(network.eval(), torch.device("cpu"))
