"""What several processes are worth on paper."""

import pytest

from deeplense.benchmark.scaling import (
    BUCKET,
    FIRST_BUCKET,
    Gpu,
    Link,
    Step,
    buckets,
    exchange,
    predicted,
    step_seconds,
)

FAST, SLOW = Link(100e9, 0.0), Link(1e9, 1e-3)


def test_a_ring_passes_nearly_all_bytes_twice_through_each():
    assert exchange(8e9, 8, FAST) == pytest.approx(2 * 7 / 8 * 8e9 / 100e9)
    assert exchange(0, 8, SLOW) == pytest.approx(14e-3)
    assert exchange(8e9, 1, SLOW) == 0


def test_nodes_are_joined_by_a_ring_of_their_own():
    within, between = exchange(8e9, 8, FAST), exchange(8e9, 4, SLOW)
    assert exchange(8e9, 8, FAST, 4, SLOW) == pytest.approx(within + between)


def test_buckets_are_those_of_ddp():
    """The same as torch itself makes of a network's gradients."""
    import torch
    from torch.distributed import _compute_bucket_assignment_by_size

    from deeplense.network.model import build_model

    parameters = list(build_model(2, 1).parameters())[::-1]
    sizes = [4 * parameter.numel() for parameter in parameters]
    found = buckets(sizes, [0.5] * len(sizes))
    theirs, _ = _compute_bucket_assignment_by_size(parameters, [FIRST_BUCKET, BUCKET])
    assert [bucket.size for bucket in found] == [sum(sizes[place] for place in one) for one in theirs]
    assert isinstance(parameters[0], torch.nn.Parameter)


def test_what_travels_beside_the_arithmetic_costs_nothing():
    step, early = Step(1.0, 2.0, 0.5), buckets([2 * FIRST_BUCKET, BUCKET], [0.1, 0.5])
    assert step_seconds(step, early, [0.1, 0.2], overlap=1.0) == pytest.approx(3.5)
    assert step_seconds(step, early, [0.1, 0.2], overlap=0.0) == pytest.approx(3.8)
    # The second sets out when it is full, after half of the backward pass, and the step waits for it.
    assert step_seconds(step, early, [0.1, 4.0], overlap=1.0) == pytest.approx(1.0 + 0.5 * 2.0 + 4.0 + 0.5)
    # Or when the first has arrived.
    assert step_seconds(step, early, [3.0, 1.0], overlap=1.0) == pytest.approx(1.0 + 0.2 + 3.0 + 1.0 + 0.5)


def test_a_host_is_felt_where_it_is_slower():
    assert step_seconds(Step(1.0, 2.0, 0.5, host=5.0), [], [], 1.0) == 5.0
    assert Step(1.0, 2.0, 0.5).alone == 3.5


def test_gpus_are_worth_less_the_less_each_has_to_do():
    parts = buckets([2 * FIRST_BUCKET, BUCKET, BUCKET // 2], [0.1, 0.4, 1.0])
    found = {(images, nodes): predicted(Gpu(), parts, images, 8, nodes) for images in (128, 512) for nodes in (1, 4)}
    for one in found.values():
        assert 0 < one["efficiency"] <= one["efficiency_without_host"] <= 1
    assert found[512, 1]["efficiency"] > found[128, 1]["efficiency"]
    assert found[512, 1]["efficiency_without_host"] > found[512, 4]["efficiency_without_host"]
