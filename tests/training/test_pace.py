"""In which way the steps of a run are run, and what is said of it."""

import pytest
import torch

from deeplense.training.pace import EAGERLY, choose

GPU, CPU = torch.device("cuda"), torch.device("cpu")
PIXELS = 128 * 64**2


def works(kind):
    return None


def unasked(kind):
    raise AssertionError("nobody wants to compile")


@pytest.mark.parametrize(("asked", "device"), [("auto", CPU), (False, CPU), (False, GPU)])
def test_eager_where_that_was_asked_for_and_on_a_cpu(asked, device):
    assert choose(asked, device, 1, 10**9, PIXELS, unasked) == (EAGERLY, None)


@pytest.mark.parametrize(
    ("steps", "compiled", "captured", "said"),
    [
        (50, False, False, "run eagerly: for 50 of them capturing saves some 0 s and takes 1 s"),
        (
            4_400,
            False,
            True,
            "captured: for 4,400 of them capturing saves some 7 s and takes 1 s, compiling 2 s and 60",
        ),
        (10**6, True, True, "compiled, captured: for 1,000,000 of them capturing saves some 25 min"),
    ],
)
def test_a_gpu_is_given_what_pays(steps, compiled, captured, said):
    way, reason = choose("auto", GPU, 1, steps, PIXELS, works if compiled else unasked)
    assert (way.compiled, way.captured, reason) == (compiled, captured, None)
    assert way.said.startswith(said)
    assert way.said.endswith("(estimated; --compile, --no-compile)")


def test_large_batches_and_images_pay_sooner():
    assert not choose("auto", GPU, 1, 60_000, PIXELS, works)[0].compiled
    assert choose("auto", GPU, 1, 60_000, 8 * PIXELS, works)[0].compiled


def test_several_processes_are_not_captured():
    assert not choose("auto", GPU, 8, 10**6, PIXELS, works)[0].captured
    way, _ = choose(True, GPU, 8, 10, PIXELS, works)
    assert (way.compiled, way.captured, way.said) == (True, False, "compiled (--compile)")


def test_what_was_asked_for_is_had_however_short_the_run():
    way, reason = choose(True, GPU, 1, 1, PIXELS, works)
    assert (way.compiled, way.captured, reason) == (True, True, None)
    way, _ = choose(True, CPU, 1, 1, PIXELS, works)
    assert (way.compiled, way.captured) == (True, False)


def test_a_compiler_that_is_missing_leaves_the_capture():
    way, reason = choose(True, GPU, 1, 1, PIXELS, lambda kind: "no Triton")
    assert (way.compiled, way.captured, reason) == (False, True, "no Triton")
