"""YOLOv8n by its own command, in a process of its own: it is AGPL-3.0, and nothing of it is imported here.

It trains from its description, without weights of others, offline, on pictures of the same images
(`simulation/yolo.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np

from deeplense.benchmark.unet import thinned
from deeplense.errors import InputError
from deeplense.localisation.detections import Detections

MODEL = "yolov8n.yaml"
LEAST = 0.001
"""Confidence below which it lists nothing."""
EPOCHS = 1000
"""More than the time allows: it stops by the clock."""
THREADS = min(8, max(1, (os.cpu_count() or 1) - 1))
"""That it computes with on a CPU: it leaves a core free, whatever it is told."""


def command() -> str:
    """Where its command is. Raises `InputError` if it is not installed."""
    found = shutil.which("yolo")
    if found is None:
        raise InputError("--against yolo: its command is not there: give `pip install -e '.[yolo]'`, or leave it out")
    return found


def train(pictures: Path, folder: Path, minutes: float, size: int, batch: int) -> Path:
    """Train for `minutes` on the pictures in a folder with `data.yaml`; the weights.

    Args:
        size: pixels a side that it magnifies images to: its cells are 8 of them.
    """
    _run(folder, "settings", "sync=False")
    _run(
        folder,
        *("detect", "train", f"model={MODEL}", f"data={pictures / 'data.yaml'}", f"imgsz={size}", f"batch={batch}"),
        *(f"time={minutes / 60:.5f}", f"epochs={EPOCHS}", "pretrained=False", "amp=False", "plots=False", "workers=0"),
        *("device=cpu", f"project={folder}", "name=trained", "exist_ok=True"),
    )
    weights = folder / "trained" / "weights"
    best = weights / "best.pt"
    return best if best.is_file() else weights / "last.pt"


def predict(weights: Path, pictures: Path, folder: Path, size: int) -> tuple[list[str], str]:
    """What it says of all images of a folder: the text files that it wrote, and what it printed."""
    said = _run(
        folder,
        *("detect", "predict", f"model={weights}", f"source={pictures}", f"imgsz={size}", f"conf={LEAST}", "iou=0.3"),
        *("save_txt=True", "save_conf=True", "save=False", "max_det=20", "device=cpu", "batch=32"),
        *(f"project={folder}", f"name=said-{pictures.name}", "exist_ok=True"),
    )
    labels = folder / f"said-{pictures.name}" / "labels"
    names = sorted(path.stem for path in pictures.iterdir())
    files = (labels / f"{name}.txt" for name in names)
    return [file.read_text() if file.is_file() else "" for file in files], said


def found_by(texts: list[str], cells: float, crop: float) -> tuple[np.ndarray, Detections]:
    """The score of each image, (n,), and its detections, of no mass that it would know of.

    Args:
        texts: of n images: lines of class, middle, size and confidence.
        cells: along a side of the part `crop` of the image that others see.
    """
    rows = [
        (number, float(confidence), float(x), float(y))
        for number, text in enumerate(texts)
        for _, x, y, _, _, confidence in (line.split() for line in text.splitlines())
    ]
    image, score, x, y = np.array(rows).reshape(-1, 4).T
    x, y = (((at - 0.5) / crop + 0.5) * cells for at in (x, y))
    scores = np.zeros(len(texts))
    np.maximum.at(scores, image.astype(int), score)
    order = np.lexsort((-score, image))
    inside = (np.minimum(x, y) > 0) & (np.maximum(x, y) < cells)
    order = order[inside[order]]
    columns = (image.astype(int)[order], score[order], x[order], y[order], np.full(len(order), 9.5))
    return scores, thinned(*columns)


def milliseconds(said: str) -> float | None:
    """Of the network alone, an image, as it prints it; None: it has not."""
    found = re.findall(r"([\d.]+)ms inference", said)
    return float(found[-1]) if found else None


def images_seen(folder: Path, count: int) -> int:
    """Images that it trained on, by the epochs in its table."""
    table = folder / "trained" / "results.csv"
    return count * max(len(table.read_text().splitlines()) - 1, 0) if table.is_file() else 0


def _run(folder: Path, *arguments: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    offline = {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0", "YOLO_CONFIG_DIR": str(folder), "YOLO_VERBOSE": "True"}
    done = subprocess.run(
        [command(), *arguments], cwd=folder, env=os.environ | offline, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise InputError(f"yolo {arguments[0]}: failed ({''.join(last)}): try it by hand in {folder}")
    return done.stdout + done.stderr
