"""Where a run is, in plain numbers, and what it makes of an epoch's scores."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass
class Position:
    """What a checkpoint holds beside tensors."""

    step: int = 0
    """Global batches so far, over all epochs. Steps that were left out, since their gradient was not finite, count:
    asking the device which they were would make it wait, and the schedule is to end with the run."""
    epoch: int = 0
    batch: int = 0
    """The next batch of that epoch; all of them done means that validation is next."""
    best_epoch: int | None = None
    best_scores: dict[str, float] = dataclasses.field(default_factory=dict)
    """Validation scores of that epoch; empty without validation."""
    best_rank: list[float] | None = None
    """What the task makes of them: the larger, the better."""
    epochs_without_better: int = 0
    """Since the first number of the rank has last risen."""
    images: int = 0
    """Trained on so far."""
    train_seconds: float = 0.0
    wall_seconds: float = 0.0
    log_bytes: int = 0
    """Length of metrics.jsonl."""
    sums: list[list[float]] | None = None
    """Of each process, what the device has added up: loss, steps, steps without a finite gradient."""
    loss_scale: dict[str, Any] | None = None
    """State of fp16's gradient scaler."""

    def end_epoch(self, scores: dict[str, float], rank: tuple[float, ...]) -> bool:
        """Note the end of an epoch, and whether its weights are the best so far; without scores they always are."""
        self.epoch, self.batch = self.epoch + 1, 0
        best = self.best_rank
        if scores:
            self.epochs_without_better = 0 if best is None or rank[0] > best[0] else self.epochs_without_better + 1
        if scores and best is not None and not list(rank) > best:
            return False
        self.best_epoch, self.best_scores, self.best_rank = self.epoch, scores, list(rank)
        return True
