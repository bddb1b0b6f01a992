"""What an evaluation of any task says, does and writes about images that look like none that its run knows."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from deeplense.errors import InputError
from deeplense.evaluation.familiar import FILE
from deeplense.scores.detection import proportion
from deeplense.scores.familiarity import FOREIGN, Familiarity, Look, Shift

Heed = Literal["say", "leave-out", "refuse"]
"""`--foreign`."""


@dataclasses.dataclass(frozen=True)
class Foreignness:
    """How n images look to a run, one by one and as a set."""

    look: Look
    shift: Shift
    left_out: np.ndarray
    """(n,) bool: those that are not scored."""

    @classmethod
    def of(cls, look: Look, heed: Heed, what: str) -> Foreignness:
        """Look, and do what `--foreign` asks for.

        Args:
            what: the images are, for the user.

        Raises:
            InputError: many are foreign, or all are and none is left to score.
        """
        found = cls(
            look, look.shift(), look.foreign if heed == "leave-out" else np.zeros(len(look.foreign), dtype=bool)
        )
        if heed == "refuse" and look.many_foreign:
            raise InputError(
                f"--foreign refuse: {what}: {found._share()}: score the others with --foreign leave-out, or all with "
                "--foreign say"
            )
        if found.left_out.all():
            raise InputError(
                f"--foreign leave-out: {what}: {found._share()}, and none is left to score: give others, or score them "
                "all the same with --foreign say"
            )
        return found

    def said(self) -> list[str]:
        """What comes before all scores, in lines; empty where there is nothing to say."""
        if self.look.many_foreign:
            then = "they are left out" if self.left_out.any() else "their probabilities mean nothing"
            return [f"{self._share()}: {then}"]
        lines = []
        if self.left_out.any():
            lines.append(f"left out {self.left_out.sum()} of {len(self.left_out)} images that are foreign to this run")
        if self.shift.worth_a_line:
            lines.append(
                "few of these images are foreign to this run, but as a set they differ from its validation images "
                f"(p = {self.shift.p:.2g}): its scores and its calibration need not hold for them"
            )
        return lines

    def _share(self) -> str:
        return (
            f"{self.look.foreign.sum()} of {len(self.look.foreign)} images ({self.look.unfamiliar:.0%}) are foreign to "
            f"this run, stranger than {1 - FOREIGN:.0%} of its validation images"
        )

    def summary(self) -> dict[str, Any]:
        """What `metrics.json` has: `unfamiliar`, and the rest under `familiarity`."""
        share = proportion(int(self.look.foreign.sum()), len(self.look.foreign))
        return {
            "unfamiliar": share.value,
            "familiarity": {
                "images": share.n,
                "foreign": share.hits,
                "left_out": int(self.left_out.sum()),
                "unfamiliar": share.value,
                "unfamiliar_low": share.low,
                "unfamiliar_high": share.high,
                "as_many_by_chance_p": self.look.chance,
                "validation_images": len(self.look.known),
                "as_a_set_p": self.shift.p,
                "energy_distance": self.shift.distance,
                "said": " ".join(self.said()) or None,
            },
        }

    def write_left_out(self, file: Path, paths: Sequence[str]) -> None:
        """A table of the images (n paths) that are not scored, the strangest first, if there are any."""
        rows = np.flatnonzero(self.left_out)
        if not len(rows):
            return
        with file.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow(["path", "familiarity", "strangeness"])
            for row in rows[np.argsort(-self.look.strangeness[rows], kind="stable")]:
                look = self.look
                writer.writerow([paths[row], f"{look.familiarity[row]:.6g}", f"{look.strangeness[row]:.6g}"])


def look_up(familiarity: Familiarity | None, run: Path, heed: Heed, tell: bool) -> Familiarity | None:
    """`familiarity` of a run; where it has none, that is said if asked for.

    Raises:
        InputError: it has none, and `--foreign` needs it.
    """
    if familiarity is None:
        why = (
            f"{run} does not keep what its images look like (best/{FILE}: runs with validation images do, at their end)"
        )
        if heed != "say":
            raise InputError(f"--foreign {heed}: {why}: give --foreign say")
        if tell:
            print(f"note: {why}: nothing tells whether these are like them", file=sys.stderr)
    return familiarity
