import numpy as np
import pytest
import torch

from deeplense.config import DataConfig
from deeplense.content import content_hash
from deeplense.data.batches import PixelStore
from deeplense.data.imageset import ImageSet
from deeplense.data.turned import TurnedStore
from deeplense.errors import InputError
from deeplense.network.views import view_of
from deeplense.scores.symmetry import ALL


def images_of(pixels):
    hashes = [content_hash(image) for image in pixels]
    return ImageSet(pixels, None, (), [f"{row}.png" for row in range(len(pixels))], hashes)


def turned(pixels, placement="auto"):
    images = images_of(pixels)
    return TurnedStore(PixelStore(images, DataConfig(placement=placement), torch.device("cpu")), images.hashes)


def seen(store, rows):
    return torch.cat(list(store.batches(np.array(rows), [slice(0, 3), slice(3, None)])))


@pytest.mark.parametrize("placement", ["device", "host"])
def test_each_image_is_turned_in_its_own_way_whatever_its_place(placement):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 1, 9, 9), dtype=np.uint8)
    given, there = turned(pixels, placement), list(range(64))
    result = seen(given, there)
    views = []
    for image, own in zip(torch.from_numpy(pixels), result, strict=True):
        (view,) = (view for view in ALL if torch.equal(view_of(image[None], view)[0], own))
        views.append(view)
    assert set(views) == set(ALL)
    order = np.random.default_rng(1).permutation(64)
    assert torch.equal(seen(given, order), result[order])
    assert torch.equal(seen(turned(pixels[order], placement), there), result[order])


def test_only_square_images_can_be_turned():
    with pytest.raises(InputError, match="--turn-test: images have 8 x 9 pixels: give square ones"):
        turned(np.zeros((2, 1, 8, 9), np.uint8))
