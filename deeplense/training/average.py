"""The exponential moving average of the weights over steps: what is scored and kept, where there is one."""

from __future__ import annotations

import torch

from deeplense.config import TrainConfig
from deeplense.network.model import placed
from deeplense.task import Task


def average_of(network: torch.nn.Module, task: Task, config: TrainConfig) -> torch.nn.Module:
    """A second network to hold the average of `network`; it starts as a copy."""
    average = task.network()
    placed(average, next(network.parameters()).device, config.compute.channels_last)
    average.load_state_dict(network.state_dict())
    return average.eval().requires_grad_(False)


@torch.no_grad()
def follow(average: torch.nn.Module, network: torch.nn.Module, decay: float, counts: torch.Tensor) -> None:
    """Move `average` by 1 - `decay` of its way to `network`, if the step `counts`, () bool; else it stays to the bit.

    Buffers are taken over as they are: they are averages already. Nothing waits for the device.
    """
    means: list[torch.Tensor] = list(average.parameters())
    now: list[torch.Tensor] = list(network.parameters())
    weight = torch.where(counts, 1 - decay, 0.0)
    torch._foreach_lerp_(means, now, [weight.expand_as(mean) for mean in means])
    kinds: dict[torch.dtype, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
    for mean, buffer in zip(average.buffers(), network.buffers(), strict=True):
        for group, one in zip(kinds.setdefault(buffer.dtype, ([], [])), (mean, buffer), strict=True):
            group.append(one)
    for copies, buffers in kinds.values():
        torch._foreach_copy_(copies, buffers)  # a kernel for many
