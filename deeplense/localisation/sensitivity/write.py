"""Where in one image a subhalo of which mass would be found: `python evaluate.py RUN --sensitivity-map --data IMAGE`.

Beside what the network finds stands the limit, of an observer who fits lens and source (`refit/scan.py`), where such
lenses can be fitted.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import torch

from deeplense.config import EvaluateConfig
from deeplense.data.names import is_smooth
from deeplense.errors import InputError
from deeplense.evaluation.predict import predict, scoring_device
from deeplense.evaluation.scored import choose_images, own_images
from deeplense.figures.localisation import plot_sensitivity_map
from deeplense.files import replacing, write_json
from deeplense.localisation.card import LocaliserCard
from deeplense.localisation.detections import detect
from deeplense.localisation.refit.stage import set_of
from deeplense.localisation.sensitivity.found import FPR, SensitivityMap, look_for_all, masses_of
from deeplense.localisation.sensitivity.lens import lens_of
from deeplense.scores.detection import threshold_at
from deeplense.task import Trained


def write_sensitivity_map(trained: Trained, asked: EvaluateConfig) -> Path:
    """Make the map of one image, and write `evaluation/NAME-sensitivity-map`.

    Raises:
        InputError: the lens of the image is not known and cannot be fitted.
    """
    device, card = scoring_device(), trained.card
    assert isinstance(card, LocaliserCard)
    lens_set = set_of(trained, "--sensitivity-map")
    masses_of(lens_set)  # refused before anything is made
    trained.network.to(device)
    images, indices, _ = choose_images(trained.folder, card, trained.config, asked)
    if not 0 <= asked.image < len(indices):
        raise InputError(f"--image {asked.image}: there are {len(indices)} images, give 0 to {len(indices) - 1}")
    index = int(indices[asked.image])
    draws, how = lens_of(trained, lens_set, images, index, asked.lens, device)
    print(f"{images.paths[index]}: its lens is {how}", file=sys.stderr)
    threshold = _threshold(trained, card, device)
    found = look_for_all(trained.network, card, lens_set, draws, threshold, card.lengths(images))
    name = asked.name or f"{Path(asked.data or trained.config.data.data).name}-{asked.image}-sensitivity-map"
    folder = trained.folder / "evaluation" / name
    with replacing(folder) as aside:
        _write_table(aside / "sensitivity_map.csv", found)
        grid, edge = _as_grid(found)
        np.save(aside / "sensitivity_map.npy", grid.astype(np.float32))
        write_json(
            aside / "sensitivity_map.json",
            {
                "image": images.paths[index],
                "lens": {key: float(value[0]) for key, value in draws.scalars.items() if torch.isfinite(value[0])},
                "lens_is": how,
                "fpr": FPR,
                "threshold": threshold,
                "arcsec_of_a_place": _spacing(found),
                "extent": edge,
                "columns_of_npy": ["network", "limit"],
                **_summary(found),
            },
        )
        picture = np.asarray(images.pixels[index], dtype=np.float32)
        plot_sensitivity_map(
            aside / "sensitivity_map.png", picture, card.lengths(images).edge, grid, edge, f"{images.paths[index]}"
        )
    print(f"{_say(found)}\nall of it is in {folder}")
    return folder


def _threshold(trained: Trained, card: LocaliserCard, device: torch.device) -> float:
    """The expected number of a detection that 1 % of the smooth validation images exceed."""
    images, indices = own_images(trained.folder, card, trained.config, "val")
    smooth = [label for label, name in enumerate(images.classes) if is_smooth(name)]
    if images.labels is None or not smooth:
        raise InputError(f"--sensitivity-map: {trained.folder} has no smooth validation images for a threshold")
    indices = indices[np.isin(images.labels[indices], smooth)]
    said = card.words(predict(trained.network, card.store(images, device), indices))
    strongest = np.zeros(len(indices))
    detections = detect(said)
    np.maximum.at(strongest, detections.image, detections.expected)
    return float(threshold_at(strongest, FPR).value)


def _spacing(found: SensitivityMap) -> float:
    return float(np.diff(np.unique(np.round(found.x, 6))).min())


def _as_grid(found: SensitivityMap) -> tuple[np.ndarray, float]:
    """(2, h, w) maps of the network and of the limit, NaN where nothing was tried; half the width, arcsec."""
    step = _spacing(found)
    most = round(max(np.abs(found.x).max(), np.abs(found.y).max()) / step)
    grid = np.full((2, 2 * most + 1, 2 * most + 1), np.nan)
    row, column = (np.round(at / step).astype(int) + most for at in (found.y, found.x))
    grid[0, row, column] = found.half
    if found.limit is not None:
        grid[1, row, column] = found.limit
    return grid, (most + 0.5) * step


def _write_table(file: Path, found: SensitivityMap) -> None:
    names = [f"found_{mass:.2f}" for mass in found.masses]
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["x", "y", "log10_mass_of_half", "limit", *names])
        for place in range(len(found.x)):
            half = found.half[place]
            limit = "" if found.limit is None else f"{found.limit[place]:.3f}"
            row = [f"{found.x[place]:.4g}", f"{found.y[place]:.4g}", f"{half:.3f}" if np.isfinite(half) else "", limit]
            writer.writerow([*row, *(f"{share:.3g}" for share in found.found[place])])


def _summary(found: SensitivityMap) -> dict[str, float | int | None]:
    best = float(found.half.min())
    return {
        "places": len(found.x),
        "lightest": best if np.isfinite(best) else None,
        "share_of_places_with_any": float(np.isfinite(found.half).mean()),
        "lightest_of_limit": None if found.limit is None else float(found.limit.min()),
    }


def _say(found: SensitivityMap) -> str:
    told = _summary(found)
    if told["lightest"] is None:
        return f"none of {told['places']} places has a mass up to 10^{found.masses[-1]:.2f} Msun found half the time"
    limit = "" if found.limit is None else f"; the limit there is 10^{found.limit[found.half.argmin()]:.2f}"
    return (
        f"at its best place a subhalo of 10^{told['lightest']:.2f} Msun is found half the time at {FPR:.0%} false "
        f"positives{limit}; {100 * np.isfinite(found.half).mean():.0f} % of {told['places']} places find one of "
        f"10^{found.masses[-1]:.2f} Msun"
    )
