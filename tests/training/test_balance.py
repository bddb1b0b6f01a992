"""Classes of unequal size: said, evened out where asked for, and chosen and scored by what tells."""

import dataclasses

import numpy as np
import pytest
import torch

from deeplense.classification.outputs import loss_function
from deeplense.classification.task import Classification
from deeplense.config import AugmentConfig, DataConfig, OptimizationConfig, SimulationConfig, TrainConfig
from deeplense.data.batches import TrainBatches, even_order
from deeplense.data.imageset import ImageSet
from deeplense.data.split import Split
from deeplense.data.store import PixelStore
from deeplense.errors import InputError
from deeplense.scores.metrics import recall_at_precision, score

CPU = torch.device("cpu")


def image_set(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 40, 40)).astype(np.uint8)
    names = [str(index) for index in range(len(labels))]
    return ImageSet(pixels, labels, tuple("abc"[: len(counts)]), names, names)


def config(**optimization):
    return TrainConfig(optimization=OptimizationConfig(**optimization))


@pytest.mark.parametrize("counts", [(200, 8), (90, 3, 7)])
def test_batches_are_drawn_evenly(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    order = even_order(3, 5, labels)
    shares = np.bincount(labels[order])
    assert shares.max() - shares.min() <= 1
    assert len(order) == len(labels)
    for label in range(len(counts)):  # each image as often as another of its class
        times = np.bincount(order, minlength=len(labels))[labels == label]
        assert times.max() - times.min() <= 1
    assert np.array_equal(order, even_order(3, 5, labels))
    assert not np.array_equal(order, even_order(3, 6, labels))
    assert not np.array_equal(order, even_order(4, 5, labels))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_any_world_sees_the_same_even_batches(world):
    images = image_set((60, 6))
    store = PixelStore(images, DataConfig(image_size=32), CPU)

    def seen(rank, of):
        own = TrainBatches(
            store, lambda index, maps: index, np.arange(66), AugmentConfig(), 16, 1, 3, rank, of, images.labels
        )
        return [index for _, index in own.epoch(2)]

    whole = seen(0, 1)
    assert all(abs(int((images.labels[step] == 1).sum()) - 8) < 8 for step in whole)
    shares = [seen(rank, world) for rank in range(world)]
    for step, index in enumerate(whole):
        assert torch.equal(torch.cat([share[step] for share in shares]), index)


@pytest.mark.parametrize("counts", [(90, 10), (60, 10, 30)])
def test_a_rare_image_counts_more_in_the_loss(counts):
    """As if each class were there as often as any other."""
    images = image_set(counts)
    task = Classification(config(balance="loss"), images.classes)
    task.targets(images, CPU)
    plain = Classification(config(), images.classes)
    labels = torch.from_numpy(images.labels)
    torch.manual_seed(0)
    logits = torch.randn(len(labels), 1 if len(counts) == 2 else len(counts))
    expected = torch.stack(
        [plain.loss(logits[labels == label], labels[labels == label]) for label in range(len(counts))]
    ).mean()
    torch.testing.assert_close(task.loss(logits, labels), expected, atol=1e-5, rtol=1e-5)
    assert task.weights[labels].mean() == pytest.approx(1)
    ones = torch.ones(len(counts))
    torch.testing.assert_close(
        loss_function(len(counts), logits, labels, 0.1, ones), loss_function(len(counts), logits, labels, 0.1)
    )


def test_weights_are_chosen_by_what_tells():
    worse, better = (
        {"roc_auc": auc, "average_precision": precision, "loss": loss}
        for auc, precision, loss in ((0.99, 0.5, 0.2), (0.98, 0.8, 0.3))
    )
    for counts, by, wins in (
        ((90, 10), "auto", False),
        ((97, 3), "auto", True),
        ((3, 97), "auto", False),  # of the class that is to be found there are enough
        ((90, 10), "average_precision", True),
        ((97, 3), "roc_auc", False),
        ((97, 3), "log_loss", False),
    ):
        images = image_set(counts)
        task = Classification(config(choose_by=by), images.classes)
        task.targets(images, CPU)
        assert (task.rank(better) > task.rank(worse)) == wins


def said(images, split, **settings):
    about = Classification(config(**settings), images.classes).about(images, split)
    assert about["positive class: "] == "b"
    return about.get("balance", "")


def test_imbalance_is_said():
    images = image_set((200, 8))
    split = Split(np.arange(208), np.arange(0), np.arange(0))
    assert said(images, split) == (
        "25.0 images of a to 1 of b: learned from as they are (--balance batches draws them evenly)"
    )
    assert said(images, split, balance="batches").endswith("drawn evenly")
    assert said(image_set((30, 10)), Split(np.arange(40), np.arange(0), np.arange(0))) == ""


def test_online_batches_are_even_already():
    with pytest.raises(InputError, match="--balance loss: --online draws classes evenly: leave it out"):
        dataclasses.replace(config(balance="loss"), simulation=SimulationConfig(online=True))


def test_recall_at_a_fixed_precision():
    positive = np.array([True, True, False, True, False, False, False, True])
    chance = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert recall_at_precision(positive, chance, 0.9) == 0.5
    assert recall_at_precision(positive, chance, 0.75) == 0.75
    assert recall_at_precision(positive, chance, 0.5) == 1
    assert recall_at_precision(~positive, chance, 0.9) == 0


def test_few_images_of_a_class_are_named():
    labels = np.array([0] * 30 + [1] * 4)
    chances = np.random.default_rng(0).random(34)
    scores = score(labels, np.stack([1 - chances, chances], 1), ("no_sub", "sub"))
    assert scores["few"] == "there are only 4 of sub: intervals of scores that need them are too narrow"
    assert "few" not in score(labels[:30], np.stack([1 - chances, chances], 1)[:30], ("no_sub", "sub"))
