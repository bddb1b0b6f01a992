"""The card beside exported weights: what they are, how good they are, how far that goes, and how to call them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from deeplense import __version__
from deeplense.classification.card import ModelCard
from deeplense.cli import load_config
from deeplense.config import TrainConfig
from deeplense.data.fresh import say_fresh
from deeplense.data.split import PARTS, read_split
from deeplense.errors import InputError
from deeplense.export.write import Exported, output_of, tolerance
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.maps import CHANNELS
from deeplense.scores.detection import proportion
from deeplense.scores.familiarity import FOREIGN
from deeplense.simulation.sets import SETS

_CALL = {
    "onnx": """import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("{file}")
pixels = np.zeros((5, {channels}, {height}, {width}), "{dtype}")  # yours: any number of images, raw
{output} = session.run(None, {{"pixels": pixels}}){first}  # {shape}
{use}""",
    "torch": """import torch
network = torch.export.load("{file}").module()
pixels = torch.zeros((5, {channels}, {height}, {width}), dtype=torch.{dtype})  # yours: any number of images, raw
{output} = network(pixels){first}  # {shape}
{use}""",
}


def write_card(run: Path, exported: Exported) -> Path:
    """Write the card of an exported file beside it, FILE.md, from what the run folder says."""
    trained = load_config(run / "config.json")
    name = run.resolve().name
    sections = {
        "How to call it": _how_to_call(exported),
        "Trained on": _data(run, trained),
        "Recipe": _recipe(run, trained, exported),
        "Scores": _scores(run),
        "Calibration": _calibration(run, exported),
        "Limits": _limits(run, trained, exported),
        "Licence": _licence(run, trained),
    }
    asks = "where are subhalos" if isinstance(exported.model, LocaliserCard) else " or ".join(exported.model.classes)
    parts = [f"# {name}: {asks}?", _what(exported)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items()]
    card = exported.file.with_name(f"{exported.file.name}.md")
    try:
        card.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--out: {card} cannot be written ({error.strerror}): give another") from None
    return card


def _what(exported: Exported) -> str:
    channels, height, width = exported.shape
    crop = f"the middle {exported.model.crop:.3g} of each side taken out, " if exported.model.crop < 1 else ""
    return (
        "A ResNet-18 for images of strong gravitational lenses. `"
        f"{exported.file.name}` takes raw pixels and gives {_gives(exported)}; normalisation, {crop}"
        "resampling to "
        f"{exported.model.image_size} x {exported.model.image_size} pixels and calibration are inside.\n\n"
        "| | name | type | shape |\n|---|---|---|---|\n"
        f"| input | `pixels` | {exported.dtype} | (N, {channels}, {height}, {width}), {_range(exported)} |\n"
        f"| output | `{output_of(exported.model)}` | float32 | {_columns(exported)} |\n"
        + ("| output | `familiarity` | float32 | (N,), from 0 to 1 |\n" if exported.familiar else "")
        + "\n"
        f"Checked when it was written: on {exported.checked} images of the run its {output_of(exported.model)} differ "
        f"from those of the program that trained it by {exported.difference:.1e} at most "
        f"({tolerance(exported.model):.0e} is allowed)."
    )


def _gives(exported: Exported) -> str:
    if not isinstance(exported.model, LocaliserCard):
        return "the probability of each class"
    unit = "pixels" if exported.model.pixel_scale is None else "arcsec"
    return (
        "for each cell of two by two pixels the expected number of subhalos, and the place, mass and errors of one "
        f"that belongs there (lengths in {unit} from the centre, y downwards). Sum the expected numbers of a region "
        "for its own"
    )


def _columns(exported: Exported) -> str:
    if not isinstance(exported.model, LocaliserCard):
        return f"(N, {len(exported.model.classes)}): {', '.join(exported.model.classes)}"
    cells = (exported.model.image_size + 1) // 2
    return f"(N, {len(CHANNELS)}, {cells}, {cells}): {', '.join(CHANNELS)}"


def _range(exported: Exported) -> str:
    scale = exported.model.scale
    if scale is None or scale.by == "image":
        return "of any brightness" if exported.dtype != "float32" else "of any unit, no NaN"
    return "as in the image file" if exported.dtype != "float32" else "from 0 to 1"


def _how_to_call(exported: Exported) -> str:
    channels, height, width = exported.shape
    code = _CALL[exported.format].format(
        file=exported.file.name,
        channels=channels,
        height=height,
        width=width,
        dtype=exported.dtype,
        output=output_of(exported.model),
        shape=_columns(exported).partition(":")[0].replace("N", "5"),
        first="[0]" if exported.format == "onnx" or exported.familiar else "",
        use=_use(exported),
    )
    return f"```python\n{code}\n```"


def _use(exported: Exported) -> str:
    if isinstance(exported.model, LocaliserCard):
        return "print(maps[:, 0].sum((1, 2)))  # expected number of subhalos in each image"
    values = "probabilities[0].tolist()" if exported.format == "torch" else "probabilities[0]"
    return f"print(dict(zip({list(exported.model.classes)}, {values})))"


def _data(run: Path, trained: TrainConfig) -> str:
    rows = read_split(run / "split.csv")
    classes = list(dict.fromkeys(row["class"] for row in rows))
    counts = Counter((row["split"], row["class"]) for row in rows)
    table = [f"| part | {' | '.join(classes)} |", "|---" * (len(classes) + 1) + "|"]
    table += [f"| {part} | {' | '.join(str(counts[part, name]) for name in classes)} |" for part in PARTS]
    simulated = trained.data.data in SETS
    what = (
        f"the simulated set `{trained.data.data}`" if simulated else f"the images in `{Path(trained.data.data).name}`"
    )
    fresh = say_fresh(trained.simulation)
    online = f"; the training images were simulated afresh, {fresh}, and the table has the fixed ones"
    record = _read(run / "record.json")
    return (
        f"{what[0].upper()}{what[1:]}{online if trained.simulation.online and simulated else ''}.\n\n"
        + "\n".join(table)
        + f"\n\nThe split is drawn over the content of the images. SHA-256 of content and labels of all of them: "
        f"`{record.get('data_sha256', 'unknown')}`."
    )


def _recipe(run: Path, trained: TrainConfig, exported: Exported) -> str:
    optimization, augment = trained.optimization, trained.augment
    first = _first_session(run)
    versions = ", ".join(f"{name} {version}" for name, version in first.get("versions", {}).items())
    commit = (first.get("git") or {}).get("commit")
    return "\n".join(
        (
            f"- preset `{trained.preset}`, from {first.get('effective_initialization', trained.model.init)} weights",
            f"- {optimization.optimizer}, learning rate {optimization.lr:g} ({optimization.schedule}), weight decay "
            f"{optimization.weight_decay:g}, batch {optimization.batch_size}, {optimization.epochs} epochs"
            + (f", label smoothing {optimization.label_smoothing:g}" if optimization.label_smoothing else ""),
            f"- rotations of up to {augment.rotation:g}° either way, flips {'on' if augment.flips else 'off'}"
            + (", on the logarithm of the light" if exported.model.stretch == "log" else "")
            + (", each image by its own mean and spread" if exported.model.standardize else ""),
            f"- weights of epoch {exported.model.epoch}, chosen on validation images; seed {trained.run.seed}",
            f"- {versions or f'deeplense {__version__}'}{f'; commit {commit}' if commit else ''}",
        )
    )


def _scores(run: Path) -> str:
    """A row for every evaluation in the run folder, with 95 % intervals."""
    rows = []
    for file in sorted(run.glob("evaluation/*/metrics.json")):
        scores = _read(file)
        if "n" not in scores or "errors" not in scores:
            continue
        right = proportion(scores["n"] - scores["errors"], scores["n"])
        area = (
            "undefined"
            if scores.get("roc_auc") is None
            else f"{scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, {scores['roc_auc_high']:.5f}]"
        )
        rows.append(
            f"| {file.parent.name} | {scores['n']} | {area} | {right.value:.4f} [{right.low:.4f}, {right.high:.4f}] |"
        )
    if not rows:
        return "None: this run was not scored on images that it had not learned from."
    heading = "| images | number | ROC AUC [95 %] | accuracy [95 %] |\n|---|---|---|---|\n"
    return (
        heading
        + "\n".join(rows)
        + "\n\n`test` are images of the run's own set that it never saw (`val` chose the weights, `train` made them). "
        "Intervals: DeLong for the area, Wilson for the accuracy; they hold for images of the same kind only."
    )


def _calibration(run: Path, exported: Exported) -> str:
    if not isinstance(exported.model, ModelCard):
        return "- expected numbers and errors have the factors in them that make them true on validation images"
    temperature, threshold = exported.model.temperature, exported.model.threshold
    lines = [
        f"- logits are divided by a temperature of {temperature:.4g}, fitted on validation images"
        if temperature is not None
        else "- the probabilities are the network's own: no temperature was fitted"
    ]
    if threshold is not None and len(exported.model.classes) == 2:
        lines.append(f"- an image counts as {exported.model.classes[1]} from a probability of {threshold:.4g} on")
    scores = _read(run / "evaluation" / "test" / "metrics.json")
    if "ece" in scores:
        lines.append(
            f"- on the test images: expected calibration error {scores['ece']:.4f}, Brier score {scores['brier']:.4f}, "
            f"log loss {scores['log_loss']:.4f}"
        )
    return "\n".join(lines)


def _limits(run: Path, trained: TrainConfig, exported: Exported) -> str:
    channels, height, width = exported.shape
    lines = [
        f"- It takes images of {height} x {width} pixels with {channels} channel(s), of the pixel scale, telescope and "
        "noise of those that it was trained on. On others its probabilities mean little: score it there first.",
        *_familiarity(exported),
        "- It knows its classes and nothing else: of an image of no lens it says one of them all the same.",
        "- The probabilities are for classes as frequent as in training; in a survey substructure may be rarer.",
    ]
    if trained.data.data in SETS:
        lines.append(
            "- It was trained on simulated images. What it sees in real ones depends on how well "
            f"`{trained.data.data}` resembles them."
        )
    about = _read(run / "evaluation" / "sensitivity" / "sensitivity.json")
    for half in about.get("mass_of_half", []):
        seen = "none up to 10^10.5 Msun is" if half["mass"] is None else f"those of {half['mass']:.1e} Msun are"
        lines.append(
            f"- Of lenses of `{about['set']}` with a single subhalo, {seen} found half the time "
            f"at a false-positive rate of {half['fpr']:.0%}."
        )
    if exported.format == "torch":
        lines.append(
            "- Nothing in this file is pickled. But `torch.export.load` does unpickle where a file says so: open only "
            "files whose origin you know, or use ONNX."
        )
    return "\n".join(lines)


def _familiarity(exported: Exported) -> list[str]:
    if not exported.familiar:
        return []
    return [
        "- `familiarity` is the share of the run's validation images that are at least as strange as this image. Below "
        f"{FOREIGN:g} an image is foreign, and its probabilities mean nothing."
    ]


def _licence(run: Path, trained: TrainConfig) -> str:
    lines = ["The program that made this file, `deeplense`, has the MIT licence, and it asks nothing of its output."]
    if trained.data.data in SETS:
        lines.append("The images are simulated by that program.")
    else:
        lines.append("The weights are learned from images of others: see what those allow before you pass them on.")
    if _first_session(run).get("effective_initialization") == "imagenet":
        lines.append("The first weights were ImageNet's, whose images are for research that is not commercial.")
    return " ".join(lines)


def _first_session(run: Path) -> dict[str, Any]:
    return (_read(run / "record.json").get("sessions") or [{}])[0]


def _read(file: Path) -> dict[str, Any]:
    """A JSON file of the run folder; empty where there is none, since a card can be written without it."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError:
        raise InputError(f"{file} is damaged: restore or remove it") from None
