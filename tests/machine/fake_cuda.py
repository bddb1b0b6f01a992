"""A pretended CUDA device: everything runs there but the arithmetic. Shapes, types and devices are real, no value is.

Inside `pretended_cuda()` torch believes in a GPU whose tensors are fake. What a real one would have to wait for (a
value that Python asks for, a shape that depends on values) raises there, as does an operator on a tensor that was left
on the CPU. Copies between the two devices, which are no error, are noted with the function of the package that makes
them.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import deeplense

PACKAGE = Path(deeplense.__file__).parent


class NoDevice(FakeTensorMode):
    """Fake tensors that never look for a real device of theirs."""

    @property
    def avoid_device_init(self) -> bool:
        return True


class Crossings(TorchDispatchMode):
    """Notes each operator whose tensors are on two kinds of device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: collections.Counter[str] = collections.Counter()
        self.operators = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operators += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        # A number that is a tensor may go along with any kernel.
        if len({tensor.device.type for tensor in tensors if tensor.ndim or not _is_number(tensor)}) > 1:
            self.note()
        return out

    def note(self) -> None:
        """Name the function of the package that is being run."""
        frames = (frame for frame in reversed(traceback.extract_stack()) if PACKAGE in Path(frame.filename).parents)
        frame = next(frames, None)
        self.found["?" if frame is None else f"{Path(frame.filename).relative_to(PACKAGE)}: {frame.name}"] += 1


def _is_number(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.ndim == 0


def backward(loss: torch.Tensor, gradient: torch.Tensor | None = None, **_: Any) -> None:
    """`Tensor.backward` without torch's engine, which wants a CUDA context: its nodes one by one, the latest first."""
    assert loss.grad_fn is not None
    waiting: collections.Counter[Any] = collections.Counter()
    seen, unseen = {loss.grad_fn}, [loss.grad_fn]
    while unseen:
        for node, _ in unseen.pop().next_functions:
            waiting[node] += 1
            if node is not None and node not in seen:
                seen.add(node)
                unseen.append(node)
    arrived: dict[Any, dict[int, torch.Tensor]] = collections.defaultdict(dict)
    arrived[loss.grad_fn][loss.output_nr] = torch.ones_like(loss) if gradient is None else gradient
    number = itertools.count()
    ready = [(-loss.grad_fn._sequence_nr(), next(number), loss.grad_fn)]
    with torch.no_grad():
        while ready:
            node = heapq.heappop(ready)[2]
            gradients = arrived.pop(node, {})
            for (child, place), own in zip(node.next_functions, _call(node, gradients), strict=False):
                if child is None:
                    continue
                if own is not None:
                    own = _as_expected(own, child, place)
                    arrived[child][place] = own if place not in arrived[child] else arrived[child][place] + own
                waiting[child] -= 1
                if not waiting[child]:
                    heapq.heappush(ready, (-child._sequence_nr(), next(number), child))


def _call(node: Any, gradients: dict[int, torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
    """What a node hands on; a leaf keeps it."""
    if hasattr(node, "variable"):
        leaf, own = node.variable, gradients.get(0)
        if own is not None:
            leaf.grad = own if leaf.grad is None else leaf.grad + own
        return ()
    arguments = [gradients.get(place) for place in range(len(node._input_metadata))]
    if all(argument is None for argument in arguments):
        return (None,) * len(node.next_functions)
    own_kind = isinstance(node, torch.autograd.function.BackwardCFunction)
    results = node.apply(*arguments) if own_kind else node(*arguments)
    return results if isinstance(results, tuple) else (results,)


def _as_expected(gradient: torch.Tensor, node: Any, place: int) -> torch.Tensor:
    """A gradient in shape and type of what it is of; the engine does that between two nodes (`validate_outputs`)."""
    wanted = node._input_metadata[place]
    assert gradient.device == wanted.device, f"a gradient on {gradient.device} for {node} on {wanted.device}"
    if gradient.shape != wanted.shape:
        gradient = gradient.sum_to_size(tuple(wanted.shape))
    return gradient if gradient.dtype == wanted.dtype else gradient.to(wanted.dtype)


def _moved(original: Any) -> Any:
    """`Module.to`, which cannot exchange a fake parameter twice and need not."""

    def to(module: torch.nn.Module, *arguments: Any, **options: Any) -> torch.nn.Module:
        if any(parameter.device.type == "cuda" for parameter in module.parameters()):
            return module
        return original(module, *arguments, **options)

    return to


def built_on_cpu(make: Any) -> Any:
    """`make`, whose networks are real ones on the CPU: those that are built of fake parameters cannot be moved."""

    def build(*arguments: Any, **options: Any) -> torch.nn.Module:
        with unset_fake_temporarily():
            return make(*arguments, **options)

    return build


def _at_a_number(original: Any) -> Any:
    """A fused optimiser, whose learning rate may be a tensor where its weights are; that has no meta kernel."""

    def fused(parameters: list[torch.Tensor], *others: Any, lr: Any, **options: Any) -> None:
        assert lr.device == parameters[0].device
        assert lr.dtype == torch.float32  # which a GPU's kernel reads
        original(parameters, *others, lr=0.1, **options)

    return fused


STUBS: tuple[tuple[Any, str, Any], ...] = (
    (torch.cuda, "is_available", lambda: True),
    (torch.cuda, "device_count", lambda: 1),
    (torch.cuda, "current_device", lambda: 0),
    (torch.cuda, "set_device", lambda device: None),
    (torch.accelerator, "is_available", lambda: True),
    (torch.cuda, "is_current_stream_capturing", lambda: False),
    (torch.cuda, "is_bf16_supported", lambda including_emulation=True: True),
    (torch.cuda, "mem_get_info", lambda device=None: (70 << 30, 80 << 30)),
    (torch.cuda, "get_device_capability", lambda device=None: (9, 0)),
    (torch.cuda, "get_device_name", lambda device=None: "a pretended GPU"),
    (torch.cuda, "max_memory_allocated", lambda device=None: 1 << 30),
    (torch.cuda, "manual_seed_all", lambda seed: None),
    (fake_tensor, "init_gpu_context", lambda device: None),
    (torch.Tensor, "pin_memory", lambda tensor, *_: tensor),
    (torch.Tensor, "backward", backward),
    (torch, "_fused_adam_", _at_a_number(torch._fused_adam_)),
    (torch, "_fused_adamw_", _at_a_number(torch._fused_adamw_)),
    (torch, "_fused_sgd_", lambda *arguments, **options: None),  # it has no meta kernel
)
"""What torch would ask a driver for."""


@contextlib.contextmanager
def pretended_cuda() -> Iterator[Crossings]:
    """A machine with one GPU, for as long as this lasts; what comes out notes what crosses over to it, or back."""
    crossings, tensor_of = Crossings(), torch.tensor

    def tensor(*arguments: Any, **options: Any) -> torch.Tensor:
        made = tensor_of(*arguments, **options)
        if made.device.type == "cuda":
            crossings.note()  # it is filled on the CPU, and not every version of torch has an operator that says so
        return made

    with contextlib.ExitStack() as stack:
        for target, name, stub in STUBS:
            stack.enter_context(mock.patch.object(target, name, stub))
        stack.enter_context(mock.patch.object(torch, "tensor", tensor))
        stack.enter_context(mock.patch.object(torch.nn.Module, "to", _moved(torch.nn.Module.to)))
        stack.enter_context(NoDevice(allow_non_fake_inputs=True))
        stack.enter_context(crossings)
        yield crossings
