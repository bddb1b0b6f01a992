"""The page of an evaluation of a localiser: tables, figures, and images to look at, in one file that opens from disk.

What is known stands in the page as HTML; counts, curve and gallery answer to the probability that the reader asks for,
and are drawn by `page.js` from the numbers in the page.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deeplense.data.batches import plain_batches
from deeplense.figures.style import to_display
from deeplense.localisation.located import Located
from deeplense.localisation.matching import Matches, match
from deeplense.localisation.scores import bin_of
from deeplense.localisation.told import mass_table, score_rows

GALLERY = 40
"""Images to look at."""
LEAST = 0.02
"""Probability below which detections are not in the page: the slider starts there."""
FAINT = -3.5
"""log10 of the expected number in a cell that is drawn as nothing."""

FIGURES = {
    "found_by_mass": "Found, and placed within two pixels, by mass",
    "found_by_snr": "Found against the signal-to-noise ratio that an observer has who fits lens and source",
    "found_by_distance": "Found against the distance from the ring, with the limit",
    "froc": "Subhalos found and placed against false detections",
    "errors": "Errors of place and mass of detections of a probability of 0.5 or more",
    "promises": "Are probabilities and expected numbers true?",
    "gallery": "What is there, and what is found",
    "familiarity": "How strange the images are beside the run's validation images, and the strangest",
}
"""File and caption, in the order of the page."""


def page(aside: Path, located: Located) -> str:
    """The page, with the pictures that are in the folder `aside`."""
    title = escape(located.scored.title)
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    hashes = {
        name: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for name, text in (("style", style), ("script", script))
    }
    policy = "; ".join(
        ("default-src 'none'", "img-src data:", *(f"{name}-src 'sha256-{own}'" for name, own in hashes.items()))
    )
    numbers = json.dumps(_numbers(located), separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        numbers = numbers.replace(sign, f"\\u{ord(sign):04x}")  # no JSON ends the element that it stands in
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><link rel="icon" href="data:,">'
        f"<style>{style}</style></head>\n<body><h1>{title}</h1>\n{_head(located)}{_asked()}{_pictures(aside)}"
        f'<script type="application/json" id="numbers">{numbers}</script><script>{script}</script></body></html>\n'
    )


def _head(located: Located) -> str:
    parts = [f"<p><b>{escape(line)}</b></p>" for line in (located.foreign.said() if located.foreign else [])]
    if "by_mass" in located.scores:
        head, rows = mass_table(located.scores)
        if rows:
            parts.append(_table("Found and placed, by mass; 95 % intervals in brackets", head, rows))
        parts.append(_table("Scores", ["", ""], score_rows(located.scores)))
    else:
        count = len(located.scored.indices)
        parts.append(f"<p>{count} images whose subhalos nobody has told: see detections.csv.</p>")
    return "\n".join(parts)


def _asked() -> str:
    """What answers to the reader."""
    return """
