"""The loop: batches in, weights out, and at any moment stoppable.

The position of a run is two integers, epoch and batch; a checkpoint is that, the tensors, and the few sums behind the
next log line. Nothing in a step waits for the device: sums stay there until the logging cadence.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors.torch import save as to_bytes
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from deeplense.classification.write import ModelCard
from deeplense.config import TrainConfig
from deeplense.data.augment import MEAN, STD
from deeplense.data.batches import Batches, PixelStore
from deeplense.data.imageset import ImageSet
from deeplense.errors import Stopped, TrainingError
from deeplense.evaluation.predict import predict
from deeplense.files import write_folder
from deeplense.machine.profiling import UNTRACED, tracing
from deeplense.network.model import build_model, loss_function, placed, probabilities
from deeplense.scores.calibration import NOT_CALIBRATED, calibrate
from deeplense.scores.metrics import score
from deeplense.tracking.tracker import MetricsLog, Tracker
from deeplense.training.checkpoint import (
    Checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from deeplense.training.optimization import learning_rate, make_optimizer
from deeplense.training.stopping import StopRequest

NOT_FINITE_STEPS = 50
"""Steps in a row without a finite gradient after which a run is given up: a loss scale has settled long before."""


@dataclasses.dataclass
class Position:
    """Where a run is, in plain numbers; what a checkpoint holds beside tensors."""

    step: int = 0
    """Global batches so far, over all epochs. Steps that were left out, since their gradient was not finite, count:
    asking the device which they were would make it wait, and the schedule is to end with the run."""
    epoch: int = 0
    batch: int = 0
    """The next batch of that epoch; all of them done means that validation is next."""
    best_epoch: int | None = None
    best_auc: float | None = None
    best_loss: float | None = None
    epochs_without_better_auc: int = 0
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


class Trainer:
    """One training run on one process of several."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        model: torch.nn.Module,
        store: PixelStore,
        batches: Batches,
        images: ImageSet,
        val_indices: np.ndarray,
        folder: Path,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.store = store
        self.batches = batches
        self.val_indices = val_indices
        assert images.labels is not None
        self.classes = images.classes
        self.val_labels = images.labels[val_indices]
        self.folder = folder
        self.position = Position()
        self.plain = model
        optimizer = make_optimizer(config.optimization, model)
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.torch_optimizer: torch.optim.Optimizer = optimizer
        self.average = _average_of(model, images.classes, config) if config.optimization.ema_decay else None
        self.log_every = min(50, math.ceil(batches.steps / 4))
        # On the device, since the last log line: sum of the loss and the finite steps it is over; and, since the last
        # finite step, those whose gradient was not.
        self._loss_sum, self._loss_steps, self._not_finite = torch.zeros(3, device=accelerator.device)
        self._saved_at = time.monotonic()
        self._started = time.monotonic()
        self.log: MetricsLog | None = None
        self.tracker: Tracker | None = None
        self.stop = StopRequest()
        self.bar = tqdm(disable=True)
        self.trace: Any = None

    # ---- the story ---------------------------------------------------------------------------------------------

    def fit(self, log: MetricsLog | None, tracker: Tracker | None, stop: StopRequest) -> None:
        """Train from where the run is to its end.

        Args:
            log, tracker: of the first process; None elsewhere.

        Raises:
            Stopped: on request, with a checkpoint written.
            TrainingError: the loss stayed not finite, or a checkpoint could not be written.
        """
        self.log, self.tracker, self.stop = log, tracker, stop
        total = self.config.optimization.epochs * self.batches.steps
        rank = self.accelerator.process_index
        traceless = self.config.run.profile and total - self.position.step <= UNTRACED
        if traceless and self.accelerator.is_main_process:
            self.bar.write(f"--profile: there will be no trace: it begins after {UNTRACED} steps, and no more are left")
        with (
            tqdm(
                total=total,
                initial=self.position.step,
                desc="training",
                unit="step",
                disable=None if self.accelerator.is_main_process else True,
            ) as self.bar,
            tracing(self.config.run.profile, self.folder / "profile", rank) as self.trace,
        ):
            while not self.finished:
                self.train_epoch()
                self._end_epoch()

    @property
    def finished(self) -> bool:
        patience = self.config.optimization.patience
        return self.position.epoch >= self.config.optimization.epochs or (
            patience is not None and self.position.epochs_without_better_auc >= patience
        )

    def train_epoch(self) -> None:
        """From the position on to the end of its epoch, without validation."""
        position, parts = self.position, self.batches.parts
        smoothing = self.config.optimization.label_smoothing
        self.model.train()
        items = self.batches.epoch(position.epoch, position.batch)
        since, seen = time.monotonic(), 0
        for _ in range(position.batch, self.batches.steps):
            lr = learning_rate(self.config.optimization, position.step, self.batches.steps)
            for group in self.torch_optimizer.param_groups:
                group["lr"] = lr
            step_loss = torch.zeros((), device=self.accelerator.device)
            for part in range(parts):
                images, labels = next(items)
                # Gradients are exchanged once a step, with the last part.
                with self.accelerator.no_sync(self.model) if part < parts - 1 else nullcontext():
                    loss = loss_function(len(self.classes), self.model(images), labels, smoothing) / parts
                    self.accelerator.backward(loss)
                step_loss += loss.detach()
            counts = self._optimizer_step() & step_loss.isfinite()
            self._loss_sum += torch.where(counts, step_loss, 0.0)
            self._loss_steps += counts
            position.step += 1
            position.batch += 1
            position.images += self.batches.batch_size
            seen += self.batches.batch_size
            self.bar.update()
            if self.trace is not None:
                self.trace.step()
            at_cadence = position.batch % self.log_every == 0 or position.batch == self.batches.steps
            if at_cadence:
                mean_loss = self._collect()  # the one wait for the device
                seconds = time.monotonic() - since
                position.train_seconds += seconds
                self._log_step(mean_loss, lr, seen / seconds)
                since, seen = time.monotonic(), 0
            self._check_in(at_cadence)

    def _end_epoch(self) -> None:
        """Validate, keep the weights if they are the best so far, and write a checkpoint."""
        position = self.position
        scores, logits = self._validate()
        position.epoch, position.batch = position.epoch + 1, 0
        better = self._compare(scores)
        if better:
            position.best_epoch = position.epoch
            self._keep_best(logits)
        line = {"step": position.step, "epoch": position.epoch}
        if scores:
            line |= {f"val_{name}": scores[name] for name in VALIDATION_SCORES}
            line["val_loss"] = scores["log_loss"]
            self._write(line)
            if self.accelerator.is_main_process:
                self.bar.write(
                    f"epoch {position.epoch}: validation loss {scores['log_loss']:.5f}, "
                    f"ROC AUC {scores['roc_auc']:.5f}, accuracy {scores['accuracy']:.4f}{' *' if better else ''}"
                )
        self.save()

    def _compare(self, scores: dict[str, Any]) -> bool:
        """Whether the weights are the best so far: by validation AUC, among equals by loss, without validation always.

        A small validation part is soon ranked without a fault; then the loss still tells the better weights.
        """
        position = self.position
        if not scores:
            return True
        auc, loss = scores["roc_auc"], scores["log_loss"]
        higher = position.best_auc is None or auc > position.best_auc
        position.epochs_without_better_auc = 0 if higher else position.epochs_without_better_auc + 1
        better = higher or (auc == position.best_auc and loss < position.best_loss)
        if better:
            position.best_auc, position.best_loss = auc, loss
        return better

    def _validate(self) -> tuple[dict[str, Any], np.ndarray | None]:
        """Scores, and the logits (n, 1) or (n, K) that they are of; nothing without validation images."""
        if not len(self.val_indices):
            return {}, None
        self._share_buffers()
        # Not through DDP, which would exchange statistics at each batch.
        network = self.plain if self.average is None else self.average
        logits = predict(
            network,
            self.store,
            self.val_indices,
            accelerator=self.accelerator,
            interrupt=self._check_in,
            precision=self.accelerator.autocast,
        )
        if not logits.isfinite().all():
            raise TrainingError(
                f"the network's output is not finite at step {self.position.step}: lower --lr, give --clip-norm, or "
                "--mixed-precision no; the checkpoints before it are whole"
            )
        return score(self.val_labels, probabilities(logits).cpu().numpy(), self.classes), logits.cpu().numpy()

    # ---- one step ----------------------------------------------------------------------------------------------

    def _optimizer_step(self) -> torch.Tensor:
        """Clip, and step unless the gradient is not finite, without asking the device whether it is: () bool there."""
        clip = self.config.optimization.clip_norm
        parameters = [parameter for parameter in self.plain.parameters() if parameter.grad is not None]
        if clip is not None:
            norm = self.accelerator.clip_grad_norm_(parameters, clip)
        else:
            norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])  # type: ignore[misc]
        finite = norm.isfinite()
        if self.accelerator.scaler is None:
            # The fused optimisers leave everything as it was where this says so; fp16's scaler uses it, too.
            self.torch_optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.torch_optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._not_finite = torch.where(finite, 0.0, self._not_finite + 1)
        if self.average is not None:
            self._update_average()
        return finite

    @torch.no_grad()
    def _update_average(self) -> None:
        assert self.average is not None
        assert self.config.optimization.ema_decay is not None
        update = get_ema_multi_avg_fn(self.config.optimization.ema_decay)
        update(list(self.average.parameters()), list(self.plain.parameters()), 0)
        for mean, now in zip(self.average.buffers(), self.plain.buffers(), strict=True):
            mean.copy_(now)

    # ---- at the logging cadence --------------------------------------------------------------------------------

    def _collect(self) -> float | None:
        """Mean loss since the last line, over all processes; gives up where nothing is finite any more."""
        sums = torch.stack([self._loss_sum, self._loss_steps, self._not_finite])
        loss_sum, loss_steps, not_finite = self.accelerator.reduce(sums, "mean").tolist()
        self._loss_sum.zero_()
        self._loss_steps.zero_()
        if not_finite >= NOT_FINITE_STEPS:
            raise TrainingError(
                f"the loss has not been finite for {not_finite:.0f} steps, at step {self.position.step}: "
                "lower --lr, give --clip-norm, or --mixed-precision no; the checkpoints before it are whole"
            )
        return loss_sum / loss_steps if loss_steps else None

    def _log_step(self, loss: float | None, lr: float, images_per_second: float) -> None:
        position = self.position
        self._write(
            {
                "step": position.step,
                "epoch": position.epoch + 1,
                "train_loss": loss,
                "lr": lr,
                "images_per_second": round(images_per_second, 1),
            }
        )
        self.bar.set_postfix(
            epoch=position.epoch + 1,
            loss="-" if loss is None else f"{loss:.4f}",
            rate=f"{images_per_second:.0f}/s",
        )

    def _write(self, line: dict[str, Any]) -> None:
        if self.log is not None and self.tracker is not None:
            self.log.write(line)
            self.tracker.log_line(line)

    # ---- stopping, saving, going on ----------------------------------------------------------------------------

    def _check_in(self, at_cadence: bool = True) -> None:
        """Between two steps or two batches of validation: save if it is time, stop if that was asked for.

        Several processes must agree, which costs a message: with GPUs at the cadence only.
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
        self._share_buffers()
        self._saved_at = time.monotonic()
        sums = self.accelerator.gather(torch.stack([self._loss_sum, self._loss_steps, self._not_finite])[None])
        if not self.accelerator.is_main_process:
            return
        position = self.position
        now = dataclasses.replace(
            position,
            sums=sums.tolist(),
            wall_seconds=self.wall_seconds(),
            log_bytes=self.log.length() if self.log else 0,
            loss_scale=self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
        )
        save_checkpoint(
            self.folder / "checkpoints",
            position.step,
            Checkpoint(
                model=self.plain.state_dict(),
                optimizer=optimizer_tensors(self.torch_optimizer),
                state=dataclasses.asdict(now),
                average=None if self.average is None else self.average.state_dict(),
            ),
            self.config.run.keep_checkpoints,
        )

    def wall_seconds(self) -> float:
        """Seconds that the run has taken, over all its sessions."""
        return self.position.wall_seconds + time.monotonic() - self._started

    def resume(self, checkpoint: Checkpoint) -> None:
        """Take up where `checkpoint` was written."""
        self.position = Position(**checkpoint.state)
        self.plain.load_state_dict(checkpoint.model)
        restore_optimizer(self.torch_optimizer, checkpoint.optimizer)
        if self.average is not None and checkpoint.average is not None:
            self.average.load_state_dict(checkpoint.average)
        if self.accelerator.scaler is not None and self.position.loss_scale is not None:
            self.accelerator.scaler.load_state_dict(self.position.loss_scale)
        sums = torch.tensor(self.position.sums, device=self.accelerator.device)  # (processes then, 3)
        same = len(sums) == self.accelerator.num_processes
        own = sums[self.accelerator.process_index] if same else sums.mean(0)
        self._loss_sum, self._loss_steps, self._not_finite = own.clone()

    def _share_buffers(self) -> None:
        """Give all processes the first one's batch-norm statistics, which is what DDP does before each step."""
        if self.accelerator.num_processes > 1:
            for network in (self.plain, self.average):
                for buffer in () if network is None else network.buffers():
                    buffer.copy_(broadcast(buffer))

    def _keep_best(self, logits: np.ndarray | None) -> None:
        """Write `best/`: the weights, and temperature and threshold by the logits of the validation images."""
        if not self.accelerator.is_main_process:
            return
        network = self.plain if self.average is None else self.average
        weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        data = self.config.data
        fitted = NOT_CALIBRATED
        if logits is not None:
            fitted = calibrate(logits, self.val_labels, self.config.calibration.fpr)
        card = ModelCard(
            classes=self.classes,
            image_size=data.image_size,
            channels=data.channels,
            normalize=data.normalize,
            stretch=data.stretch,
            crop=data.crop,
            standardize=data.standardize,
            mean=None if data.standardize else MEAN,
            std=None if data.standardize else STD,
            epoch=self.position.epoch,
            val_roc_auc=self.position.best_auc,
            **dataclasses.asdict(fitted),
        )
        files = {
            "model.safetensors": to_bytes(weights),
            "model.json": (json.dumps(dataclasses.asdict(card), indent=2) + "\n").encode(),
        }
        try:
            write_folder(self.folder / "best", files)
        except OSError as error:
            raise TrainingError(
                f"the best weights cannot be written to {self.folder} ({error.strerror}): the ones before are whole; "
                "make room and go on with --resume"
            ) from None


VALIDATION_SCORES = (
    "roc_auc",
    "roc_auc_low",
    "roc_auc_high",
    "accuracy",
    "average_precision",
    "brier",
    "ece",
)


def _average_of(model: torch.nn.Module, classes: tuple[str, ...], config: TrainConfig) -> torch.nn.Module:
    """A second network that holds the moving average; it starts as a copy."""
    average = build_model(len(classes), config.data.channels)
    placed(average, next(model.parameters()).device, config.compute.channels_last)
    average.load_state_dict(model.state_dict())
    return average.eval().requires_grad_(False)
