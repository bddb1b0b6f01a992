"""Numbers that are none: what must not get into a file that a run goes on from."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def not_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Which of these tensors hold an infinity or a nan, in a few words; None: none of them does. Waits for a device."""
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if not bad:
        return None
    return bad[0] if len(bad) == 1 else f"{bad[0]} and {len(bad) - 1} more"
