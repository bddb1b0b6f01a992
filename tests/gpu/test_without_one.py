"""What of the tests for a GPU needs none, on the processor that is there: so that they are fit when there is one."""

import pytest
import test_gpu
import torch


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(test_gpu, "GPU", torch.device("cpu"))


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float16", "float32"])
def test_pixels(kind):
    test_gpu.test_2_pixels_are_those_of_a_cpu(kind)


def test_fresh_images(monkeypatch):
    from deeplense.simulation.stream import ImageStream

    monkeypatch.setattr(ImageStream, "__init__", _on_cpu(ImageStream.__init__))
    images, labels = next(test_gpu.fresh_images())
    assert images.shape == (32, 1, 64, 64)
    assert set(labels.tolist()) == {0, 1}


def _on_cpu(made):
    return lambda stream, name, **others: made(stream, name, **{**others, "device": "cpu"})


@pytest.mark.slow
def test_the_simulator():
    test_gpu.test_9_the_simulator_is_that_of_a_cpu()


def test_the_store():
    batches = test_gpu.batches_of(test_gpu.image_set(64, side=64), 32, placement="device", device=torch.device("cpu"))
    assert batches.store.on_device[0].numel() == 64 * 64 * 64


def test_the_localiser():
    test_gpu.repeatable(True)
    try:
        test_gpu.test_16_a_localiser_repeats_itself(None)
    finally:
        test_gpu.repeatable(False)
