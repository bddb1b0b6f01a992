"""Which arithmetic a run really uses: what was asked for, what the launcher says, and what the hardware has."""

from __future__ import annotations

import os

import torch

from deeplense.errors import InputError


def effective_precision(asked: str, device: torch.device) -> str:
    """`no`, `fp16` or `bf16`, for `--mixed-precision` `asked` on `device`.

    Accelerate takes fp16 on a CPU without a word and computes in float32; here it is refused, so that the
    record of a run can be believed.

    Raises:
        InputError: a precision was asked for that the device does not have.
    """
    if asked != "auto":
        source, wanted = f"--mixed-precision {asked}", asked
    elif (launcher := os.environ.get("ACCELERATE_MIXED_PRECISION", "no")) in ("fp16", "bf16"):
        source, wanted = f"the launcher's mixed precision {launcher}", launcher
    else:
        return default_precision(device)
    if wanted == "fp16" and device.type == "cpu":
        raise InputError(f"{source}: a CPU has no fp16 training; give --mixed-precision bf16 or no")
    # Emulated, as on a V100 or T4, it is many times slower than fp16.
    if wanted == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(f"{source}: this GPU has no bf16; give --mixed-precision fp16 or no")
    return wanted


def full_float32() -> None:
    """float32 with all its 24 bits, in convolutions too: cuDNN would cut what they multiply to TF32's 11, which moves
    logits by a thousandth. Arithmetic in 16 bits is as fast as ever."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def repeatable(asked: bool) -> None:
    """Whether a GPU is to compute the same bits each time; if not, cuDNN tries which of its convolutions is fastest.

    Which one wins may differ from run to run, and some add in the order in which their threads come. To be called
    before the first product of matrices: cuBLAS looks at its workspace then.
    """
    torch.backends.cudnn.benchmark = not asked  # shapes never change
    torch.use_deterministic_algorithms(asked)
    if asked:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # nobody reads it


def default_precision(device: torch.device) -> str:
    """The fastest precision that the hardware has and that trains as well."""
    if device.type == "cuda":
        return "fp16"
    if device.type == "cpu" and cpu_has_bf16():
        return "bf16"
    return "no"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware. Emulated, it is slower than float32."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
