"""Fill the page: the files of an evaluation and of its run in, `report.html` out.

Page, style and scripts are files of their own (`page.html`, `page.css`, `*.js`). What is known when the report is
written stands in the page as HTML, so that it can be read without scripts; what answers the reader (curves, threshold,
gallery) is drawn by the scripts from the numbers in the page.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import math
import re
from collections.abc import Iterator
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deeplense import __version__
from deeplense.report.evidence import UNCERTAIN, Evidence, count_split, read_evidence, read_json
from deeplense.report.gallery import COLUMNS, PER_SHEET, Gallery, Thumbnails, make_gallery
from deeplense.report.intervals import score_intervals
from deeplense.report.tables import (
    any_table,
    headline,
    record_table,
    score_table,
    session_table,
    settings_tables,
    split_table,
    title_of,
)
from deeplense.scores.familiarity import FOREIGN

SCRIPTS = (
    "evidence.js",
    "charts.js",
    "panels.js",
    "curves.js",
    "decisions.js",
    "calibration.js",
    "image.js",
    "gallery.js",
    "page.js",
)
"""In the order in which they follow one another in the page."""

DRAWN = ("roc.png", "precision_recall.png", "confusion.png", "scores.png", "misclassified.png")
"""Figures that the page draws itself, from the same numbers."""

FURTHER = {
    "calibration": (
        "Temperature",
        "reliability.png",
        "What was promised against what came true; with a fitted temperature, before and after it",
    ),
    "familiarity": (
        "Familiarity",
        "familiarity.png",
        "How strange the images are beside the run’s validation images, in tails of its training images; the strangest",
    ),
    "symmetry": ("Symmetry", "symmetry.png", "How far predictions change under flips and quarter turns"),
    "attribution": ("Where it looks", "attributions.png", "Images beside the maps of what moved their prediction"),
    "sensitivity": ("Sensitivity", "sensitivity.png", "Share of lenses found, against what there is to find"),
}
"""Key in `metrics.json` -> heading, figure, and what the figure shows."""

SCORES = (
    "n", "classes", "roc_auc", "roc_auc_low", "roc_auc_high", "roc_auc_per_class", "average_precision",
    "accuracy", "balanced_accuracy", "log_loss", "brier", "ece", "threshold", "threshold_from", "confusion_matrix",
    "tpr_at_fpr_0.01", "tpr_at_fpr_0.1", "recall_at_precision_0.5", "recall_at_precision_0.9", "errors",
    "undefined", "few",
)  # fmt: skip
"""Keys of `metrics.json` that have their place elsewhere on the page."""


@contextlib.contextmanager
def reporting(folder: Path, run: Path, thumbnails: Thumbnails, title: str | None = None) -> Iterator[None]:
    """Write the report of what the block has put into `folder`, however the block is left but by an error."""
    yield
    write_report(folder, run, thumbnails, title)


def write_report(folder: Path, run: Path, thumbnails: Thumbnails, title: str | None = None) -> None:
    """Write `report.html` into the folder of an evaluation.

    Args:
        folder: with `predictions.csv` and, for labelled images, `metrics.json`; figures as .png are taken in.
        run: whose `config.json`, `record.json`, `split.csv` and `best/model.json` are shown, as far as they are there.
        thumbnails: (n, H, W) or (n, 3, H, W) uint8, stretched for the eye, in the order of `predictions.csv`; or an
            object that gives those rows of such an array that it is indexed with.
        title: of the page; the names of run and folder if None.
    """
    card = read_json(run / "best" / "model.json")
    evidence = read_evidence(folder, card)
    gallery = make_gallery(evidence, thumbnails)
    page = _fill(
        _part("page.html"), _fields(folder, run, evidence, gallery, card, title or f"{run.name}, {folder.name}")
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def _fields(
    folder: Path, run: Path, evidence: Evidence, gallery: Gallery, card: dict[str, Any], title: str
) -> dict[str, str]:
    """What stands in the places of `page.html`, as HTML."""
    metrics = evidence.metrics
    now = datetime.datetime.now().astimezone()
    config, record = read_json(run / "config.json"), read_json(run / "record.json")
    intervals, further = {}, _further(folder, metrics)
    if evidence.labels is not None:
        intervals = score_intervals(evidence.labels, evidence.probabilities, evidence.predicted)
    style, script = _part("page.css"), "".join(_part(name) for name in SCRIPTS)
    return {
        "title": escape(title),
        "subtitle": _subtitle(evidence, config),
        "headline": headline(evidence, intervals),
        "foreign": _note(str((metrics.get("familiarity") or {}).get("said") or "")),
        "scores": score_table(evidence, intervals) if evidence.labels is not None else "",
        "undefined": "".join(_note(str(metrics.get(name, ""))) for name in ("undefined", "few")),
        "further": "".join(
            f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{heading}</h2>'
            f'<div class="beside">{content}</div></section>\n'
            for key, (heading, content) in further.items()
        ),
        "further_links": "".join(f'<a href="#{key}">{heading}</a>\n' for key, (heading, _) in further.items()),
        "scored": record_table("This evaluation", {key: own for key, own in metrics.items() if key not in SCORES}),
        "weights": record_table("The weights", {key: own for key, own in card.items() if key != "format"}),
        "session": session_table(record),
        "split": split_table(count_split(run / "split.csv")),
        "settings": settings_tables(config),
        "gallery_note": _note(gallery.note),
        "state": " ".join(_state(evidence, gallery)),
        "version": escape(__version__),
        "written": f"{now.day} {now:%B %Y, %H:%M %Z}",
        "style": style,
        "script": script,
        "style_hash": _source_hash(style),
        "script_hash": _source_hash(script),
        "evidence": _as_json(_embedded(evidence, gallery)),
        "sheets": "".join(
            f'<script type="text/plain" id="sheet-{number}">{sheet}</script>\n'
            for number, sheet in enumerate(gallery.sheets)
        ),
    }


def _subtitle(evidence: Evidence, config: dict[str, Any]) -> str:
    present = range(len(evidence.classes)) if evidence.labels is None else np.unique(evidence.labels)
    *others, last = (escape(evidence.classes[label]) for label in present)
    count = f"{len(evidence.paths):,} {'images' if len(evidence.paths) != 1 else 'image'}"
    lead, joint = ("of", " and ") if evidence.labels is not None else ("without labels, taken for", " or ")
    what = f"{lead} {', '.join(others)}{joint if others else ''}{last}"
    data = evidence.metrics.get("data") or (config.get("data", {}).get("data") if evidence.metrics else None)
    return f"{count} {what}" + (f", from <code>{escape(str(data))}</code>" if data else "")


def _state(evidence: Evidence, gallery: Gallery) -> list[str]:
    """Classes of the page's body: what there is, and so which sections are shown."""
    present = 0 if evidence.labels is None else len(set(evidence.labels.tolist()))
    return [
        "labelled" if evidence.labels is not None else "unlabelled",
        "acquainted" if evidence.familiarity is not None else "unacquainted",
        "two" if len(evidence.classes) == 2 else "many",
        "ranked" if present == len(evidence.classes) else "unranked",
        "colour" if gallery.colour else "grey",
    ]


