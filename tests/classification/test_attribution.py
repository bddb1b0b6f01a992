"""Attribution maps: of networks of which it is known where they look, and in the evaluation folder."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import write_lenses

import evaluate
from deeplense.classification.attribution import attribution_maps, baseline, light_of, worth_a_look
from deeplense.classification.pointing import height_at_subhalos, near_subhalo
from deeplense.cli import parse
from deeplense.config import DataConfig, EvaluateConfig
from deeplense.data.batches import PixelStore, plain_batches
from deeplense.data.imageset import ImageSet
from deeplense.data.truth import Truth, peak_positions
from deeplense.tasks import load_run


class LooksAt(torch.nn.Module):
    """Sees fine structure in one window, and nothing else: the square of a Laplacian there."""

    def __init__(self, row: int, column: int, half: int = 2) -> None:
        super().__init__()
        self.window = slice(row - half, row + half + 1), slice(column - half, column + half + 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
        edges = torch.nn.functional.conv2d(images, kernel, padding=1)
        return (edges[:, 0, *self.window] ** 2).sum((1, 2))[:, None] - 1


def noisy(count, size=64, seed=0):
    """Images with bright spots at places of their own, and what is known of them: 7.5" a side."""
    random = np.random.default_rng(seed)
    rows, columns = random.integers(12, size - 12, (2, count))
    y, x = np.mgrid[:size, :size]
    spots = np.exp(-((x - columns[:, None, None]) ** 2 + (y - rows[:, None, None]) ** 2) / 3)
    pixels = (spots + random.normal(0, 0.05, (count, size, size))).astype(np.float32)
    images = ImageSet(pixels[:, None], np.ones(count, dtype=np.int64), ("no_sub", "sub"), [""] * count, [""] * count)
    truth = Truth((3.75, 3.75), np.full(count, 1.25), [])
    x_of, y_of = truth.pixel_centres(size)
    masses = [np.array([[x_of[column], y_of[row], 5e9]]) for row, column in zip(rows, columns, strict=True)]
    return images, dataclasses.replace(truth, subhalos=masses)


def maps_of(network, images, size=64):
    store = PixelStore(images, DataConfig(image_size=size), torch.device("cpu"))
    return attribution_maps(network, store, np.arange(len(images)))


def test_chance_follows_the_light_however_the_network_sees_it():
    """Of 70 images, so that two batches are put together."""
    pixels = np.random.default_rng(0).integers(0, 256, (70, 1, 40, 40), dtype=np.uint8)
    images = ImageSet(pixels, None, ("no_sub", "sub"), [""] * 70, [""] * 70)
    settings = [
        DataConfig(image_size=32, crop=0.8),
        DataConfig(image_size=32, crop=0.8, stretch="log", standardize=True),
    ]
    plain, treated = (light_of(PixelStore(images, how, torch.device("cpu")), np.arange(70)) for how in settings)
    np.testing.assert_array_equal(plain, treated)
    np.testing.assert_allclose(plain.mean(), (pixels.mean() / 255 - 0.5) / 0.5, atol=0.02)


@pytest.mark.parametrize(("row", "column"), [(20, 41), (45, 30), (33, 12)])
def test_a_network_that_looks_at_one_place_is_found_there(row, column):
    images, _ = noisy(6)
    _, maps = maps_of(LooksAt(row, column), images)
    rows, columns = np.divmod(maps.reshape(6, -1).argmax(1), 64)
    assert (np.abs(rows - row) <= 3).all()
    assert (np.abs(columns - column) <= 3).all()
    window = maps[:, row - 6 : row + 7, column - 6 : column + 7]
    assert np.abs(window).sum() > 0.99 * np.abs(maps).sum()


