"""The loop: batches in, weights out, and at any moment stoppable.

The position of a run is two integers, epoch and batch; a checkpoint is that, the tensors, and the few sums behind the
next log line. What the network is trained for is the task's, what is on the device is the learner's.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm

from deeplense.config import TrainConfig
from deeplense.data.batches import Batches, PixelStore
from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError, Stopped, TrainingError
from deeplense.evaluation.best import keep_best
from deeplense.evaluation.predict import predict
from deeplense.machine.profiling import UNTRACED, tracing
from deeplense.network.model import strange_to
from deeplense.task import Said, Task
from deeplense.tracking.metrics_log import MetricsLog
from deeplense.tracking.tracker import Tracker
from deeplense.training.checkpoint import Checkpoint, remedy, save_checkpoint
from deeplense.training.learner import Learner
from deeplense.training.optimization import learning_rate
from deeplense.training.pace import EAGERLY, Way
from deeplense.training.position import Position
from deeplense.training.stopping import StopRequest

NOT_FINITE_STEPS = 50
"""Steps in a row without a finite gradient after which a run is given up: a loss scale has settled long before."""


class Trainer:
    """One training run on one process of several."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        task: Task,
        network: torch.nn.Module,
        store: PixelStore,
        batches: Batches,
        images: ImageSet,
        val_indices: np.ndarray,
        folder: Path,
        way: Way = EAGERLY,
    ) -> None:
        self.config, self.accelerator, self.task = config, accelerator, task
        self.store, self.batches, self.images, self.val_indices = store, batches, images, val_indices
        self.folder = folder
        self.learner = Learner(config, accelerator, task, network, batches.seen, way)
        self.position = Position()
        self.log_every = min(50, math.ceil(batches.steps / 4))
        self.log: MetricsLog | None = None
        self.tracker: Tracker | None = None
        self.stop = StopRequest()
        self.bar = tqdm(disable=True)
        self.trace: Any = None
        self._saved_at = self._started = time.monotonic()

    def fit(self, log: MetricsLog | None, tracker: Tracker | None, stop: StopRequest) -> None:
        """Train from where the run is to its end.

        Args:
            log, tracker: of the first process; None elsewhere.

        Raises:
            Stopped: on request, with a checkpoint written.
            TrainingError: the loss stayed not finite, or a checkpoint could not be written.
        """
        self.log, self.tracker, self.stop = log, tracker, stop
        first = self.accelerator.is_main_process
        profile, total = self.config.run.profile, self.config.optimization.epochs * self.batches.steps
        if profile and first and total - self.position.step <= UNTRACED:
            self.bar.write(f"--profile: there will be no trace: it begins after {UNTRACED} steps, and no more are left")
        bar = tqdm(
            total=total, initial=self.position.step, desc="training", unit="step", disable=None if first else True
        )
        trace = tracing(profile, self.folder / "profile", self.accelerator.process_index)
        with bar as self.bar, trace as self.trace:
            while not self.finished:
                self.train_epoch()
                self._end_epoch()

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        epochs, patience = self.config.optimization.epochs, self.config.optimization.patience
        impatient = patience is not None and self.position.epochs_without_better >= patience
        return self.position.epoch >= epochs or impatient

    def train_epoch(self) -> None:
        """From the position on to the end of its epoch, without validation."""
        position, size = self.position, self.batches.batch_size
        self.learner.network.train()
        items = self.batches.raw(position.epoch, position.batch)
        since, seen = time.monotonic(), 0
        for batch in range(position.batch + 1, self.batches.steps + 1):
            lr = learning_rate(self.config.optimization, position.step, self.batches.steps)
            self.learner.step(items, lr)
            position.step, position.batch, position.images = position.step + 1, batch, position.images + size
            seen += size
            self.bar.update()
            if self.trace is not None:
                self.trace.step()
            at_cadence = batch % self.log_every == 0 or batch == self.batches.steps
            if at_cadence:
                loss = self._collect()  # the one wait for the device
                seconds = time.monotonic() - since
                position.train_seconds += seconds
                self._log_step(loss, lr, seen / seconds)
                since, seen = time.monotonic(), 0
            self._check_in(at_cadence)

    def _end_epoch(self) -> None:
        """Validate, keep the weights if they are the best so far, and write a checkpoint."""
        position, task = self.position, self.task
        said = self._validate() if len(self.val_indices) else None
        scores = {} if said is None else task.scores(said)
        better = position.end_epoch(scores, task.rank(scores) if scores else ())
        if better and self.accelerator.is_main_process:
            keep_best(self.folder, self.learner.best, task.card(position.epoch, said, scores).for_pixels(self.store))
        if scores:
            own = {f"val_{name}": value for name, value in scores.items()}
            self._write({"step": position.step, "epoch": position.epoch, **own})
            if self.accelerator.is_main_process:
                star = " *" if better else ""
                told = f"validation loss {scores['loss']:.5f}, {task.told(scores)}"
                self.bar.write(f"epoch {position.epoch}: {told}{star}")
        self.save()

    def _predict(self) -> torch.Tensor:
        return predict(
            self.learner.best,
            self.store,
            self.val_indices,
            accelerator=self.accelerator,
            interrupt=lambda: self._check_in(False),
            precision=self.accelerator.autocast,
        )

    def _validate(self) -> Said:
        """What the network says of the validation images, on all processes."""
        self.learner.share_buffers()
        try:
            outputs = self._predict()
        except RuntimeError as error:  # validation has shapes of its own, which are compiled now
            if not self.learner.does_without_compiler(error):
                raise
            outputs = self._predict()
        if not outputs.isfinite().all():
            step, way = self.position.step, remedy(self.folder / "checkpoints")
            raise TrainingError(f"the network's output is not finite at step {step}: {way}")
        return Said(outputs, self.images, self.val_indices)

    def _collect(self) -> float | None:
        """Mean loss since the last line, over all processes; gives up where nothing is finite any more."""
        loss, not_finite = self.learner.collect()
        if not_finite >= NOT_FINITE_STEPS:
            step, way = self.position.step, remedy(self.folder / "checkpoints")
            raise TrainingError(f"the loss has not been finite for {not_finite:.0f} steps, at step {step}: {way}")
        return loss

    def _log_step(self, loss: float | None, lr: float, rate: float) -> None:
        step, epoch = self.position.step, self.position.epoch + 1
        line = {"step": step, "epoch": epoch, "train_loss": loss, "lr": lr, "images_per_second": round(rate, 1)}
        self._write(line)
        self.bar.set_postfix(epoch=epoch, loss="-" if loss is None else f"{loss:.4f}", rate=f"{rate:.0f}/s")

    def _write(self, line: dict[str, Any]) -> None:
        if self.log is not None and self.tracker is not None:
            self.log.write(line)
            self.tracker.log_line(line)

    def _check_in(self, at_cadence: bool) -> None:
        """Between two steps or two batches of validation: save if it is time, stop if that was asked for.

        Several processes must agree, which costs a message: with GPUs at the cadence of training only.
        """
        alone = self.accelerator.num_processes == 1
        if not (alone or at_cadence or self.accelerator.device.type == "cpu"):
            return
        due = time.monotonic() - self._saved_at > 60 * self.config.run.checkpoint_minutes
        wishes = [self.stop.requested, due and self.accelerator.is_main_process]
        if not alone:
            agreed = self.accelerator.reduce(torch.tensor(wishes, device=self.accelerator.device, dtype=torch.float32))
            wishes = (agreed > 0).tolist()
        stop, due = wishes
        if stop or due:
            self.save()
        if stop:
            raise Stopped(
                f"stopped on request at step {self.position.step}: go on with --name {self.folder.name} --resume"
            )

    def save(self) -> None:
        """Write a checkpoint of this very moment."""
        self.learner.share_buffers()
        self._saved_at = time.monotonic()
        sums, scaler = self.learner.gathered_sums(), self.accelerator.scaler
        if not self.accelerator.is_main_process:
            return
        now = dataclasses.replace(
            self.position,
            sums=sums,
            wall_seconds=self.wall_seconds(),
            log_bytes=self.log.length() if self.log else 0,
            loss_scale=scaler.state_dict() if scaler else None,
        )
        model, optimizer, average = self.learner.tensors()
        checkpoint = Checkpoint(model, optimizer, dataclasses.asdict(now), average)
        save_checkpoint(self.folder / "checkpoints", now.step, checkpoint, self.config.run.keep_checkpoints)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up where `checkpoint` was written.

        Raises:
            InputError: it is of a network of other layers, as those of an older program may be.
        """
        if odd := strange_to(self.learner.plain, checkpoint.model):
            raise InputError(
                f"--resume: {self.folder / 'checkpoints'} is of another network than this program's ({odd}): use the "
                "program that record.json names under git, or start again with --overwrite"
            )
        self.position = Position(**checkpoint.state)
        assert self.position.sums is not None
        self.learner.restore(checkpoint, self.position.sums, self.position.loss_scale)

    def wall_seconds(self) -> float:
        """Seconds that the run has taken, over all its sessions."""
        return self.position.wall_seconds + time.monotonic() - self._started
