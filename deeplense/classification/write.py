"""Score, and write an evaluation folder; what training ends with and `evaluate.py` does again."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from deeplense.classification.predictions import Predictions
from deeplense.config import DataConfig
from deeplense.data.augment import MEAN, STD, resample, to_unit
from deeplense.data.batches import PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.thumbnails import Thumbnails
from deeplense.errors import InputError
from deeplense.figures import plots
from deeplense.figures import trust as plots_trust
from deeplense.files import replaced_name, replacing, write_json
from deeplense.network.model import build_model, placed, probabilities
from deeplense.network.views import average
from deeplense.report import reporting
from deeplense.scores.calibration import LIKELIEST, reliability
from deeplense.scores.metrics import calibration_scores, predict_labels, score
from deeplense.scores.symmetry import Symmetry


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """`best/model.json`: all that is needed to use the weights beside it."""

    classes: tuple[str, ...]
    image_size: int
    channels: int
    normalize: str
    threshold: float | None
    """On the calibrated probability of label 1, for two classes; None: nothing chose one."""
    epoch: int
    val_roc_auc: float | None
    architecture: str = "resnet18"
    mean: float | None = MEAN
    std: float | None = STD
    """None: each image has its own."""
    format: int = 1
    temperature: float | None = None
    """By which logits are divided before they become probabilities; None: nothing fitted one."""
    threshold_from: str | None = None
    """How the threshold was chosen."""
    stretch: str = "none"
    crop: float = 1.0
    standardize: bool = False
    """These three as in `DataConfig`."""

    def seen(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the network sees of pixels as they are stored, (B, C, H, W) to (B, channels, size, size)."""
        unit = to_unit(pixels, self.channels, self.normalize)
        return resample(unit, None, self.image_size, self.stretch, self.crop, self.standardize)

    def probabilities(self, logits: torch.Tensor) -> np.ndarray:
        """Calibrated probability of each class (n, K) float64 from logits (n, 1) or (n, K)."""
        return probabilities(logits, self.temperature or 1.0).cpu().numpy()

    @property
    def decides_at(self) -> float:
        """The threshold that is used."""
        return 0.5 if self.threshold is None else self.threshold

    @property
    def decided_by(self) -> str:
        """How `decides_at` came about."""
        if self.threshold_from is not None:
            return self.threshold_from
        return LIKELIEST if len(self.classes) > 2 else "nothing was chosen on validation images"

    @property
    def why_uncalibrated(self) -> str | None:
        """None if it is calibrated."""
        if self.temperature is not None:
            return None
        missing = "no validation images" if self.val_roc_auc is None else "no temperature in its model.json"
        return f"the run has {missing}: probabilities are as the network gives them"


def write_evaluation(
    folder: Path,
    images: ImageSet,
    store: PixelStore,
    indices: np.ndarray,
    predictions: Predictions,
    card: ModelCard,
    title: str,
    about: dict[str, Any] | None = None,
    explain: Callable[[Path, np.ndarray], dict[str, Any] | None] | None = None,
) -> dict[str, Any]:
    """Write `predictions.csv`, for labelled images `metrics.json` and the figures, and `report.html` of it all.

    Args:
        folder: takes the place of an earlier evaluation of the same name, whole.
        images: whose labels, if any, are those of `card.classes`.
        store: their pixels.
        indices: (n,) the images that were scored.
        predictions: of them, with views of some where there are labels.
        card: whose temperature and threshold were fitted for predictions of this kind.
        title: of the figures.
        about: what else `metrics.json` is to say.
        explain: given the folder and the probabilities (n, K), adds figures of what the network looks at, and returns
            what `metrics.json` is to say of it. For labelled images.

    Returns:
        The scores; empty without labels.
    """
    chances = card.probabilities(predictions.logits)
    predicted = predict_labels(chances, card.decides_at)
    labels = None if images.labels is None else images.labels[indices]
    with replacing(folder) as aside, reporting(aside, folder.parent.parent, Thumbnails(store, indices), title):
        with (aside / "predictions.csv").open("w", newline="") as table:
            writer = csv.writer(table)
            writer.writerow(["path", "label", "predicted", *(f"p_{name}" for name in card.classes)])
            for row, index in enumerate(indices):
                label = "" if labels is None else card.classes[labels[row]]
                writer.writerow(
                    [images.paths[index], label, card.classes[predicted[row]], *(f"{p:.9g}" for p in chances[row])]
                )
        if labels is None:
            return {}
        raw = probabilities(predictions.logits).cpu().numpy()
        scores = score(labels, chances, card.classes, card.decides_at)
        scores["threshold_from"] = card.decided_by
        scores["calibration"] = _calibration(labels, raw, chances, card)
        plots_trust.plot_reliability(
            aside / "reliability.png", reliability(labels, raw), reliability(labels, chances), scores, title
        )
        symmetry = _symmetry(predictions, card)
        scores["symmetry"] = symmetry.summary(labels[symmetry.rows])
        plots_trust.plot_symmetry(aside / "symmetry.png", symmetry, labels[symmetry.rows], scores, title)
        if explain is not None and (attribution := explain(aside, chances)) is not None:
            scores["attribution"] = attribution
        write_json(aside / "metrics.json", {**scores, **(about or {})})
        if scores["roc_auc"] is not None:
            plots.plot_roc(aside / "roc.png", labels, chances, scores, title)
            plots.plot_precision_recall(aside / "precision_recall.png", labels, chances, scores, title)
        plots.plot_confusion(aside / "confusion.png", scores, title)
        plots.plot_scores(aside / "scores.png", labels, chances, scores, title)
        _show_wrong(aside / "misclassified.png", store, indices, labels, predicted, chances, card.classes)
        return scores


