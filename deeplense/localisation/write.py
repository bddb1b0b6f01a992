"""Write an evaluation folder of a localiser: tables, scores, figures, and a page of it all."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from deeplense.data.batches import plain_batches
from deeplense.figures import localisation as figures
from deeplense.figures.familiarity import plot_familiarity
from deeplense.files import replacing, write_json
from deeplense.localisation.located import Located
from deeplense.localisation.matching import match
from deeplense.localisation.page import page
from deeplense.localisation.scores import pairs
from deeplense.scores.familiarity import Look

SHOWN = 16
"""Images in the figure of some."""


def write_evaluation(folder: Path, located: Located, paths: Sequence[str] = ()) -> None:
    """Write `folder` in place of an earlier evaluation of the same name, whole: `predictions.csv`, `detections.csv`,
    `metrics.json`; where there is truth, figures; and `report.html`.

    Args:
        paths: of the images before any was left out.
    """
    with replacing(folder) as aside:
        _write_predictions(aside / "predictions.csv", located)
        _write_detections(aside / "detections.csv", located)
        about = {"min_probability": located.min_probability, **located.scored.about}
        if located.foreign is not None:
            about |= located.foreign.summary()
            located.foreign.write_left_out(aside / "foreign.csv", paths)
        if located.look is not None:
            _show_strange(aside / "familiarity.png", located, located.look)
        if located.truth is not None or located.foreign is not None:
            write_json(aside / "metrics.json", {**located.scores, **about})
        if located.truth is not None:
            _draw_scores(aside, located)
        _draw_gallery(aside / "gallery.png", located)
        (aside / "report.html").write_text(page(aside, located), encoding="utf-8")


def _write_predictions(file: Path, located: Located) -> None:
    images, findings = located.scored.images, located.findings
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        look = located.look
        fits = located.fits
        own = [*(["familiarity"] if look else []), *(["reduced_chi2"] if fits else [])]
        writer.writerow(["path", "label", "p_any", "expected_number", *own])
        for row, index in enumerate(located.scored.indices):
            label = "" if images.labels is None else images.classes[images.labels[index]]
            values = [findings.p_any[row], findings.expected[row], *([look.familiarity[row]] if look else [])]
            values += [fits.reduced_chi2[row]] if fits else []
            writer.writerow([images.paths[index], label, *(f"{value:.6g}" for value in values)])


def _write_detections(file: Path, located: Located) -> None:
    """In arcsec from the centre where the scale is known, else in pixels of the stored image."""
    images, found, scale = located.scored.images, located.findings.detections, located.scale
    cell = 2 * scale.seen_pixel
    columns = (
        scale.from_cells(found.x),
        scale.from_cells(found.y),
        found.x_sigma * cell,
        found.y_sigma * cell,
        found.log10_mass,
        found.log10_mass_sigma,
        located.findings.probability,
    )
    with file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["path", "x", "y", "x_sigma", "y_sigma", "log10_mass", "log10_mass_sigma", "probability"])
        for number in np.flatnonzero(located.findings.probability >= located.min_probability):
            path = images.paths[located.scored.indices[found.image[number]]]
            writer.writerow([path, *(f"{column[number]:.6g}" for column in columns)])


def _show_strange(file: Path, located: Located, look: Look) -> None:
    rows, scored = look.strangest(SHOWN), located.scored
    images = next(plain_batches(scored.store, scored.indices[rows], len(rows))).cpu().numpy()
    plot_familiarity(file, look, images, rows, scored.title)


def _draw_scores(aside: Path, located: Located) -> None:
    scores, findings, truth, title = located.scores, located.findings, located.truth, located.scored.title
    assert truth is not None
    if scores["by_mass"]:
        limits = scores["limit"]["by_mass"] if located.limit else []
        figures.plot_found_by_mass(aside / "found_by_mass.png", scores["by_mass"], limits, title)
    if located.limit is not None:
        figures.plot_found_by_snr(aside / "found_by_snr.png", scores["limit"]["by_snr"], title)
        figures.plot_found_by_distance(aside / "found_by_distance.png", scores["limit"]["by_distance"], title)
    if scores["froc"]:
        figures.plot_froc(aside / "froc.png", scores["froc"], findings.edges, title)
    figures.plot_promises(aside / "promises.png", scores["calibration"], title)
    number, row, place = pairs(findings, truth, match(findings.detections, truth, located.scale))
    if len(number):
        own, scale = findings.detections.take(number), located.scale
        dx, dy = own.x - scale.to_cells(truth.x[row, place]), own.y - scale.to_cells(truth.y[row, place])
        mass = np.log10(truth.mass[row, place])
        figures.plot_errors(
            aside / "errors.png",
            mass,
            np.hypot(dx, dy) * 2 * scale.seen_pixel,
            own.log10_mass - mass,
            np.concatenate([dx / own.x_sigma, dy / own.y_sigma]),
            scale.unit,
            title,
        )


def _draw_gallery(file: Path, located: Located) -> None:
    """The images with the most expected subhalos, and, where there is truth, those whose subhalo is missed most
    surely."""
    expected = located.findings.expected
    order = np.argsort(-expected, kind="stable")
    if located.truth is not None and (located.truth.mass > 0).any():
        wanted = located.truth.present
        random = np.random.default_rng(0).permutation(len(expected))
        order = np.concatenate([random[wanted[random]][: SHOWN - SHOWN // 4], random[~wanted[random]]])
    rows = order[:SHOWN]
    images = next(plain_batches(located.scored.store, located.scored.indices[rows], len(rows))).cpu().numpy()
    found, scale, probability = located.findings.detections, located.scale, located.findings.probability
    truth, seen = [], []
    for row in rows:
        own = (found.image == row) & (probability >= located.min_probability)
        places = (scale.from_cells(found.x[own]), scale.from_cells(found.y[own]), probability[own])
        seen.append(np.stack(places, 1))
        if located.truth is None:
            truth.append(np.empty((0, 3)))
        else:
            one = located.truth.take(np.array([row]))
            there = one.mass > 0
            truth.append(np.stack([one.x[there], one.y[there], np.log10(one.mass[there])], 1))
    density = located.density[torch.from_numpy(rows)].cpu().numpy()
    figures.plot_gallery(file, images, density, truth, seen, scale.half, scale.unit, located.scored.title)
