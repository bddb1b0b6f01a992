"""What a notebook wants: a trained run that can be asked, and simulated lenses as arrays.

import deeplense
run = deeplense.load("runs/NAME")
run.predict("cutouts").probabilities
lenses = deeplense.simulate("model_i", 100, seed=1)
"""

from __future__ import annotations

import csv
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.classification.card import ModelCard
from deeplense.config import TrainConfig
from deeplense.data.imageset import ImageSet
from deeplense.data.memory import Images, as_images
from deeplense.data.opening import Opening, band_names
from deeplense.data.packed import CATALOG, read_about, read_packed
from deeplense.data.scale import say_scale
from deeplense.errors import InputError
from deeplense.evaluation.familiar import predict_and_look
from deeplense.evaluation.predict import scoring_device
from deeplense.scores.familiarity import Familiarity, Look
from deeplense.scores.metrics import predict_labels
from deeplense.task import Trained
from deeplense.tasks import load_run


@dataclasses.dataclass(frozen=True)
class Predicted:
    """What a run says of n images."""

    paths: list[str]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    """(n, K) float64, calibrated where the run is."""
    labels: np.ndarray
    """(n,) int64: decided by the run's threshold for two classes, else the likeliest."""
    scale: str
    """How pixels got to [0, 1]."""
    look: Look | None = None
    """What the images look like to the run: `look.familiarity` (n,), `look.foreign` (n,), `look.shift()`. None: it does
    not keep what its own look like."""

    @property
    def names(self) -> list[str]:
        """The class that each image is given."""
        return [self.classes[label] for label in self.labels]


class Run:
    """A trained classifier, on the best device there is."""

    def __init__(self, trained: Trained) -> None:
        if not isinstance(trained.card, ModelCard):
            raise InputError(f"{trained.folder} was trained to {trained.card.task}: only classifiers can be asked here")
        self.card: ModelCard = trained.card
        self.config: TrainConfig = trained.config
        self.folder = trained.folder
        self.familiarity: Familiarity | None = trained.familiarity
        self.device = scoring_device()
        self.network = trained.network.to(self.device)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    @property
    def threshold(self) -> float | None:
        """On the probability of the second of two classes; None for more."""
        return self.card.decides_at if len(self.classes) == 2 else None

    @property
    def scores(self) -> dict[str, Any]:
        """Those on the run's own test images, as in `metrics.json`; empty if there are none yet."""
        file = self.folder / "evaluation" / "test" / "metrics.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def predict(
        self, images: Images, batch_size: int | None = None, bad_images: str = "error", bad_pixels: str = "error"
    ) -> Predicted:
        """What the run says of images, treated as its own were.

        Args:
            images: arrays, paths, a folder, or an `ImageSet`: see `memory.as_images`.
            batch_size: images at a time; None: as many as suit the device.
            bad_images, bad_pixels: as in `EvaluateConfig`.

        Raises:
            InputError: one of them cannot be used.
        """
        how = Opening(bad_pixels=bad_pixels, bands=band_names(self.card.bands))  # type: ignore[arg-type]
        found = as_images(images, how, bad_images)
        store = self.card.store(found, self.device)
        logits, look = predict_and_look(self.network, store, np.arange(len(found)), self.familiarity, batch_size)
        chances = self.card.probabilities(logits)
        decided = predict_labels(chances, self.card.decides_at)
        return Predicted(found.paths, self.classes, chances, decided, say_scale(found, store.scale), look)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {', '.join(self.classes)}, on {self.device})"


@dataclasses.dataclass(frozen=True)
class Simulated:
    """Lenses with their truth."""

    images: np.ndarray
    """(n, H, W) float32, counts."""
    labels: np.ndarray
    """(n,) int64."""
    classes: tuple[str, ...]
    table: dict[str, np.ndarray]
    """A column (n,) for each parameter that was drawn, as in `catalog.csv`."""
    subhalos: list[np.ndarray]
    """For each image (k, 3): x and y in arcsec from the centre, y upwards, and mass in Msun."""
    pixel_scale: float
    """arcsec"""
    set: ImageSet
    """The same for `Run.predict`."""


def load(run: str | Path) -> Run:
    """The best weights of the run in folder `run`. Raises `InputError` if there are none, or they are damaged."""
    return Run(load_run(Path(run).expanduser()))


def simulate(
    name: str, count: int, seed: int = 0, classes: Sequence[str] = ("no_sub", "sub"), device: str = "cpu"
) -> Simulated:
    """The first `count` images of a simulated set, which are those of `python -m deeplense.simulation`.

    Raises:
        InputError: an unknown set or class, or a count below 1.
    """
    from deeplense.simulation.write import simulate_set  # here, since it brings the compiler

    with tempfile.TemporaryDirectory(prefix="deeplense-") as folder:
        simulate_set(name, folder, count, classes, seed, device, progress=False)
        found = read_packed(Path(folder)).first(count)
        images = dataclasses.replace(found, pixels=np.array(found.pixels), folder=None)
        with (Path(folder) / CATALOG).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))[:count]
        points = np.loadtxt(Path(folder) / "subhalos.csv", delimiter=",", skiprows=1, usecols=(0, 1, 2, 3), ndmin=2)
        scale = float(read_about(Path(folder))["pixel_scale"])
    assert images.labels is not None
    assert isinstance(images.pixels, np.ndarray)
    return Simulated(
        images=images.pixels[:, 0].astype(np.float32),
        labels=images.labels,
        classes=images.classes,
        table={key: _column([row[key] for row in rows]) for key in rows[0] if key not in ("index", "class", "sha256")},
        subhalos=[points[points[:, 0] == index, 1:] for index in range(len(rows))],
        pixel_scale=scale,
        set=images,
    )


def _column(values: list[str]) -> np.ndarray:
    """As numbers where they are; what is empty is NaN."""
    try:
        return np.array([float(value or "nan") for value in values])
    except ValueError:
        return np.array(values)
