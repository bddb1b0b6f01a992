"""fp16 with its gradient scaler, really computed on a CPU, which Accelerate has for GPUs only."""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState


def half_precision(scale=2.0**10, growth_interval=3):
    """An accelerator on the CPU that does what one on a GPU does with `mixed_precision="fp16"`."""
    AcceleratorState._reset_state(reset_partial_state=True)  # of one before, whose precision would be in the way
    accelerator = Accelerator(mixed_precision="no", cpu=True)
    accelerator.state._mixed_precision, accelerator.native_amp = "fp16", True
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)
    return accelerator