def _embedded(evidence: Evidence, gallery: Gallery) -> dict[str, Any]:
    """The numbers that the scripts draw from."""
    # Of two probabilities the second says it all.
    columns = evidence.probabilities[:, 1:] if len(evidence.classes) == 2 else evidence.probabilities
    numbers = [[chance if math.isfinite(chance) else None for chance in column] for column in columns.T.tolist()]
    return {
        "classes": evidence.classes,
        "labels": None if evidence.labels is None else evidence.labels.tolist(),
        "probabilities": numbers,
        "threshold": evidence.threshold,
        "threshold_from": evidence.threshold_from,
        "uncertain": UNCERTAIN,
        "metrics": evidence.metrics or None,
        "familiarity": None if evidence.familiarity is None else evidence.familiarity.tolist(),
        "foreign": FOREIGN,
        "gallery": {
            "rows": gallery.rows.tolist(),
            "paths": [evidence.paths[row] for row in gallery.rows],
            "width": gallery.width,
            "height": gallery.height,
            "cell_width": gallery.cell_width,
            "cell_height": gallery.cell_height,
            "across": COLUMNS,
            "per_sheet": PER_SHEET,
        },
    }


def _further(folder: Path, metrics: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What the folder holds beyond the scores: the heading and the content of a section for each, by its id."""
    sections = []
    for key, (heading, name, caption) in FURTHER.items():
        figure = _figure(folder / name, caption) if (folder / name).is_file() else ""
        numbers = any_table(heading, metrics[key]) if isinstance(metrics.get(key), dict) else ""
        sections.append((heading, f"{figure}<div>{numbers}</div>" if numbers else figure))
    placed = {*DRAWN, *(name for _, name, _ in FURTHER.values())}
    for file in sorted(folder.glob("*.png")):
        if file.name not in placed:
            sections.append((title_of(file.stem), _figure(file, file.stem.replace("_", " "))))
    for key, value in metrics.items():
        if isinstance(value, dict) and key not in FURTHER and key not in SCORES:
            sections.append((title_of(key), any_table(key, value)))
    filled = [(heading, content) for heading, content in sections if content]
    return {f"further-{number}": section for number, section in enumerate(filled)}


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>' if text else ""


def _figure(file: Path, caption: str) -> str:
    """At half its pixels, for dense screens; figures are drawn at 200 dots an inch."""
    with Image.open(file) as image:
        width, height = image.size
    content = base64.b64encode(file.read_bytes()).decode()
    return (
        f'<figure class="picture"><img alt="{escape(caption)}" width="{width // 2}" height="{height // 2}" '
        f'src="data:image/png;base64,{content}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _fill(page: str, fields: dict[str, str]) -> str:
    """Put `fields` into their places, `{{name}}`, in one pass: what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: fields[place[1]], page)


def _as_json(content: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _source_hash(source: str) -> str:
    """As a content security policy names what it lets run, `script-src 'sha256-...'`."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
