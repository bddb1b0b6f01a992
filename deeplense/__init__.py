"""Train, score and trust classifiers of strong-lens images.

`deeplense.load("runs/NAME")` and `deeplense.simulate("model_i", 100)` are for notebooks: see `deeplense.loaded`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: torch takes seconds, and flags should not wait for it."""
    if name in ("load", "simulate"):
        return getattr(importlib.import_module("deeplense.loaded"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", "load", "simulate"]
