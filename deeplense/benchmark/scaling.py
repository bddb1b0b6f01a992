"""What several processes are worth, from what they exchange: a model of data-parallel training.

Each process computes the gradient of its share of the batch; then all have the mean. DDP sends it in buckets, the last
layers first, while the backward pass goes on: a bucket sets out when it is full and the one before it has arrived. A
ring of n processes passes 2 (n - 1) / n of its bytes through each, in 2 (n - 1) turns; between nodes the same goes on
over slower links, at which the processes of a node each have a part of the bytes. The step ends with the last bucket,
the optimiser comes after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20
"""Bytes in DDP's first bucket, and in each of the others; parameters are not cut."""


@dataclasses.dataclass(frozen=True)
class Link:
    """What joins processes."""

    bandwidth: float
    """bytes/s that one process, or one node, sends while it receives as many."""
    latency: float
    """Seconds that a turn takes whatever it carries."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A step of one process with its share of the batch, without the others: seconds."""

    forward: float
    backward: float
    rest: float
    """Clipping, optimiser, moving average."""
    host: float = 0.0
    """What Python needs to ask for all of it; it runs ahead of the device, so that only a longer one is felt."""

    @property
    def alone(self) -> float:
        return max(self.forward + self.backward + self.rest, self.host)


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Gradients that travel together."""

    size: int
    """bytes."""
    ready: float
    """Part of the backward pass after which all of them are there."""


def buckets(sizes: Sequence[int], ready: Sequence[float]) -> list[Bucket]:
    """The buckets of parameters in the order in which their gradients come.

    Args:
        sizes: bytes of each.
        ready: the part of the backward pass after which each has come.
    """
    found: list[Bucket] = []
    held, limit = 0, FIRST_BUCKET
    for size, at in zip(sizes, ready, strict=True):
        held += size
        if held >= limit:
            found.append(Bucket(held, at))
            held, limit = 0, BUCKET
    return [*found, *([Bucket(held, ready[-1])] if held else [])]


def exchange(size: float, processes: int, link: Link, nodes: int = 1, between: Link | None = None) -> float:
    """Seconds until the sum of `size` bytes is everywhere; `processes` are those of a node."""
    seconds = _ring(size, processes, link)
    if nodes > 1:
        assert between is not None
        seconds += _ring(size, nodes, between)
    return seconds


def _ring(size: float, count: int, link: Link) -> float:
    return 2 * (count - 1) * (size / count / link.bandwidth + link.latency)


def step_seconds(step: Step, parts: Sequence[Bucket], messages: Sequence[float], overlap: float) -> float:
    """Seconds of a step of several processes.

    Args:
        parts: of the gradient.
        messages: seconds that the exchange of each takes.
        overlap: the share of an exchange that goes on beside the arithmetic: 1 of GPUs, 0 where both need one core.
    """
    arrived = 0.0
    for part, message in zip(parts, messages, strict=True):
        arrived = max(arrived, part.ready * step.backward) + overlap * message
    beside = max(step.backward, arrived)
    return max(step.forward + beside + (1 - overlap) * sum(messages) + step.rest, step.host)


@dataclasses.dataclass(frozen=True)
class Gpu:
    """An H100, as it was estimated: nothing of it was measured."""

    seconds_a_step: float = 0.23e-3
    seconds_an_image: float = 4.1e-6
    """At 64 px in fp16, compiled."""
    host: float = 3e-3
    """Of a step of several processes, which is not captured."""
    link: Link = Link(bandwidth=300e9, latency=3e-6)
    """NVLink, as NCCL gets it."""
    between: Link = Link(bandwidth=40e9, latency=15e-6)
    """Of a node: 400 Gbit/s."""

    def step(self, images: int, host: float) -> Step:
        """A third of the arithmetic is the forward pass."""
        work = images * self.seconds_an_image
        return Step(work / 3, work * 2 / 3, self.seconds_a_step, host)


def predicted(gpu: Gpu, parts: Sequence[Bucket], images: int, processes: int, nodes: int = 1) -> dict[str, float]:
    """Images/s of `nodes` of `processes` GPUs with `images` each, and the part that it is of as many that are alone;
    against one that is captured, and against one that needs as much of its host."""
    messages = [exchange(part.size, processes, gpu.link, nodes, gpu.between) for part in parts]
    total = nodes * processes * images
    together = total / step_seconds(gpu.step(images, gpu.host), parts, messages, overlap=1.0)
    device = total / step_seconds(gpu.step(images, 0.0), parts, messages, overlap=1.0)
    alone = nodes * processes * images / gpu.step(images, 0.0).alone
    return {
        "images_per_gpu": images,
        "gpus": processes,
        "nodes": nodes,
        "images_per_second": together,
        "efficiency": together / alone,
        "efficiency_without_host": device / alone,
    }
