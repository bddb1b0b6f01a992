"""Batch norm over the global batch, whatever the number of processes (`--sync-batchnorm`)."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed import all_reduce, get_world_size


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; what flows back is the sum of what flows back in each."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _SumOverProcesses.forward(ctx, gradient)


class GlobalBatchNorm2d(torch.nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' equal shares together.

    torch's own `SyncBatchNorm` is for GPUs only, and allows for empty shares: it waits for the device in each layer to
    leave them out. Ours never are, so plain operations do, on any device and without a wait. Weights and statistics
    have the names and meaning of `BatchNorm2d`.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same; communicates in training only."""
        if not self.training:
            return super().forward(x)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        world, wide = get_world_size(), x.to(torch.promote_types(x.dtype, torch.float32))
        mean = _SumOverProcesses.apply(wide.mean((0, 2, 3))) / world
        # A message more than mean and mean square would take; but their difference loses digits.
        centred = wide - mean[:, None, None]
        variance = _SumOverProcesses.apply(centred.square().mean((0, 2, 3))) / world
        with torch.no_grad():
            count = x.numel() // x.shape[1] * world
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def synchronized(model: torch.nn.Module) -> torch.nn.Module:
    """`model` with batch norm over all processes in place of each `BatchNorm2d`, with the same weights."""
    for name, layer in model.named_children():
        if isinstance(layer, torch.nn.BatchNorm2d):
            twin = GlobalBatchNorm2d(layer.num_features, layer.eps, layer.momentum).to(layer.weight)
            twin.load_state_dict(layer.state_dict())
            setattr(model, name, twin)
        else:
            synchronized(layer)
    return model
