"""Whether `torch.compile` works here, found out once by trying."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
import torch._dynamo

from deeplense.errors import is_first_process

P = ParamSpec("P")
R = TypeVar("R")

_MOST_VARIANTS = 64
"""Shapes and structures of arguments that a function is compiled for."""


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
        return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def compiled(function: Callable[P, R], kind: str) -> Callable[P, R]:
    """`function` compiled for devices of type `kind`, or as it is, after one warning a process, where that fails.

    Shapes are taken as they come: call it with few different ones. Beyond torch's limit of 8 it would run uncompiled,
    in silence: a process that simulates all sets, and their variants, needs more.
    """
    reason = why_not(kind)
    if reason is None:
        torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_VARIANTS)
        return torch.compile(function, dynamic=False)
    _warn(kind, reason)
    return function


@functools.cache
def _warn(kind: str, reason: str) -> None:
    if is_first_process():
        print(
            f"warning: running without compilation, slower: no working compiler for {kind} ({reason})",
            file=sys.stderr,
        )


def _trivial(x: torch.Tensor) -> torch.Tensor:
    return x * 2.0 + 1.0
