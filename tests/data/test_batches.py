import numpy as np
import pytest
import torch

from deeplense.config import AugmentConfig, DataConfig
from deeplense.data.batches import PixelStore, TrainBatches, epoch_plan, plain_batches
from deeplense.data.imageset import ImageSet

CPU = torch.device("cpu")
COUNT = 70


def image_set(dtype=np.uint8):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (COUNT, 1, 48, 48)).astype(dtype)
    return ImageSet(pixels, np.arange(COUNT) % 2, ("no_sub", "sub"), [str(i) for i in range(COUNT)], [""] * COUNT)


def batches(images=None, placement="device", world=1, rank=0, parts=1, seed=3):
    images = images or image_set()
    store = PixelStore(images, DataConfig(image_size=32, placement=placement), CPU)
    labels = torch.from_numpy(images.labels)

    def targets(index, maps):
        return labels[index]

    indices = np.arange(4, COUNT)  # not all of them are for training
    return TrainBatches(store, targets, indices, AugmentConfig(), 16, parts, seed, rank, world)


def collect(own, epoch=0, start=0):
    items = list(own.epoch(epoch, start))
    return torch.stack([images for images, _ in items]), torch.stack([labels for _, labels in items])


def test_the_contract():
    images, labels = next(batches().epoch(0))
    assert (images.shape, images.dtype) == ((16, 1, 32, 32), torch.float32)
    assert (labels.shape, labels.dtype) == ((16,), torch.int64)
    assert images.min() >= -1
    assert images.max() <= 1
    assert batches().steps == 4


def test_an_epoch_sees_an_image_once_at_most_and_epochs_differ():
    one, two = (epoch_plan(0, epoch, 66)[0] for epoch in (0, 1))
    assert sorted(one) == sorted(two) == list(range(66))
    assert one.tolist() != two.tolist()
    assert epoch_plan(1, 0, 66)[0].tolist() != one.tolist()


def test_labels_belong_to_their_images():
    """Images of one grey value, which augmentation keeps in the middle, tell who they are."""
    pixels = np.broadcast_to(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (COUNT, 1, 48, 48))
    base = image_set()
    own = batches(ImageSet(pixels, base.labels, base.classes, base.paths, base.hashes))
    for images, labels in own.epoch(5):
        who = ((images[:, 0, 16, 16] * 0.5 + 0.5) * 255).round().long()
        assert torch.equal(who % 2, labels)
        assert (who >= 4).all()


def test_a_batch_is_a_function_of_seed_epoch_and_place():
    whole, labels = collect(batches(), epoch=2)
    again, _ = collect(batches(), epoch=2)
    assert torch.equal(whole, again)
    rest, rest_labels = collect(batches(), epoch=2, start=3)
    assert torch.equal(whole[3:], rest)
    assert torch.equal(labels[3:], rest_labels)
    assert not torch.equal(whole, collect(batches(seed=4), epoch=2)[0])


@pytest.mark.parametrize(("world", "parts"), [(1, 2), (2, 1), (4, 1), (2, 4), (8, 2)])
def test_any_world_sees_the_same_global_batches(world, parts):
    whole, labels = collect(batches())
    shares = [collect(batches(world=world, rank=rank, parts=parts)) for rank in range(world)]
    for step in range(4):
        own = slice(step * parts, (step + 1) * parts)
        together = torch.cat([images[own].flatten(0, 1) for images, _ in shares])
        assert torch.equal(together, whole[step])
        assert torch.equal(torch.cat([share[own].flatten() for _, share in shares]), labels[step])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
def test_host_and_device_give_the_same_bits(dtype):
    images = image_set(dtype)
    on_device, on_host = batches(images), batches(images, "host")
    assert on_device.store.on_device is not None
    assert on_host.store.on_device is None
    assert torch.equal(collect(on_device)[0], collect(on_host)[0])
    every = np.arange(COUNT)
    for one, other in zip(
        plain_batches(on_device.store, every, 32), plain_batches(on_host.store, every, 32), strict=True
    ):
        assert torch.equal(one, other)


def test_the_store_is_filled_in_place(monkeypatch):
    """Its parts and the whole beside one another would take twice the memory."""
    monkeypatch.setattr("deeplense.data.store.UPLOAD", 16)
    monkeypatch.setattr(torch, "cat", None)
    images = image_set()
    store = batches(images).store
    (store_of_one_size,) = store.on_device
    assert torch.equal(store_of_one_size, torch.from_numpy(images.pixels))
    assert store_of_one_size.dtype == torch.uint8


def test_auto_placement_looks_at_the_memory(monkeypatch):
    assert batches(placement="auto").store.on_device is not None
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 50_000}))
    assert batches(placement="auto").store.on_device is None


def test_plain_batches_keep_the_order():
    images = image_set()
    store = PixelStore(images, DataConfig(image_size=48), CPU)
    some = np.array([5, 3, 60, 0])
    shown = torch.cat(list(plain_batches(store, some, 3)))
    np.testing.assert_allclose((shown * 0.5 + 0.5) * 255, images.pixels[some], atol=1e-3)
