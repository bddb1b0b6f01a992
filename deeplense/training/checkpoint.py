"""Checkpoints: written aside and renamed, with checksums, and nothing in them is ever unpickled.

    checkpoints/step_00001234/
        model.safetensors      weights and batch-norm statistics
        average.safetensors    their moving average, if there is one
        optimizer.safetensors  its tensors, named `PARAMETER.NAME`
        state.json             numbers: where the run is, the loss scale, the sums behind the next log line
        manifest.json          format and SHA-256 of each file

Batches and augmentation are functions of (seed, epoch, place), so no random state needs keeping, one process can write
for all, and another number of processes can read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes

from deeplense.errors import InputError, TrainingError, is_first_process
from deeplense.files import write_folder
from deeplense.machine.finite import not_finite

FORMAT = 1

State = dict[str, torch.Tensor]


class Damaged(Exception):
    """A checkpoint that cannot be used; the message says which file, and how it was noticed."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """All that is needed to go on."""

    model: State
    optimizer: State
    state: dict[str, Any]
    average: State | None = None


def save_checkpoint(folder: Path, step: int, checkpoint: Checkpoint, keep: int) -> Path:
    """Write `folder/step_XXXXXXXX` and then delete all but the newest `keep`.

    Raises:
        TrainingError: it could not be written, or would hold numbers that are not finite; those that were there still
            are.
    """
    tensors = {"model": _contiguous(checkpoint.model), "optimizer": _contiguous(checkpoint.optimizer)}
    if checkpoint.average is not None:
        tensors["average"] = _contiguous(checkpoint.average)
    for name, state in tensors.items():
        if bad := not_finite(state):
            raise TrainingError(f"{bad} of the {name} is not finite at step {step}: {remedy(folder)}")
    files = {f"{name}.safetensors": to_bytes(state) for name, state in tensors.items()}
    files["state.json"] = json.dumps(checkpoint.state, indent=2).encode()
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["manifest.json"] = json.dumps({"format": FORMAT, "sha256": sums}, indent=2).encode()
    target = folder / f"step_{step:08d}"
    try:
        write_folder(target, files)
    except OSError as error:
        raise TrainingError(
            f"the checkpoint {target} cannot be written ({error.strerror}): the ones before it are whole; "
            "make room and go on with --resume"
        ) from None
    # Later ones are damaged, or the run would have gone on from them.
    later = [path for path in _candidates(folder) if path.name > f"{target.name}.replaced"]
    earlier = [path for path in _candidates(folder) if path not in later]
    for old in later + earlier[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, after a warning for each newer one that is not; None if there are none.

    Raises:
        InputError: there are some, and none is whole.
    """
    candidates = _candidates(folder)
    for candidate in candidates:
        try:
            return read_checkpoint(candidate)
        except Damaged as damage:
            if is_first_process():
                print(f"warning: checkpoint {candidate} is damaged ({damage}): using the one before", file=sys.stderr)
    if candidates:
        raise InputError(f"--resume: no checkpoint in {folder} is whole: restore one, or start again with --overwrite")
    return None


def remedy(folder: Path) -> str:
    """What helps a run whose numbers are not finite any more, and which of its checkpoints can be used."""
    whole = []
    for candidate in reversed(_candidates(folder)):
        with contextlib.suppress(Damaged):
            read_checkpoint(candidate)
            whole.append(candidate.name)
    said = f"whole {'is' if len(whole) == 1 else 'are'} {', '.join(whole)}" if whole else "there is no checkpoint yet"
    return f"lower --lr, give --clip-norm, or --mixed-precision no; {said}"


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify one checkpoint. Raises `Damaged`."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if manifest["format"] != FORMAT:
            raise Damaged(f"its format is {manifest['format']}, this program reads {FORMAT}")
        files = {}
        for name, expected in manifest["sha256"].items():
            files[name] = (folder / name).read_bytes()
            if hashlib.sha256(files[name]).hexdigest() != expected:
                raise Damaged(f"{name} does not match its checksum in manifest.json")
        tensors = {
            file.removesuffix(".safetensors"): from_bytes(content)
            for file, content in files.items()
            if file.endswith(".safetensors")
        }
        for name, state in tensors.items():
            if bad := not_finite(state):
                raise Damaged(f"{bad} in {name}.safetensors is not finite")
        return Checkpoint(
            model=tensors["model"],
            optimizer=tensors["optimizer"],
            state=json.loads(files["state.json"]),
            average=tensors.get("average"),
        )
    except OSError as error:
        raise Damaged(f"{Path(error.filename or folder).name}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"manifest.json cannot be understood: {type(error).__name__}") from None


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> State:
    """The optimiser's tensors, flat: `PARAMETER.NAME`, by the parameter's number."""
    table = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in table.items() for name, value in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: State) -> None:
    """Put back what `optimizer_tensors` took out; settings such as the learning rate are the configuration's."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        parameter = parameters[int(number)]
        if value.shape == parameter.shape:
            # In the parameter's memory layout: the fused optimisers walk both by address.
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _candidates(folder: Path) -> list[Path]:
    """Checkpoint folders, the one to try first first. A replaced one counts less than its successor."""
    found = []
    for path in folder.glob("step_*"):
        if match := re.fullmatch(r"step_(\d+)(\.replaced)?", path.name):
            found.append((int(match[1]), match[2] is None, path))
    return [path for _, _, path in sorted(found, reverse=True)]


def _contiguous(state: State) -> State:
    """On the host, in plain memory layout, none sharing memory: what safetensors takes."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
