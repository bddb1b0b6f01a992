"""`evaluate.py RUN --refit`: made ready once a run, kept in RUN/refit, and used.

What is kept is the small network that fits start from, and what fits promise, both made on the run's validation images
and on lenses drawn for it; they belong to the run's weights and to the set, and are made anew when these have changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from deeplense.data.imageset import ImageSet
from deeplense.data.mixed import Mixed
from deeplense.errors import InputError
from deeplense.evaluation.best import best_folder
from deeplense.files import write_folder
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.network import LOG_DENSITY
from deeplense.localisation.refit.parameters import Family
from deeplense.localisation.refit.refit import Refit, Refitted
from deeplense.localisation.refit.start import Glance, learn
from deeplense.localisation.refit.weigh import Weighing
from deeplense.localisation.scores import Findings, mass_edges
from deeplense.localisation.truth import about_set, truth_folder
from deeplense.localisation.validation import validation_of
from deeplense.simulation.sets import SETS, LensSet
from deeplense.task import Trained

VERSION = 5
"""Of what is kept: raised when fits or their promises are made otherwise."""
FINE = 1.1
"""Reduced chi^2 below which a smooth lens fits: of some thousand pixels it scatters by 0.02 or so."""
MOST = 800
"""Validation images that promises are made of: enough for a handful of numbers, and each is fitted."""
FEWEST = 50
"""Validation images of which promises can be made at all."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """The second stage of a run, ready for use."""

    refit: Refit
    weighing: Weighing

    def findings(
        self, images: ImageSet, indices: np.ndarray, network: Findings, outputs: torch.Tensor, card: LocaliserCard
    ) -> tuple[Findings, Refitted]:
        """What is promised of `indices` (n,) of the images with all fitted together, and the fits.

        Args:
            network: what it says of them by itself.
            outputs: (n, 6, h, w) its words.
        """
        scale = card.lengths(images)
        refitted = self.refit(raw_pixels(images, indices, self.refit.family), network.detections, scale)
        return self.weighing.findings(refitted, network, _density(outputs), scale), refitted


def stage_of(trained: Trained) -> Stage:
    """The second stage of a run: read from its folder, or made, which takes a few minutes on two cores.

    Raises:
        InputError: its lenses cannot be fitted, or its validation images are not there.
    """
    family = Family(set_of(trained, "--refit"), next(trained.network.parameters()).device)
    folder, key = trained.folder / "refit", _key(trained, family.lens_set)
    kept = _read(folder, key, family)
    if kept is not None:
        return kept
    began = time.monotonic()
    _say(f"--refit of {trained.folder}: a small network learns where fits of {family.lens_set.name} start")
    network, errors = learn(family)
    refit = Refit(family, network, errors)
    weighing = _weighing(trained, refit)
    about = {"key": key, "weighing": dataclasses.asdict(weighing)}
    weights = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    files = {
        "start.safetensors": save(weights | {"errors": errors.cpu()}),
        "refit.json": (json.dumps(about, indent=2) + "\n").encode(),
    }
    write_folder(folder, files)
    _say(f"ready after {time.monotonic() - began:.0f} s, and kept in {folder}")
    return Stage(refit, weighing)


def family_set(images: ImageSet) -> LensSet | None:
    """The simulated set that images are of, by what is written about them; None: they are of another kind."""
    folder = truth_folder(images)
    return SETS.get(about_set(folder).get("name", "")) if folder is not None else None


def how_well(fits: Refitted, used: bool) -> dict[str, Any]:
    """For `metrics.json`: do smooth lenses of the family fit the images at all?

    Args:
        used: whether the findings are of the fits.
    """
    low, middle, high = (float(value) for value in np.quantile(fits.reduced_chi2, [0.05, 0.5, 0.95]))
    fine = float((fits.reduced_chi2 < FINE).mean())
    return {
        "used": used,
        "reduced_chi2": {"quantile_0.05": low, "median": middle, "quantile_0.95": high},
        "fine": {"below": FINE, "share": fine},
    }


def raw_pixels(images: ImageSet, indices: np.ndarray, family: Family) -> np.ndarray:
    """The pixels (n, S, S) as a camera of the family stores them.

    Raises:
        InputError: they cannot be.
    """
    lens_set, pixels = family.lens_set, images.pixels
    side = lens_set.camera.pixels
    if isinstance(pixels, Mixed) or pixels.shape[1:] != (1, side, side) or pixels.dtype == np.uint8:
        found = "of several forms" if isinstance(pixels, Mixed) else f"of {pixels.shape[-1]} px and {pixels.dtype}"
        raise InputError(
            f"--refit: images {found} are no counts of a camera of {side} px, as {lens_set.name} has them: leave it "
            "out, or give such images"
        )
    return np.stack([np.asarray(pixels[index][0], dtype=np.float32) for index in indices])


def _weighing(trained: Trained, refit: Refit) -> Weighing:
    """What fits promise, of the run's validation images."""
    card, family = trained.card, refit.family
    assert isinstance(card, LocaliserCard)
    held_out = validation_of(trained, "--refit", most=MOST)
    number = len(held_out.indices)
    if number < FEWEST:
        raise InputError(
            f"--refit: {trained.folder} has {number} validation images to make promises of, and {FEWEST} are "
            "needed: train with a larger --val-fraction"
        )
    _say(f"fitting {number} of its validation images, for probabilities")
    words, truth, scale = held_out.words(trained.network, card), held_out.truth, held_out.scale
    network = card.findings(words, mass_edges(truth))
    refitted = refit(raw_pixels(held_out.images, held_out.indices, family), network.detections, scale)
    return Weighing.fitted(refitted, network, _density(words), truth, scale, family.lens_set.subhalos.most == 1)


def _density(outputs: torch.Tensor) -> np.ndarray:
    return outputs[:, LOG_DENSITY].exp().double().cpu().numpy()


def set_of(trained: Trained, flag: str) -> LensSet:
    """The set that a run has learned from."""
    where = trained.config.data.data
    name = where if where in SETS else about_set(Path(where).expanduser()).get("name", "")
    if name not in SETS:
        raise InputError(
            f"{flag}: {trained.folder} has learned from {where}, whose priors are not known: it serves runs on "
            "simulated sets, leave it out"
        )
    return SETS[name]


def _key(trained: Trained, lens_set: LensSet) -> str:
    """What the second stage belongs to."""
    weights = hashlib.sha256((best_folder(trained.folder) / "model.safetensors").read_bytes()).hexdigest()
    return f"{VERSION} {lens_set.name} {lens_set.version} {weights}"


def _read(folder: Path, key: str, family: Family) -> Stage | None:
    """What is kept, if it still belongs to the run."""
    try:
        about = json.loads((folder / "refit.json").read_text(encoding="utf-8"))
        if about["key"] != key:
            return None
        weights = load((folder / "start.safetensors").read_bytes())
        errors = weights.pop("errors").to(family.device)
        mean, spread = (torch.empty_like(errors) for _ in range(2))  # which are read with the weights, in place
        network = Glance(family.lens_set.camera.pixels, mean, spread).to(family.device).eval()
        network.load_state_dict(weights)
        own = about["weighing"]
        laws = {name: tuple(own[name]) for name in ("any_law", "detection_law")}
        return Stage(Refit(family, network, errors), Weighing(**{**own, **laws}))
    except FileNotFoundError:
        return None
    except Exception as error:  # json, safetensors and torch raise many kinds for damaged files
        raise InputError(f"{folder} is damaged ({str(error).splitlines()[0]}): delete it, it is made again") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr)
