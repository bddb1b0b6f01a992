"""Batch-norm statistics that a step which does not count leaves as they were.

The forward pass moves them before anybody knows whether the step will count: a single activation beyond 65,504, the
most that fp16 holds, makes mean and variance of all layers after it infinite or nan, and as moving averages they stay
so for ever. Training would go on, since it uses the batch's own; whatever uses the network afterwards would not.
"""

from __future__ import annotations

import torch


class Buffers:
    """The buffers of a network, and what they were when they were last good."""

    def __init__(self, network: torch.nn.Module) -> None:
        kinds: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in network.buffers():
            kinds.setdefault(buffer.dtype, []).append(buffer)
        self._groups = list(kinds.values())
        # One tensor a type, so that a step takes a few kernels, and not a few for each of 60 buffers.
        self._kept = [_joined(group) for group in self._groups]
        self._parts = [_like(kept, group) for kept, group in zip(self._kept, self._groups, strict=True)]

    @torch.no_grad()
    def note(self) -> None:
        """What they are now is good: somebody else has set them."""
        for kept, group in zip(self._kept, self._groups, strict=True):
            kept.copy_(_joined(group))

    @torch.no_grad()
    def settle(self, counts: torch.Tensor) -> None:
        """After a step: keep what it made of them if it `counts`, () bool, and each number only if it is finite.

        Nothing waits for the device.
        """
        for kept, parts, group in zip(self._kept, self._parts, self._groups, strict=True):
            now = _joined(group)
            torch.where(counts & now.isfinite(), now, kept, out=kept)
            torch._foreach_copy_(group, parts)


def _joined(group: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([buffer.detach().flatten() for buffer in group])


def _like(joined: torch.Tensor, group: list[torch.Tensor]) -> list[torch.Tensor]:
    """Views of the parts of `joined`, in the shapes of `group`."""
    parts = joined.split([buffer.numel() for buffer in group])
    return [part.view(buffer.shape) for part, buffer in zip(parts, group, strict=True)]
