"""Prediction in batches, of one shape where another one would cost a compilation."""

import copy

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from deeplense.config import DataConfig
from deeplense.data.batches import PixelStore
from deeplense.data.imageset import ImageSet
from deeplense.evaluation.predict import predict


@pytest.mark.parametrize("count", [1, 32, 33, 70])
def test_a_compiled_network_is_compiled_for_one_shape(compiler, count):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 1, 32, 32), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(70) % 2, ("no_sub", "sub"), [""] * 70, [""] * 70)
    store = PixelStore(images, DataConfig(image_size=32), torch.device("cpu"))
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 5), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    compiled, graphs = copy.deepcopy(network), CompileCounter()
    compiled.compile(backend=graphs, dynamic=False)
    index = np.arange(count)[::-1].copy()
    expected, result = (predict(own, store, index, batch_size=32) for own in (network, compiled))
    torch.testing.assert_close(result, expected)
    assert result.shape == (count, 2)
    assert graphs.frame_count == 1
