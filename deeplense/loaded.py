"""What a notebook wants: a trained run that can be asked, and simulated lenses as arrays.

import deeplense
run = deeplense.load("runs/NAME")
run.predict("cutouts").probabilities  # of a run that locates: .x, .y, .log10_mass, .probability
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
import torch

from deeplense.classification.card import ModelCard
from deeplense.config import TrainConfig
from deeplense.data.imageset import ImageSet
from deeplense.data.memory import Images, as_images
from deeplense.data.opening import Opening, band_names
from deeplense.data.packed import CATALOG, read_about, read_packed
from deeplense.data.scale import say_scale
from deeplense.data.store import PixelStore
from deeplense.evaluation.card import Card
from deeplense.evaluation.familiar import predict_and_look
from deeplense.evaluation.predict import scoring_device
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.detections import Detections
from deeplense.localisation.network import CELL, LOG_DENSITY
from deeplense.localisation.scores import mass_edges
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


@dataclasses.dataclass(frozen=True)
class Detected:
    """What a run that locates says of n images; m detections, each image's most probable first."""

    paths: list[str]
    expected_number: np.ndarray
    """(n,) mean number of subhalos in images like each."""
    p_any: np.ndarray
    """(n,) probability that there is one at all."""
    image: np.ndarray
    """(m,) which of the n images."""
    x: np.ndarray
    """(m,) from the centre along the rows, in `unit`; `y` along the columns, downwards."""
    y: np.ndarray
    x_sigma: np.ndarray
    y_sigma: np.ndarray
    log10_mass: np.ndarray
    """(m,) Msun."""
    log10_mass_sigma: np.ndarray
    probability: np.ndarray
    """(m,) that there is a subhalo within two pixels."""
    unit: str
    """arcsec, or px where nobody said how large a pixel is."""
    density: np.ndarray
    """(n, h, w) expected number in each cell."""
    half: float
    """From the centre to the edge of `density`, in `unit`."""
    look: Look | None = None
    """As in `Predicted`."""


class Run:
    """A trained run, on the best device there is. `load` gives one that can say what it was trained for."""

    card_type: type[Card] = Card

    def __init__(self, trained: Trained) -> None:
        assert isinstance(trained.card, self.card_type)
        self.config: TrainConfig = trained.config
        self.folder = trained.folder
        self.familiarity: Familiarity | None = trained.familiarity
        self.device = scoring_device()
        self.network = trained.network.to(self.device)

    @property
    def scores(self) -> dict[str, Any]:
        """Those on the run's own test images, as in `metrics.json`; empty if there are none yet."""
        file = self.folder / "evaluation" / "test" / "metrics.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def _said(
        self,
        card: Card,
        images: Images,
        batch_size: int | None,
        bad_images: str,
        bad_pixels: str,
        fits_hdu: str | None,
    ) -> tuple[ImageSet, PixelStore, torch.Tensor, Look | None]:
        """The images, as they were treated, what the network says of them, and what they look like."""
        how = Opening(fits_hdu=fits_hdu, bad_pixels=bad_pixels, bands=band_names(card.bands))  # type: ignore[arg-type]
        found = as_images(images, how, bad_images)
        store = card.store(found, self.device)
        return found, store, *predict_and_look(self.network, store, np.arange(len(found)), self.familiarity, batch_size)


class Classifier(Run):
    """A run that tells classes of lenses."""

    card_type = ModelCard

    def __init__(self, trained: Trained) -> None:
        super().__init__(trained)
        assert isinstance(trained.card, ModelCard)
        self.card: ModelCard = trained.card

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    @property
    def threshold(self) -> float | None:
        """On the probability of the second of two classes; None for more."""
        return self.card.decides_at if len(self.classes) == 2 else None

    def predict(
        self,
        images: Images,
        batch_size: int | None = None,
        bad_images: str = "error",
        bad_pixels: str = "error",
        fits_hdu: str | None = None,
    ) -> Predicted:
        """What the run says of images, treated as its own were.

        Args:
            images: arrays, paths, a folder, or an `ImageSet`: see `memory.as_images`.
            batch_size: images at a time; None: as many as suit the device.
            bad_images, bad_pixels, fits_hdu: as in `EvaluateConfig`.

        Raises:
            InputError: one of them cannot be used.
        """
        found, store, logits, look = self._said(self.card, images, batch_size, bad_images, bad_pixels, fits_hdu)
        chances = self.card.probabilities(logits)
        decided = predict_labels(chances, self.card.decides_at)
        return Predicted(found.paths, self.classes, chances, decided, say_scale(found, store.scale), look)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {', '.join(self.classes)}, on {self.device})"


class Localiser(Run):
    """A run that says where subhalos are, and how heavy."""

    card_type = LocaliserCard

    def __init__(self, trained: Trained) -> None:
        super().__init__(trained)
        assert isinstance(trained.card, LocaliserCard)
        self.card: LocaliserCard = trained.card

    def predict(
        self,
        images: Images,
        min_probability: float = 0.1,
        batch_size: int | None = None,
        bad_images: str = "error",
        bad_pixels: str = "error",
        fits_hdu: str | None = None,
    ) -> Detected:
        """The subhalos in images, treated as the run's own were. Arguments and errors as in `Classifier.predict`.

        Args:
            min_probability: of the least of them.

        Raises:
            InputError: one of the images cannot be used, or they are not square or of several sizes.
        """
        found, _, said, look = self._said(self.card, images, batch_size, bad_images, bad_pixels, fits_hdu)
        outputs = self.card.words(said)
        scale, findings = self.card.lengths(found), self.card.findings(outputs, mass_edges(None))
        likely = findings.probability >= min_probability
        own: Detections = findings.detections.take(likely)
        cell = CELL * scale.seen_pixel
        return Detected(
            paths=found.paths,
            expected_number=findings.expected,
            p_any=findings.p_any,
            image=own.image,
            x=scale.from_cells(own.x),
            y=scale.from_cells(own.y),
            x_sigma=own.x_sigma * cell,
            y_sigma=own.y_sigma * cell,
            log10_mass=own.log10_mass,
            log10_mass_sigma=own.log10_mass_sigma,
            probability=findings.probability[likely],
            unit=scale.unit,
            density=self.card.number_factor * outputs[:, LOG_DENSITY].exp().double().cpu().numpy(),
            half=scale.half,
            look=look,
        )

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: where subhalos are, on {self.device})"


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


def load(run: str | Path) -> Any:
    """The best weights of the run in folder `run`: a `Classifier` or a `Localiser`, whichever it was trained to be.

    Raises:
        InputError: there are none, or they are damaged.
    """
    trained = load_run(Path(run).expanduser())
    return Localiser(trained) if isinstance(trained.card, LocaliserCard) else Classifier(trained)


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
