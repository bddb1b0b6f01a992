"""The network and all that moves its weights: what of a run lives on the device.

Nothing in a step waits for the device. What is to be logged adds up there until it is collected.

A step counts if its gradient is finite, on all processes alike. One that does not count changes nothing: weights,
moments, batch-norm statistics, average and step counters stay as they were, and fp16's scale alone moves.

A step is a function of tensors that are filled in place, so it can be captured (`capture`), from stored pixels on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from deeplense.config import TrainConfig
from deeplense.machine import compiling
from deeplense.machine.remarks import first_line, hear_compiler, remark
from deeplense.task import Task
from deeplense.training.average import average_of, follow
from deeplense.training.buffers import Buffers
from deeplense.training.capture import CudaGraph, Item, Steps
from deeplense.training.checkpoint import Checkpoint, State, optimizer_tensors, restore_optimizer
from deeplense.training.optimization import make_optimizer
from deeplense.training.pace import EAGERLY, Way

Seen = Callable[..., tuple[torch.Tensor, Any]]
"""From what an item holds to images and what is to be said of them, see `data.batches`."""


class Learner:
    """A network on one process of several, with its optimiser and, if there is one, its moving average."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        task: Task,
        network: torch.nn.Module,
        seen: Seen = lambda images, targets: (images, targets),
        way: Way = EAGERLY,
    ) -> None:
        """`network` is on the accelerator's device, as `session.prepare_network` leaves it."""
        self.config = config.optimization
        self.accelerator = accelerator
        self.task = task
        self.plain = network
        self.optimizer = make_optimizer(self.config, network)
        self._rate = self.optimizer.param_groups[0]["lr"]
        self.network = accelerator.prepare(network)
        self.average = average_of(network, task, config) if self.config.ema_decay else None
        self._buffers = Buffers(network)
        self._seen = seen
        self._loss_of = self._eager_loss_of
        # On the device, since it was last asked: sum of the loss, where that is finite, and the steps it is over; and,
        # since the last step that counted, those that did not.
        self._loss_sum, self._loss_steps, self._not_finite = torch.zeros(3, device=accelerator.device)
        if way.compiled:
            self._compile()
        self._steps = Steps(
            self._advance,
            self._undo,
            self._do_without_compiler if way.compiled else None,
            CudaGraph() if way.captured else None,
        )

    @property
    def best(self) -> torch.nn.Module:
        """The network that is scored and kept: the average, if there is one. Never wrapped in DDP, which would exchange
        statistics at each batch."""
        return self.plain if self.average is None else self.average

    def step(self, items: Iterator[Item], lr: float) -> None:
        """One optimiser step at rate `lr` over the next `grad_accum` items."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate  # which a checkpoint has replaced
        self._rate.fill_(lr)
        self._steps(list(itertools.islice(items, self.config.grad_accum)))

    def _advance(self, items: list[Item]) -> None:
        """The step itself, the same operations on the device each time."""
        step_loss = torch.zeros((), device=self.accelerator.device)
        for last, item in zip([False] * (len(items) - 1) + [True], items, strict=True):
            # Gradients are exchanged once a step, with the last part.
            with nullcontext() if last else self.accelerator.no_sync(self.network):
                loss = self._loss_of(*item)
                self.accelerator.backward(loss)
            step_loss += loss.detach()
        self._move()
        # Whatever fp16's scale, which is found by trying, makes of the gradient: the loss is what it is.
        finite = step_loss.isfinite()
        self._loss_sum += torch.where(finite, step_loss, 0.0)
        self._loss_steps += finite

    def _eager_loss_of(self, *item: Any) -> torch.Tensor:
        """The part of a step's loss that one of its items has, from stored pixels on."""
        images, targets = self._seen(*item)
        return _whole_or_nothing(self.task.loss(self.network(images), targets) / self.config.grad_accum)

    def _move(self) -> None:
        """Clip, and step if that counts, without asking the device whether it does."""
        scaler, clip = self.accelerator.scaler, self.config.clip_norm
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        parameters = [parameter for parameter in self.plain.parameters() if parameter.grad is not None]
        if clip is not None:
            norm = torch.nn.utils.clip_grad_norm_(parameters, clip)
        else:
            norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters])  # type: ignore[misc]
        counts = norm.isfinite()
        # The fused optimisers leave everything as it was where `found_inf` says so. The scaler's own `step` would ask
        # for entries that are not finite only, and Adam squares them.
        self.optimizer.grad_scale, self.optimizer.found_inf = None, (~counts).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        self.optimizer.zero_grad()
        if scaler is not None:
            scaler.update()
        self._buffers.settle(counts)
        if self.average is not None:
            assert self.config.ema_decay is not None
            follow(self.average, self.plain, self.config.ema_decay, counts)
        self._not_finite.add_(1).mul_(~counts)

    def _compile(self) -> None:
        """The network for validation, and all that is before a gradient as one graph; with DDP the network alone."""
        hear_compiler()
        # In place: the names of the weights stay clean. Batches of training have one shape and those of validation
        # another, so none is dynamic.
        self.best.compile(dynamic=False, backend=compiling.BACKEND)
        if self.accelerator.num_processes == 1:
            self._loss_of = torch.compile(self._eager_loss_of, dynamic=False, backend=compiling.BACKEND)
        else:
            self.plain.compile(dynamic=False, backend=compiling.BACKEND)

    def does_without_compiler(self, error: RuntimeError) -> bool:
        """Whether it was the compiler that failed, and is not asked again."""
        ours = compiling.failed(error)
        if ours:
            self._do_without_compiler(first_line(error))
        return ours

    def _do_without_compiler(self, reason: str) -> None:
        self._loss_of = self._eager_loss_of
        self.plain._compiled_call_impl = self.best._compiled_call_impl = None
        remark(f"--compile has no effect, training runs eagerly: {reason}")

    def _undo(self) -> None:
        """Of a step that broke off before it moved a weight, nothing stays."""
        self.optimizer.zero_grad()
        self._buffers.settle(torch.zeros((), dtype=torch.bool, device=self.accelerator.device))
        if self.accelerator.scaler is not None:
            self.accelerator.scaler._per_optimizer_states.clear()

    def collect(self) -> tuple[float | None, float]:
        """Mean loss since this was last asked, over all processes, and how many steps have gone by since a finite one.

        This waits for the device.
        """
        loss_sum, loss_steps, not_finite = self.accelerator.reduce(self._sums(), "mean").tolist()
        self._loss_sum.zero_()
        self._loss_steps.zero_()
        return loss_sum / loss_steps if loss_steps else None, not_finite

    def share_buffers(self) -> None:
        """Give all processes the first one's batch-norm statistics, which is what DDP does before each step."""
        if self.accelerator.num_processes > 1:
            for network in (self.plain, self.average):
                for buffer in () if network is None else network.buffers():
                    buffer.copy_(broadcast(buffer))
            self._buffers.note()

    def gathered_sums(self) -> list[list[float]]:
        """What each process has added up, for a checkpoint. All processes must ask."""
        return self.accelerator.gather(self._sums()[None]).tolist()

    def tensors(self) -> tuple[State, State, State | None]:
        """Of the network, of the optimiser, and of the average."""
        average = None if self.average is None else self.average.state_dict()
        return self.plain.state_dict(), optimizer_tensors(self.optimizer), average

    def restore(self, checkpoint: Checkpoint, sums: list[list[float]], loss_scale: dict[str, Any] | None) -> None:
        """Take up the tensors, the sums of each process, and the state of fp16's scaler."""
        self.plain.load_state_dict(checkpoint.model)
        self._buffers.note()
        restore_optimizer(self.optimizer, checkpoint.optimizer)
        if self.average is not None and checkpoint.average is not None:
            self.average.load_state_dict(checkpoint.average)
        if self.accelerator.scaler is not None and loss_scale is not None:
            self.accelerator.scaler.load_state_dict(loss_scale)
        of_all = torch.tensor(sums, device=self.accelerator.device)  # (processes then, 3)
        same = len(of_all) == self.accelerator.num_processes
        own = of_all[self.accelerator.process_index] if same else of_all.mean(0)
        for sum_, value in zip((self._loss_sum, self._loss_steps, self._not_finite), own, strict=True):
            sum_.copy_(value)

    def _sums(self) -> torch.Tensor:
        return torch.stack([self._loss_sum, self._loss_steps, self._not_finite])


def _whole_or_nothing(loss: torch.Tensor) -> torch.Tensor:
    """`loss`, or nan in place of an infinity, whose gradient may be finite all the same. What processes exchange is
    the gradient: so all know of a loss that is none."""
    return loss * (loss.detach() * 0 + 1)
