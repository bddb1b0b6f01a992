"""What is known when images have been searched: all that files, figures and the page are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from deeplense.evaluation.foreign import Foreignness
from deeplense.localisation.limit import Limit
from deeplense.localisation.refit.refit import Refitted
from deeplense.localisation.scores import Findings
from deeplense.localisation.truth import Scale, TrueSubhalos
from deeplense.scores.familiarity import Look
from deeplense.task import Scored


@dataclasses.dataclass(frozen=True)
class Located:
    """All that there is to write about n images."""

    scored: Scored
    findings: Findings
    truth: TrueSubhalos | None
    scale: Scale
    scores: dict[str, Any]
    limit: Limit | None
    density: torch.Tensor
    """(n, h, w) expected numbers in the cells."""
    min_probability: float
    """Of the detections that are listed."""
    foreign: Foreignness | None = None
    look: Look | None = None
    """How the images look to the run, of all that there were and of these n; None: it does not know."""
    fits: Refitted | None = None
    """Of the second stage, where it was asked for."""
