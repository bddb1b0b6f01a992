"""Whether `torch.compile` works here, found out once by trying."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
import torch._dynamo

from deeplense.machine.remarks import first_line, hear_compiler, remark

P = ParamSpec("P")
R = TypeVar("R")

BACKEND = "inductor"
"""What generates code: torch's own."""

_MOST_VARIANTS = 64
"""Shapes and structures of arguments that a function is compiled for."""


def failed(error: BaseException) -> bool:
    """Whether it is the compiler's own."""
    return isinstance(error, torch._dynamo.exc.TorchDynamoException)


@functools.cache
def why_not(kind: str) -> str | None:
    """The reason, in a line, why nothing can be compiled for devices of type `kind`; None where it can.

    A compiler that is installed may still not work (no `Python.h`, a GPU that Triton does not know), so this compiles
    a trivial function and compares what it gives. Seconds on the first call of a process, nothing after.
    """
    # It warns of a CUDA toolkit without a GPU, which nobody asked about.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        probe = torch.arange(8.0, device=kind)
        result = torch.compile(_trivial, dynamic=False)(probe)
        return None if torch.equal(result, _trivial(probe)) else "compiled code gives wrong results"
    except Exception as error:  # whatever a broken toolchain raises, of many types
        return first_line(error)


def compiled(function: Callable[P, R], kind: str) -> Callable[P, R]:
    """`function` compiled for devices of type `kind`, or as it is, after one warning a process, where that fails.

    Shapes are taken as they come: call it with few different ones. Beyond torch's limit of 8 it would run uncompiled,
    in silence: a process that simulates all sets, and their variants, needs more.
    """
    reason = why_not(kind)
    if reason is None:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_VARIANTS)
        hear_compiler()
        return torch.compile(function, dynamic=False)
    remark(f"running without compilation, slower: no working compiler for {kind} ({reason})")
    return function


def _trivial(x: torch.Tensor) -> torch.Tensor:
    return x * 2.0 + 1.0
