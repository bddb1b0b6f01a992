"""How large a step is, and by which rule it is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from deeplense.config import OptimizationConfig


def learning_rate(config: OptimizationConfig, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimiser step `step`, counted from 0.

    A function of the step, so that a resumed run, or one of another world size, has the same one. `onecycle` is that of
    Smith & Topin (arXiv:1708.07120) in torch's form: cosine from lr / 25 up to lr over 30 %, then down to lr / 250,000.
    """
    total = config.epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    if config.schedule == "onecycle":
        top = 0.3 * total - 1
        low, end = config.lr / 25, config.lr / 25e4
        if step < top:
            return _cosine(low, config.lr, step / top)
        return _cosine(config.lr, end, (step - top) / max(total - 1 - top, 1))
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    if config.schedule == "cosine":
        return _cosine(config.lr, 0.0, (step - warmup) / (total - warmup))
    return config.lr


def make_optimizer(config: OptimizationConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser, fused: one kernel a step, which can also leave a step out without waiting for the device.

    Its learning rate is a tensor to be filled in place, as whoever captures or compiles a step needs it: in the
    type that the kernels of the device read.
    """
    device = next(model.parameters()).device
    rate = torch.full((), config.lr, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
    settings: dict[str, Any] = {"lr": rate, "weight_decay": config.weight_decay, "fused": True}
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), momentum=0.9, nesterov=True, **settings)
        for parameter in model.parameters():
            # Or torch would take uninitialised memory for the momentum if the very first step were left out.
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer
    kind: Callable[..., torch.optim.Optimizer] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[
        config.optimizer
    ]
    return kind(model.parameters(), capturable=True, **settings)  # SGD's step can be captured as it is


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(max(part, 0.0), 1.0))) / 2
