"""From a run to a file that needs nothing of this program, and back again to see that it says the same."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from deeplense.classification.card import ModelCard
from deeplense.cli import load_config
from deeplense.data.imageset import ImageSet, Light
from deeplense.data.mixed import Mixed, one_form
from deeplense.data.simulated import load_data
from deeplense.errors import InputError, TrainingError
from deeplense.evaluation.card import Card
from deeplense.evaluation.predict import predict
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.maps import physical
from deeplense.network.features import Looks, Watched
from deeplense.scores.familiarity import Familiarity, arrays_of
from deeplense.tasks import load_run

Format = Literal["onnx", "torch"]

FILES: dict[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2"}
CHECKED_IMAGES = 256
TOLERANCE = 1e-4
"""Largest difference of a probability from the program's own."""
MAP_TOLERANCE = 1e-3
"""The same of a localiser's maps, which have masses of ten dex and logarithms in them."""
RANK_TOLERANCE = 0.01
"""Of familiarity, for 95 % of the images."""
_BATCH = 100
"""Does not divide `CHECKED_IMAGES`: so batches of two sizes are tried."""

Program = Callable[[np.ndarray], list[np.ndarray]]
"""From raw pixels (B, C, H, W) to probabilities (B, K) or maps (B, 6, h, w); and to familiarity (B,), if the run
knows."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written."""

    file: Path
    format: Format
    model: Card
    shape: tuple[int, int, int]
    """Channels, height and width of an image that it takes."""
    dtype: str
    """Of its pixels: `uint8`, `uint16` or `float32`."""
    difference: float
    """Largest, of any number that it gives, from the program's own."""
    checked: int
    """Images that it was found on."""
    familiar: bool = False
    """Whether it gives familiarity as well."""


