"""Simulated sets as detectors of boxes want them: `--format yolo`.

    data.yaml                   where the parts are, and the one class
    images/PART/000001.png      8 bit, the arcsinh of the light in units of the noise, each image by its own maximum;
                                of several bands their mean
    labels/PART/000001.txt      a line a subhalo: 0 x y width height, as shares of the image from its upper left corner
    truth.csv                   image,x,y,mass,snr of all subhalos: arcsec from the centre, arcsec, Msun; snr is empty
                                where `--min-snr 0` measures none

A point has no size, so a box has that of a beam: what the telescope makes of a point, pixels included. Boxes are drawn
round subhalos that an observer who fits lens and source could see; whoever asks for more of a detector asks for noise.

Parts take turns within each class; where the sources are galaxies, an image is in the part that its galaxy is in.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from deeplense.errors import InputError
from deeplense.files import replacing
from deeplense.simulation import gallery
from deeplense.simulation.draw import Draws
from deeplense.simulation.gallery import Pictures
from deeplense.simulation.instruments import Camera, Gaussian, Telescope
from deeplense.simulation.limit import signal_to_noise
from deeplense.simulation.sets import LensSet, find_classes
from deeplense.simulation.simulator import Simulator

PARTS = ("train", "val", "test")
SHARES = (8, 1, 1)
"""Of ten images of a class that follow one another, how many are in each part."""
BLOCK = 256


def write_yolo(
    lens_set: LensSet,
    folder: Path,
    count: int,
    classes: Sequence[str],
    seed: int,
    device: torch.device | str,
    min_snr: float,
) -> None:
    """Simulate `count` images, those of the packed set of that seed, into `folder`: all of it, or nothing.

    Raises:
        InputError: a count too small for three parts, images without noise, or a folder that holds something.
    """
    found = find_classes(classes)
    ways = len(found.names)
    if count < sum(SHARES) * ways:
        raise InputError(
            f"--count {count}: --format yolo has three parts with {' and '.join(found.names)} in each, "
            f"give {sum(SHARES) * ways} images or more"
        )
    if min_snr > 0 and not lens_set.camera.noise:
        raise InputError(f"--min-snr {min_snr:g}: images of {lens_set.name} have no noise to measure by: give 0")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds other files: give an empty folder or a new one")
    simulator, camera = Simulator(lens_set, found, seed, device), lens_set.camera
    with replacing(folder) as aside, (aside / "truth.csv").open("w", newline="", encoding="utf-8") as table:
        truth = csv.writer(table)
        truth.writerow(["image", "x", "y", "mass", "snr"])
        for name in PARTS:
            for kind in ("images", "labels"):
                (aside / kind / name).mkdir(parents=True)
        unmeasured = [] if min_snr > 0 else [""]
        missing = {(part, label) for part in PARTS for label in range(ways)}
        bar = tqdm(desc=lens_set.name, total=count, unit="image", disable=None)
        for first in range(0, count, BLOCK):
            index = torch.arange(first, min(first + BLOCK, count), device=simulator.device)
            counts, draws = simulator.make(index // ways, index % ways)
            snr = signal_to_noise(draws, lens_set).each if min_snr > 0 else torch.zeros_like(draws.mass)
            columns = torch.stack([draws.x, draws.y, draws.mass, snr.to(draws.x.dtype)], 2).cpu().numpy()
            parts = _parts_of(draws, lens_set)
            shown = zip(index.tolist(), parts, counts.cpu().numpy(), columns, strict=True)
            for number, part, picture, subhalos in shown:
                missing.discard((part, number % ways))
                subhalos = subhalos[subhalos[:, 2] > 0]
                seen = subhalos[subhalos[:, 3] >= min_snr, :2]
                write_image(aside, part, number, picture, seen, camera)
                told = subhalos if min_snr > 0 else subhalos[:, :3]
                truth.writerows([[number, *(f"{value:.6g}" for value in row), *unmeasured] for row in told])
            bar.update(len(index))
        bar.close()
        for part, label in sorted(missing):  # by chance, of few images of galaxies
            raise InputError(f"--count {count}: no image of {found.names[label]} is in the part {part}: give more")
        write_description(aside, folder.resolve())


def _parts_of(draws: Draws, lens_set: LensSet) -> list[str]:
    """The part of each image: a galaxy that is the source of images of one part is that of no other's."""
    if isinstance(lens_set.source, Pictures):
        return [gallery.PARTS[place] for place in draws.scalars["part"].int().tolist()]
    return [part_of(number) for number in draws.number.tolist()]


def part_of(number: int) -> str:
    """The part of an image, by its number within its class: every part has every class."""
    bounds = np.cumsum(SHARES)
    return PARTS[int(np.searchsorted(bounds, number % bounds[-1], side="right"))]


def write_description(folder: Path, where: Path) -> None:
    """`data.yaml` in `folder`, which will stand at `where`."""
    lines = [f"path: {where}", *(f"{name}: images/{name}" for name in PARTS), "names:", "  0: subhalo"]
    (folder / "data.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_image(
    folder: Path, part: str, number: int, counts: np.ndarray, places: np.ndarray, camera: Camera | Telescope
) -> None:
    """One image (S, S), or (C, S, S), as it is stored, and boxes round `places` (k, 2), arcsec from its centre."""
    exposure = float(camera.exposure.at(torch.full((1,), 0.5))[0])
    flux = (counts if counts.ndim == 2 else counts.mean(0)) * ((camera.unit_counts or 1.0) / exposure)
    light = np.arcsinh(np.clip(flux / max(camera.background_rms, 1e-12), 0, None))
    grey = (255 * light / max(float(light.max()), 1e-9)).round().astype(np.uint8)
    Image.fromarray(grey).save(folder / "images" / part / f"{number:06d}.png")
    lines = [" ".join(["0", *(f"{value:.6f}" for value in box)]) for box in boxes(places, camera)]
    (folder / "labels" / part / f"{number:06d}.txt").write_text("".join(f"{line}\n" for line in lines))


def boxes(places: np.ndarray, camera: Camera | Telescope) -> Iterator[tuple[float, float, float, float]]:
    """Middle, width and height, as shares of the image, of what of each box is in it."""
    side, half = camera.pixels * camera.pixel_scale, 0.5 * beam(camera)
    for x, y in places:
        ends = [np.clip((at + np.array([-half, half])) / side + 0.5, 0, 1) for at in (x, y)]
        (left, right), (top, bottom) = ends
        if right > left and bottom > top:
            yield (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def beam(camera: Camera | Telescope) -> float:
    """Full width at half maximum, arcsec, of a point as the camera has it: of the Gaussian that spreads as wide as its
    point-spread function, and of two pixels, which is what a pixel resolves."""
    psf, scale = camera.psf, camera.pixel_scale
    weights = np.outer(psf.taps(scale), psf.taps(scale)) if isinstance(psf, Gaussian) else psf.kernel(scale)
    area = scale**2 * weights.sum() ** 2 / (weights**2).sum()  # 4 pi sigma^2 of a Gaussian
    return math.hypot(2 * math.sqrt(2 * math.log(2)) * math.sqrt(area / (4 * math.pi)), 2 * scale)
