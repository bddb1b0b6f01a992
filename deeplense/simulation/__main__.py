"""The command `python -m deeplense.simulation NAME --out DIR`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from deeplense.cli import parse
from deeplense.errors import InputError, Stopped, run_command
from deeplense.simulation.psf_file import read_psf
from deeplense.simulation.sets import SUMMARIES, LensSet, find_classes, find_set
from deeplense.simulation.shares import Part
from deeplense.simulation.variants import with_psf, with_share, with_sources, without_lens_light


@dataclass(frozen=True)
class Simulation:
    """Which images to make, and where to."""

    name: Annotated[str, tyro.conf.Positional]
    """The set; --list alone prints them all, with a line on each."""
    out: Path
    """The folder to write; one that holds the same set is gone on with."""
    count: int = 10_000
    """Images of all classes together, in equal parts."""
    classes: tuple[str, ...] = ("no_sub", "cdm")
    """Of no_sub, cdm (written sub where there are two classes) and axion."""
    seed: int = 0
    """Another seed gives other images."""
    format: Literal["packed", "folders", "yolo"] = "packed"
    """packed: dataset.json, images.npy, catalog.csv, subhalos.csv. folders: a folder a class, a .npy an image.
    yolo: 8-bit pictures in three parts, with a box of one beam round each subhalo."""
    min_snr: float = 5.0
    """With --format yolo: subhalos of a lower signal-to-noise ratio get no box; 0: all get one, none is
    measured, and it is faster."""
    sources: str | None = None
    """A folder of galaxies (FITS, .npy, pictures), or a HDF5 file as Galaxy10's: the sources, each in one part of the
    split only. field: random fields."""
    share: float | None = None
    """Of euclid, hst, jwst and model_iv: the part of the lens's mass that is in subhalos, the same in each image. It
    counts M200: all that deflects of a halo has a sixth to three tenths more."""
    lens_light: Literal["in", "subtracted"] = "in"
    """subtracted: taken out of the image, but for what fits of telescopes' images leave."""
    beside: Path | None = None
    """A folder of a telescope's images: beside.png shows them and the set's in the same greys, to be compared."""
    psf: Path | None = None
    """A FITS file: this point-spread function in place of the set's."""
    part: str | None = None
    """K/N: make the K-th of N shares only, in OUT/part-K-of-N; each can be made on another machine."""
    join: bool = False
    """Join the shares that are in OUT. Only OUT and the name are looked at."""
    snr: bool = False
    """Also the signal-to-noise ratio of the substructure, and of each subhalo, with lens and source fitted: a column
    of catalog.csv and of subhalos.csv. It takes tens of times as long."""


DESCRIPTION = """Simulate a set of strong-lens images, with the truth about each.

An interrupted command goes on where it was when it is given again. samples.png in the folder shows what was made.
`python -m deeplense.simulation --list` prints the sets.
"""


def chosen_set(wanted: Simulation) -> LensSet:
    """The set, with what the flags change in it."""
    lens_set = with_sources(wanted.name, wanted.sources)
    if wanted.share is not None:
        lens_set = with_share(lens_set, wanted.share)
    if wanted.lens_light == "subtracted":
        lens_set = without_lens_light(lens_set)
    if wanted.psf is not None:
        lens_set = with_psf(lens_set, read_psf(wanted.psf, lens_set.camera.pixel_scale))
    return lens_set


def main() -> None:
    """Refuse what can be refused at once, and only then import what takes seconds."""
    if sys.argv[1:] == ["--list"]:
        width = max(map(len, SUMMARIES))
        print("\n".join(f"{name:{width}}  {summary}" for name, summary in SUMMARIES.items()))
        return
    wanted = parse(Simulation, sys.argv[1:], DESCRIPTION)
    if wanted.name not in SUMMARIES:
        find_set(wanted.name)
    find_classes(wanted.classes)
    if wanted.format == "yolo" and (wanted.part is not None or wanted.join or wanted.snr):
        raise InputError("--format yolo: is made in one go, with signal-to-noise ratios: leave out --part --join --snr")
    if not wanted.min_snr >= 0:
        raise InputError(f"--min-snr {wanted.min_snr:g}: give 0 (all) or more")
    if wanted.beside is not None and wanted.part is not None:
        raise InputError("--beside: is drawn of a whole set, and not with --part: leave it out here")
    part = None if wanted.part is None else Part.parse(wanted.part)
    if part is not None and wanted.join:
        raise InputError("--part, --join: make the shares first, each by a command of its own, and then join them")

    if wanted.join:
        join(wanted)
    else:
        simulate(wanted, chosen_set(wanted), part)