class FromPixels(torch.nn.Module):
    """A network with all that comes before and after it, by the functions that training calls."""

    def __init__(self, network: torch.nn.Module, card: Card, familiarity: Familiarity | None = None) -> None:
        super().__init__()
        self.card = card
        self.known = None if familiarity is None else Known(familiarity)
        self.network = network if familiarity is None else Watched(network, familiarity.stages)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Probabilities (B, K) or maps (B, 6, h, w), float32, of raw pixels (B, C, H, W); and familiarity (B,), if the
        run knows."""
        said = self.network(self.card.seen(pixels))
        if self.known is None:
            return self._words(said, pixels.shape[-1])
        features = self.known.features
        return self._words(said[:, :-features], pixels.shape[-1]), self.known(said[:, -features:])

    def _words(self, said: torch.Tensor, side: int) -> torch.Tensor:
        if isinstance(self.card, LocaliserCard):
            cells = self.card.cells
            return physical(said.unflatten(1, (-1, cells, cells)) if said.ndim == 2 else said, self.card, side)
        assert isinstance(self.card, ModelCard)
        logits = said / (self.card.temperature or 1.0)
        if logits.shape[1] == 1:
            return torch.cat([(-logits).sigmoid(), logits.sigmoid()], 1)
        return logits.softmax(1)


class Known(torch.nn.Module):
    """`Familiarity.look` as exporters take it: familiarity (B,) of features (B, F)."""

    centre: torch.Tensor
    scale: torch.Tensor
    whiten_pixels: torch.Tensor
    whiten_last: torch.Tensor
    directions: torch.Tensor
    middle: torch.Tensor
    tail: torch.Tensor
    strangeness: torch.Tensor
    last: torch.Tensor

    def __init__(self, familiarity: Familiarity) -> None:
        super().__init__()
        self.features, self.of_pixels = familiarity.features, familiarity.of_pixels
        arrays = dict(arrays_of(familiarity))
        arrays |= {"strangeness": arrays.pop("known").max(1), "last": familiarity.last}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        unit = (features - self.centre) / self.scale
        pixels, last = unit[:, : self.of_pixels] @ self.whiten_pixels, unit[:, self.last] @ self.whiten_last
        lengths = [vectors.square().sum(1, keepdim=True).sqrt() for vectors in (pixels, last)]
        measures = (torch.cat([*lengths, unit @ self.directions], 1) - self.middle) / self.tail
        return (self.strangeness >= measures.amax(1, keepdim=True)).float().mean(1)


def export(run: Path, form: Format, out: Path | None = None, size: tuple[int, int] | None = None) -> Exported:
    """Write the best weights of `run`, and check what was written on images of the run.

    Args:
        form: of the file.
        out: the file; None: RUN/export/model.onnx or model.pt2. One that is there is replaced when all is well.
        size: height and width of the images that it is to take; None: those of the run's images.

    Raises:
        InputError: the run has no weights, its images are not there, or the file cannot be written.
        TrainingError: the file does not give the program's probabilities. It is not kept.
    """
    trained = load_run(run)
    network, card = trained.network, trained.card
    images = some_images(run, size)
    pixels = one_form(images.pixels)
    pixels = pixels.astype(np.float32) if pixels.dtype.kind == "f" else pixels
    module = FromPixels(network, card, trained.familiarity).eval()
    file = out or run / "export" / FILES[form]
    if file.suffix != Path(FILES[form]).suffix:
        raise InputError(f"--out {file}: give a name that ends in {Path(FILES[form]).suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=file.parent) as folder:
            aside = Path(folder) / file.name
            with _quiet():
                # Two images: of a batch of one, its size would be taken for a constant.
                _WRITE[form](module, torch.from_numpy(pixels[:2]), aside)
                program = _READ[form](aside)
            parts = [program(pixels[at : at + _BATCH]) for at in range(0, len(pixels), _BATCH)]
            given, *known = (np.concatenate(own) for own in zip(*parts, strict=True))
            difference = float(np.abs(given - own_words(network, card, images)).max())
            if not difference < tolerance(card):
                raise TrainingError(
                    f"{file} was not written: its {output_of(card)} differ from the program's own by {difference:.1e}, "
                    f"where {tolerance(card):.0e} is allowed; try the other --format, or another version of torch"
                )
            if trained.familiarity is not None:
                own = own_familiarity(network, card, trained.familiarity, images)
                _refuse_other_familiarity(file, known[0], own, len(trained.familiarity.known))
            aside.replace(file)
    except OSError as error:
        raise InputError(f"--out: {file} cannot be written ({error.strerror}): give another") from None
    channels, height, width = pixels.shape[1:]
    shape, dtype = (channels, height, width), pixels.dtype.name
    return Exported(file, form, card, shape, dtype, difference, len(pixels), trained.familiarity is not None)


def some_images(run: Path, size: tuple[int, int] | None) -> ImageSet:
    """Images of a run, in equal steps through its set, in memory; resampled to another height and width if asked."""
    trained = load_config(run / "config.json")
    try:
        images = load_data(trained.data, trained.simulation, trained.split)
    except InputError as error:
        images = made_up(load_run(run).card, error)
    if isinstance(images.pixels, Mixed):
        images = images.take(images.pixels.usual_rows.tolist())
    some = images.take(np.unique(np.linspace(0, len(images) - 1, CHECKED_IMAGES).astype(int)).tolist())
    pixels = np.array(one_form(some.pixels))
    if size is not None and size != pixels.shape[2:]:
        resized = F.interpolate(torch.from_numpy(pixels.astype(np.float32)), size=size, mode="bilinear", antialias=True)
        pixels = resized.numpy() if pixels.dtype.kind == "f" else resized.round().numpy().astype(pixels.dtype)
    return dataclasses.replace(some, pixels=pixels)


def made_up(card: Card, missing: InputError) -> ImageSet:
    """Rings and noise in the form of a run's images, where these are not there any more.

    Raises:
        InputError: nobody knows their form: `missing` itself.
    """
    if len(card.shape) != 3:
        raise missing
    print(f"note: {missing}; what is exported is checked on made-up images of {card.shape}", file=sys.stderr)
    random = np.random.default_rng(0)
    _, height, width = card.shape
    y, x = np.mgrid[:height, :width]
    middle = np.hypot(y - height / 2, x - width / 2) / min(height, width)
    radius, width_of = random.uniform(0.1, 0.4, (2, CHECKED_IMAGES, 1, 1, 1))
    light = np.exp(-(((middle - radius) / (0.3 * width_of)) ** 2)) + random.normal(
        0, 0.1, (CHECKED_IMAGES, *card.shape)
    )
    white = {"uint8": 255, "uint16": 65535}.get(card.stored, 1)
    pixels = (light.clip(0, 1) * white).astype(card.stored)
    names = [f"made up {index}" for index in range(len(pixels))]
    light_of = Light(
        np.full(len(pixels), card.unit), pixels.max((1, 2, 3)).astype(float), np.full(len(pixels), card.rgb)
    )
    return ImageSet(pixels, None, (), names, names, light=light_of)


def output_of(card: Card) -> str:
    """What an exported file calls that which it gives."""
    return "maps" if isinstance(card, LocaliserCard) else "probabilities"


def tolerance(card: Card) -> float:
    """How far that may be from the program's own."""
    return MAP_TOLERANCE if isinstance(card, LocaliserCard) else TOLERANCE