class Everywhere(torch.nn.Module):
    """Sees fine structure wherever it is."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return LooksAt(32, 32, 30)(images)


def test_a_network_that_looks_at_the_subhalos_is_told_from_one_that_does_not():
    images, truth = noisy(60)
    _, maps = maps_of(Everywhere(), images)
    counted = near_subhalo(peak_positions(maps, truth), 64, truth)
    assert counted["rate"] > 0.9
    assert counted["chance_same_radius"] < 0.1
    assert height_at_subhalos(maps.clip(0), truth)["excess_low"] > 0
    _, maps = maps_of(LooksAt(20, 41), images)
    counted = near_subhalo(peak_positions(maps, truth), 64, truth)
    assert counted["excess_low"] <= 0.02
    assert counted["rate"] < 0.1


def test_a_map_adds_up_to_the_difference_from_the_baseline(trained, lenses):
    """The completeness of integrated gradients, and the linear case, where they are known by hand."""
    from deeplense.data.images import load_images

    network, card = load_run(trained).network, load_run(trained).card
    store = card.store(load_images(str(lenses)), torch.device("cpu"))
    chosen = np.arange(100, 130)
    images = next(plain_batches(store, chosen, 30))
    with torch.inference_mode():
        difference = (network(images) - network(baseline(images)))[:, 0].numpy()
    seen, maps = attribution_maps(network, store, chosen)
    np.testing.assert_array_equal(seen, images.numpy())
    # The smoothing keeps the sum, but for what it moves over the edge; the path has twelve steps.
    error = maps.sum((1, 2)) - difference
    assert np.abs(error).mean() < 0.1 * np.abs(difference).mean()
    assert all(weight.requires_grad for weight in network.parameters())


def test_height_is_that_of_the_map_at_the_subhalo():
    x, y = Truth((2.0, 1.0), np.ones(1), []).pixel_centres(16)
    plane = 3 + x[None, :] + 0.5 * y[:, None]
    truth = Truth((2.0, 1.0), np.ones(1), [np.array([[0.9, -0.3, 2e9], [0.2, 0.4, 3e9], [-1.0, 0.1, 1e8]])])
    counted = height_at_subhalos(plane[None], truth)
    assert counted["height"] == pytest.approx(((3 + 0.9 - 0.15) + (3 + 0.2 + 0.2)) / 2 / 3)
    assert counted["chance_same_radius"] == pytest.approx(1)  # a plane's mean over a circle is its centre's height
    assert height_at_subhalos(plane[None], dataclasses.replace(truth, subhalos=[truth.subhalos[0][2:]])) is None


def test_the_images_worth_a_look():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    p = np.array([0.005, 0.28, 0.9, 0.99, 0.2, 0.52, 0.7])
    groups = worth_a_look(labels, np.stack([1 - p, p], 1), 0.5)
    assert groups == {"most certain": [0, 1, 3, 6, 5], "least certain": [5, 6, 1, 4, 2, 3], "wrong": [2, 4]}
    # Of no_sub with the threshold at 0.95 nothing is wrong but the subs below it.
    assert worth_a_look(labels, np.stack([1 - p, p], 1), 0.95)["wrong"] == [4, 6, 5]
    assert "wrong" not in worth_a_look(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]), 0.5)


def evaluated(run, *arguments):
    evaluate.main(parse(EvaluateConfig, [str(part) for part in (run, *arguments)], ""))


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def test_an_evaluation_of_real_images_gets_the_figure_and_says_that_nothing_is_known(copy, figures):
    evaluated(copy, "--split", "val", "--attribution-images", 4)
    folder = copy / "evaluation" / "val"
    scores = json.loads((folder / "metrics.json").read_text())
    assert (folder / "attributions.png").stat().st_size > 20_000
    assert scores["attribution"]["undefined"] == "nobody knows where the subhalos are"
    assert scores["attribution"]["ring"] is None
    assert scores["n"] == 24  # all else is still there
    evaluated(copy, "--split", "val", "--attribution-images", 0)
    assert not (folder / "attributions.png").exists()
    assert "attribution" not in json.loads((folder / "metrics.json").read_text())


def test_one_class_alone_is_no_error(copy, tmp_path):
    others = write_lenses(tmp_path / "others", 5, seed=9)
    shutil.rmtree(others / "sub")
    evaluated(copy, "--data", others, "--attribution-images", 4)
    scores = json.loads((copy / "evaluation" / "others" / "metrics.json").read_text())
    assert scores["attribution"]["undefined"] == "there are no images of substructure"


def test_an_evaluation_of_a_simulated_set_counts_the_peaks(copy, figures):
    evaluated(copy, "--data", "model_i", "--count", 40, "--attribution-images", 12)
    attribution = json.loads((copy / "evaluation" / "model_i" / "metrics.json").read_text())["attribution"]
    assert attribution["images"] == attribution["ring"]["n"] == attribution["subhalo"]["n"] == 12
    assert attribution["of"] == "sub"
    for name in ("ring", "subhalo"):
        counted = attribution[name]
        assert counted["low"] <= counted["rate"] == counted["hits"] / counted["n"] <= counted["high"]
        fair = counted[f"chance_{counted['fair_chance']}"]
        assert counted["excess"] == pytest.approx(counted["rate"] - fair, abs=1e-6)
    # The ring's share of the frame, by hand: 2 pi 1.281" x 0.5" of 0.9 of 7.5", squared; of 32 pixels, so not exactly.
    assert attribution["ring"]["chance_uniform"] == pytest.approx(2 * np.pi * 1.281 * 0.5 / (0.9 * 7.5) ** 2, rel=0.1)