def join(wanted: Simulation) -> None:
    """Join the shares that are in the folder."""
    from deeplense.simulation.joining import join_parts
    from deeplense.simulation.write import alone, writing

    if not wanted.out.is_dir():
        raise InputError(f"--out {wanted.out}: is no folder: give the one that the shares were made in")
    with writing(wanted.out, wanted.count), alone(wanted.out):
        print(f"{wanted.out}: joined, {join_parts(wanted.out, wanted.name)} images")


def simulate(wanted: Simulation, lens_set: LensSet, part: Part | None) -> None:
    """Make the images, or one share of them."""
    import torch

    from deeplense.simulation.beside import draw_beside, read_beside
    from deeplense.simulation.figures import draw_samples
    from deeplense.simulation.files import finished_images
    from deeplense.simulation.write import simulate_set, writing
    from deeplense.simulation.yolo import write_yolo

    if wanted.snr and not lens_set.camera.noise:
        raise InputError(f"--snr: images of {wanted.name} have no noise, so there is no limit: leave it out")
    if wanted.beside is not None:
        read_beside(wanted.beside)  # what is wrong with them is said before anything is made
    where = wanted.out if part is None else part.folder(wanted.out)
    count = wanted.count if part is None else len(range(*part.span(wanted.count)))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.format == "yolo":
        with writing(wanted.out, wanted.count):
            write_yolo(lens_set, wanted.out, wanted.count, wanted.classes, wanted.seed, device, min_snr=wanted.min_snr)
        draw_samples(lens_set, wanted.out / "samples.png", wanted.classes, wanted.seed, device)
        if wanted.beside is not None:
            draw_beside(lens_set, wanted.beside, wanted.out / "beside.png", wanted.seed, device)
        print(f"{wanted.out}: {wanted.count} pictures with boxes; train on {wanted.out / 'data.yaml'}")
        return
    try:
        simulate_set(
            lens_set,
            wanted.out,
            wanted.count,
            wanted.classes,
            wanted.seed,
            device,
            wanted.format,
            snr=wanted.snr,
            part=part,
        )
    except KeyboardInterrupt:
        raise Stopped(
            f"--out {where}: {finished_images(where)} of {count} images are there: give the same command again to go on"
        ) from None
    if part is not None:
        print(f"{where}: {finished_images(where)} images; join the shares when all are there")
        return
    if wanted.snr:
        tell_limit(wanted.out / "catalog.csv")
    draw_samples(lens_set, wanted.out / "samples.png", wanted.classes, wanted.seed, device)
    if wanted.beside is not None:
        draw_beside(lens_set, wanted.beside, wanted.out / "beside.png", wanted.seed, device)
    print(f"{wanted.out}: {finished_images(wanted.out)} images; look at {wanted.out / 'samples.png'}")


def tell_limit(catalog: Path) -> None:
    """Say how well the images that were made can be told from smooth ones at best."""
    import csv

    import torch

    from deeplense.simulation.limit import best_auc

    with catalog.open(newline="") as table:
        ratios = torch.tensor([float(row["snr"]) for row in csv.DictReader(table) if row["snr"]])
    if len(ratios):
        print(
            f"the substructure's signal-to-noise ratio is {ratios.quantile(0.5):.3g} in the median image: "
            f"nobody who has to fit lens and source exceeds an AUC of {best_auc(ratios):.3f}"
        )


if __name__ == "__main__":
    run_command(main)