def own_words(network: torch.nn.Module, card: Card, images: ImageSet) -> np.ndarray:
    """What the program itself says of the images, (n, K) probabilities or (n, 6, h, w) maps."""
    said = predict(network, card.store(images, torch.device("cpu")), np.arange(len(images)))
    if isinstance(card, LocaliserCard):
        return physical(said, card, one_form(images.pixels).shape[-1]).numpy()
    assert isinstance(card, ModelCard)
    return card.probabilities(said)


def own_familiarity(network: torch.nn.Module, card: Card, familiarity: Familiarity, images: ImageSet) -> np.ndarray:
    """The same of their familiarity, (n,)."""
    looks = predict(Looks(network, familiarity.stages), card.store(images, torch.device("cpu")), np.arange(len(images)))
    return familiarity.look(looks.numpy()).familiarity


def _refuse_other_familiarity(file: Path, given: np.ndarray, own: np.ndarray, known: int) -> None:
    """Raise `TrainingError` where more than rounding is between them. That may move an image by one rank: of `known`
    validation images some are among those that are checked, and as strange as themselves."""
    allowed = max(RANK_TOLERANCE, 1 / known) + 1e-6
    if not np.quantile(np.abs(given - own), 0.95) <= allowed:
        raise TrainingError(
            f"{file} was not written: its familiarity differs from the program's own by more than {allowed:.2g}; try "
            "the other --format, or another version of torch"
        )


def _write_onnx(module: FromPixels, example: torch.Tensor, file: Path) -> None:
    program = torch.onnx.export(
        module,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        input_names=["pixels"],
        output_names=[output_of(module.card), "familiarity"][: 1 if module.known is None else 2],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["classes"] = json.dumps(module.card.classes)
    program.save(file)


def _read_onnx(file: Path) -> Program:
    session = importlib.import_module("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"pixels": pixels})


def _write_torch(module: FromPixels, example: torch.Tensor, file: Path) -> None:
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    program.example_inputs = None  # they would be the one part of the file that is pickled
    torch.export.save(program, file, extra_files={"classes.json": json.dumps(module.card.classes)})


def _read_torch(file: Path) -> Program:
    module = torch.export.load(file).module()

    def program(pixels: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            gives = module(torch.from_numpy(pixels))
        return [own.numpy() for own in (gives if isinstance(gives, tuple) else (gives,))]

    return program


_WRITE: dict[Format, Callable[[FromPixels, torch.Tensor, Path], None]] = {"onnx": _write_onnx, "torch": _write_torch}
_READ: dict[Format, Callable[[Path], Program]] = {"onnx": _read_onnx, "torch": _read_torch}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn of their own deprecations, and of operators of packages that are not there."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
