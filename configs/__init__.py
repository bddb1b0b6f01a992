"""Presets: one file each, whose docstring says recipe, hardware, time and measured result."""

from __future__ import annotations

from configs import best, debug, fast, locate, locate_best, locate_many, quickstart, report, turned, upright
from deeplense.config import TrainConfig

_MODULES = (report, quickstart, fast, best, turned, upright, locate, locate_best, locate_many, debug)

PRESETS: dict[str, TrainConfig] = {module.CONFIG.preset: module.CONFIG for module in _MODULES}
DESCRIPTIONS: dict[str, str] = {module.CONFIG.preset: (module.__doc__ or "").splitlines()[0] for module in _MODULES}
