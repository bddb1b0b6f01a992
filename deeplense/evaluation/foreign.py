"""What an evaluation of any task says, does and writes about images that look like none that its run knows."""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from deeplense.config import EvaluateConfig
from deeplense.errors import InputError
from deeplense.evaluation.familiar import FILE
from deeplense.scores.detection import proportion
from deeplense.scores.familiarity import FOREIGN, Look, Shift


@dataclasses.dataclass(frozen=True)
class Foreignness:
    """What is known of n images before `--foreign` has left any out."""

    look: Look
    shift: Shift

    @classmethod
    def of(cls, look: Look) -> Foreignness:
        return cls(look, look.shift())

    def summary(self) -> dict[str, Any]:
        """What `metrics.json` has of it, beside `unfamiliar`."""
        look, n = self.look, len(self.look.familiarity)
        share = proportion(int(look.foreign.sum()), n)
        return {
            "n": n,
            "foreign": share.hits,
            "unfamiliar": share.value,
            "unfamiliar_low": share.low,
            "unfamiliar_high": share.high,
            "as_many_by_chance": look.chance,
            "validation_images": len(look.known),
            "shift": {"p": self.shift.p, "energy_distance": self.shift.distance},
        }

    def said(self) -> list[str]:
        """The lines that come before all else, and None where there is nothing to say."""
        look, n = self.look, len(self.look.familiarity)
        if look.many_foreign:
            return [
                f"{look.foreign.sum()} of {n} images ({look.unfamiliar:.0%}) are foreign to this run, stranger than "
                f"{1 - FOREIGN:.0%} of its validation images: their probabilities mean nothing"
            ]
        if self.shift.worth_a_line:
            return [
                "these images are like those of the run one by one, and not as a set: two samples of one kind differ "
                f"as much with p = {self.shift.p:.2g}, so scores and calibration of the run need not hold for them"
            ]
        return []
