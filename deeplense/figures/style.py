"""How figures look: one style, one set of colours, one way to show an image."""

from __future__ import annotations

from typing import Any

import numpy as np

STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": 200,
}
COLORS = (
    "#1b6ca8",
    "#d1495b",
    "#4f9d69",
    "#edae49",
    "#7d5ba6",
    "#5c6b73",
)  # told apart by the colour-blind too
LINES = ("-", "--", ":", "-.")
"""Of as many classes each as there are colours."""

IMAGE_MAP = "magma"

LONGEST = 20
"""Letters of a class's name that a figure has room for."""


def line_of(label: int) -> dict[str, Any]:
    """Colour and kind of the line that stands for a class."""
    return {"color": COLORS[label % len(COLORS)], "linestyle": LINES[label // len(COLORS) % len(LINES)]}


def short(name: str) -> str:
    """The name of a class, as it is, or its two ends."""
    return literal(name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[1 - LONGEST // 2 :]}")


def literal(text: str) -> str:
    """A name that somebody has given, as it is: matplotlib reads what is between two dollars as mathematics."""
    return text.replace("$", r"\$")


def to_display(image: np.ndarray) -> np.ndarray:
    """(C, H, W) in [0, 1] of an image of any range, to the square root, as faint arcs stand beside bright lenses."""
    if len(image) not in (1, 3):
        image = image.mean(0, keepdims=True)  # bands that no eye has
    low, high = float(image.min()), float(image.max())
    return np.sqrt((image.astype(np.float32) - low) / max(high - low, 1e-9))