def _calibration(labels: np.ndarray, raw: np.ndarray, chances: np.ndarray, card: ModelCard) -> dict[str, Any]:
    """What `metrics.json` says of the temperature; without one there is no after, but a reason."""
    about: dict[str, Any] = {"temperature": card.temperature, "before": calibration_scores(labels, raw)}
    if card.why_uncalibrated is not None:
        return about | {"after": None, "reason": card.why_uncalibrated}
    return about | {"after": calibration_scores(labels, chances)}


def _symmetry(predictions: Predictions, card: ModelCard) -> Symmetry:
    chances = card.probabilities(predictions.views.flatten(0, 1)).reshape(*predictions.views.shape[:2], -1)
    averaged = card.probabilities(average(predictions.views[:, list(predictions.shown)]))
    return Symmetry(predictions.viewed, chances, averaged, predictions.shown, card.decides_at)


def _show_wrong(
    file: Path,
    store: PixelStore,
    indices: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
) -> None:
    """A figure of wrong images, the most confident mistakes of each class first."""
    rows: list[int] = []
    for label in range(len(classes)):
        wrong = np.flatnonzero((labels == label) & (predicted != label))
        rows.extend(wrong[np.argsort(probabilities[wrong, label])][:8])
    if rows:
        images = next(plain_batches(store, indices[rows], len(rows))).cpu().numpy()
        names = [f"{classes[labels[row]]} as {classes[predicted[row]]}" for row in rows]
        plots.plot_samples(file, images, names, "misclassified, the most confident first")


def load_best(run: Path) -> tuple[torch.nn.Module, ModelCard]:
    """The best weights of a run, on the CPU in evaluation mode, and their card.

    Raises:
        InputError: there are none, or they are damaged.
    """
    folder = run / "best"
    if not folder.is_dir() and replaced_name(folder).is_dir():
        folder = replaced_name(folder)  # a crash between two renames
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{run} has no weights (best/model.safetensors): give the folder of a run that has validated")
    try:
        content = json.loads((folder / "model.json").read_text())
        card = ModelCard(**{**content, "classes": tuple(content["classes"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'model.json'} is damaged ({error}): restore it") from None
    model = build_model(len(card.classes), card.channels)
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / 'model.safetensors'} is damaged ({reason}): restore it") from None
    return placed(model.eval(), torch.device("cpu")), card


def store_for(images: ImageSet, card: ModelCard, device: torch.device) -> PixelStore:
    """The pixels of `images`, treated as the images that the weights of `card` were trained on."""
    treatment = DataConfig(
        image_size=card.image_size,
        channels=card.channels,  # type: ignore[arg-type]
        normalize=card.normalize,  # type: ignore[arg-type]
        stretch=card.stretch,  # type: ignore[arg-type]
        crop=card.crop,
        standardize=card.standardize,
    )
    return PixelStore(images, treatment, device)


def say(scores: dict[str, Any]) -> str:
    """The scores in a few lines."""
    if scores["roc_auc"] is None:
        first = f"accuracy {scores['accuracy']:.4f}, {scores['n']} images; {scores['undefined']}"
    else:
        first = (
            f"ROC AUC {scores['roc_auc']:.5f} [{scores['roc_auc_low']:.5f}, {scores['roc_auc_high']:.5f}], "
            f"accuracy {scores['accuracy']:.4f}, {scores['errors']} of {scores['n']} images wrong"
        )
    lines = [first]
    calibration, symmetry = scores["calibration"], scores["symmetry"]
    if calibration["after"] is None:
        lines.append(f"not calibrated: {calibration['reason']}")
    else:
        lines.append(
            f"temperature {calibration['temperature']:.3f}: calibration error {calibration['before']['ece']:.4f} "
            f"before, {calibration['after']['ece']:.4f} after"
        )
    if scores["threshold"] is not None:
        lines.append(f"threshold {scores['threshold']:.4g}: {scores['threshold_from']}")
    lines.append(
        f"turned and mirrored, {symmetry['class_changes']} of {symmetry['n']} images change class, and probabilities "
        f"vary by {symmetry['probability_std_mean']:.4f} in the mean, {symmetry['probability_std_max']:.3f} at most"
    )
    views, averaged = symmetry["roc_auc_of_views"], symmetry["roc_auc_of_average"]
    if views is not None:
        lines.append(f"the views rank from {min(views):.5f} to {max(views):.5f}, their average {averaged:.5f}")
    return "\n".join(lines)