<section id="asked" hidden><h2>At which probability?</h2>
<p class="controls"><label for="least">Detections of a probability of at least <output id="at">0.5</output></label>
<input id="least" type="range" min="0.02" max="0.98" step="0.01" value="0.5"></p>
<div class="beside"><div id="counts"></div><figure id="froc"><svg role="img" aria-label="Found against false"></svg>
<figcaption>Subhalos found and placed within two pixels, against false detections an image, at every probability; the
dots are at the one that is asked for.</figcaption></figure></div></section>
<section id="look"><h2>Images</h2>
<p class="controls"><label><input id="density" type="checkbox"> density</label>
<label><input id="truth" type="checkbox" checked> truth</label>
<span id="said" role="status">Point at a circle for its mass and errors.</span></p>
<p class="key">Green: what is there. Red: what is found, stronger where more probable. Circles grow with the mass.</p>
<div id="gallery"></div></section>
"""


def _pictures(aside: Path) -> str:
    parts = []
    for name, caption in FIGURES.items():
        file = aside / f"{name}.png"
        if file.is_file():
            content = base64.b64encode(file.read_bytes()).decode()
            picture = f'<img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
            parts.append(f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>")
    return "\n".join(parts)


def _numbers(located: Located) -> dict[str, Any]:
    """What the script draws from."""
    findings, truth, scale = located.findings, located.truth, located.scale
    found, probability = findings.detections, findings.probability
    matches = None if truth is None else match(found, truth, scale)
    numbers: dict[str, Any] = {
        "unit": scale.unit,
        "half": scale.half,
        "images": _gallery(located, matches),
        "count": len(findings.expected),
    }
    if truth is None or matches is None:
        return numbers
    there = truth.mass > 0
    listed = probability >= LEAST
    right = matches.subhalo[listed] >= 0
    bins = np.full(len(right), -1)
    rows, places = found.image[listed][right], matches.subhalo[listed][right]
    bins[right] = bin_of(np.log10(truth.mass[rows, places]), findings.edges)
    of_bin = bin_of(np.log10(np.where(there, truth.mass, 1.0)), findings.edges)[there]
    return numbers | {
        "edges": findings.edges.tolist(),
        "subhalos": np.bincount(of_bin, minlength=len(findings.edges) - 1).tolist(),
        "smooth": int((~truth.present).sum()),
        "probability": np.round(probability[listed], 4).tolist(),
        "bin": bins.tolist(),
        "in_smooth": (~truth.present)[found.image[listed]].astype(int).tolist(),
    }


def _gallery(located: Located, matches: Matches | None) -> list[dict[str, Any]]:
    """The images to look at, and what is in them."""
    findings, truth, scale = located.findings, located.truth, located.scale
    found, probability = findings.detections, findings.probability
    chosen = _chosen(located, matches)
    snr = {} if located.limit is None else dict(zip(located.limit.rows.tolist(), located.limit.snr, strict=True))
    rows = np.array([row for row, _ in chosen], dtype=int)
    if not len(rows):
        return []
    pixels = next(plain_batches(located.scored.store, located.scored.indices[rows], len(rows))).cpu().numpy()
    density = located.density[rows].cpu().numpy()
    images = []
    for (row, why), image, cells in zip(chosen, pixels, density, strict=True):
        own = (found.image == row) & (probability >= LEAST)
        columns = (scale.from_cells(found.x[own]), scale.from_cells(found.y[own]), found.log10_mass[own])
        errors = (found.log10_mass_sigma[own], found.x_sigma[own] * 2 * scale.seen_pixel, probability[own])
        true = []
        if truth is not None:
            there = truth.mass[row] > 0
            single = int(there.sum()) == 1
            true = [
                [float(x), float(y), float(np.log10(mass)), float(snr[row]) if single and row in snr else None]
                for x, y, mass in zip(truth.x[row][there], truth.y[row][there], truth.mass[row][there], strict=True)
            ]
        shade = np.clip((np.log10(np.maximum(cells, 1e-12)) - FAINT) / -FAINT, 0, 1)
        images.append(
            {
                "path": located.scored.images.paths[located.scored.indices[row]],
                "why": why,
                "expected": float(findings.expected[row]),
                "image": _png((255 * to_display(image).mean(0)).astype(np.uint8)),
                "density": _png((255 * shade).astype(np.uint8), alpha=True),
                "found": np.round(np.stack([*columns, *errors], 1), 4).tolist(),
                "true": true,
            }
        )
    return images


def _chosen(located: Located, matches: Matches | None) -> list[tuple[int, str]]:
    """Rows of the gallery, each with why it is there."""
    findings, truth = located.findings, located.truth
    count = len(findings.expected)
    if truth is None or matches is None:
        return [(int(row), "the most expected") for row in np.argsort(-findings.expected, kind="stable")[:GALLERY]]
    random = np.random.default_rng(0).permutation(count)
    wrong = np.flatnonzero(matches.subhalo < 0)
    surest = wrong[np.argsort(-findings.probability[wrong], kind="stable")]
    seen = np.zeros_like(truth.mass)
    hit = matches.detection >= 0
    seen[hit] = findings.probability[matches.detection[hit]]
    missed = np.where(seen < 0.5, truth.mass, 0).max(1)
    quarter = GALLERY // 4
    groups = (
        ("with a subhalo", random[truth.present[random]][: 2 * quarter]),
        ("surely, and wrong", findings.detections.image[surest][:quarter]),
        ("heavy, and missed", np.argsort(-missed, kind="stable")[:quarter][np.sort(-missed)[:quarter] < 0]),
        ("smooth", random[~truth.present[random]][:quarter]),
    )
    rows: dict[int, str] = {}
    for why, chosen in groups:
        for row in chosen.tolist():
            rows.setdefault(row, why)
    return list(rows.items())


def _png(values: np.ndarray, alpha: bool = False) -> str:
    """(h, w) uint8 as the content of a PNG; as the opacity of one colour if it is to be laid over another."""
    if alpha:
        values = np.stack([np.full_like(values, 64), np.full_like(values, 220), np.full_like(values, 255), values], 2)
    content = io.BytesIO()
    Image.fromarray(values).save(content, format="PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()


def _table(caption: str, head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><caption>{escape(caption)}</caption><tr>{top}</tr>{body}</table></div>'
