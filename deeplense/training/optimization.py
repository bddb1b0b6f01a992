"""How large a step is, and by which rule it is taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
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
    settings: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": True}
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adam": partial(torch.optim.Adam, capturable=True),
        "adamw": partial(torch.optim.AdamW, capturable=True),
        "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),  # can be captured as it is
    }
    optimizer = kinds[config.optimizer](model.parameters(), **settings)
    for group in optimizer.param_groups:
        group["lr"] = rate  # not from the start: torch would look at its value, and wait
    if config.optimizer == "sgd":
        for parameter in model.parameters():
            # Or torch would take uninitialised memory for the momentum if the very first step were left out.
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(max(part, 0.0), 1.0))) / 2
