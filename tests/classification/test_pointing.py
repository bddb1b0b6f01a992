"""Positions in images of simulated sets, and what is counted there, against planted spots and plain loops."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from deeplense.classification.pointing import near_ring, near_subhalo
from deeplense.config import DataConfig
from deeplense.data.batches import PixelStore, plain_batches
from deeplense.data.packed import read_packed
from deeplense.data.truth import Truth, peak_positions, truth_of
from deeplense.errors import InputError
from deeplense.simulation.priors import Fixed
from deeplense.simulation.sets import find_classes, find_set
from deeplense.simulation.simulator import Simulator

SPOTS = ((0.8, -1.6), (-2.1, 0.35), (1.23, 3.0))
"""x and y in arcsec: no two alike under a flip or a swap of the axes."""


def planted(folder, height=150, width=150, scale=0.05):
    """A packed set with one bright spot in each image, where its table says that a subhalo is; in another order."""
    folder.mkdir()
    images = np.zeros((len(SPOTS), height, width), dtype=np.float32)
    for image, (x, y) in zip(images, SPOTS, strict=True):
        column, row = (round(at / scale + (side - 1) / 2) for at, side in ((x, width), (y, height)))
        image[row - 1 : row + 2, column - 1 : column + 2] = 5.0
        image[row, column] = 9.0
    np.save(folder / "images.npy", images)
    rows = "".join(f"{index},{'sub' if index else 'no_sub'}\n" for index in range(len(SPOTS)))
    (folder / "catalog.csv").write_text(f"index,class\n{rows}")
    masses = "".join(f"{index},{x},{y},2e9,0.05\n{index},3.3,3.3,5e8,0.02\n" for index, (x, y) in enumerate(SPOTS))
    (folder / "subhalos.csv").write_text(f"index,x,y,mass,einstein_radius\n{masses}")
    about = {
        "classes": ["no_sub", "sub"],
        "pixel_scale": scale,
        "parameters": {"halo": {"einstein_radius": {"is": "Fixed", "value": 1.25}}},
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    hashes = read_packed(folder).hashes
    rows = "".join(f"{index},{'sub' if index else 'no_sub'},{hashes[index]}\n" for index in range(len(SPOTS)))
    (folder / "catalog.csv").write_text(f"index,class,sha256\n{rows}")
    return folder


def seen(images, size, crop=1.0):
    """As the network sees them: (n, size, size)."""
    store = PixelStore(images, DataConfig(image_size=size, crop=crop), torch.device("cpu"))
    return next(plain_batches(store, np.arange(len(images)), len(images)))[:, 0].numpy()


@pytest.mark.parametrize(
    ("height", "width", "size", "crop"),
    [(150, 150, 64, 1.0), (150, 150, 150, 1.0), (160, 140, 64, 1.0), (150, 150, 96, 0.9), (160, 140, 64, 0.88)],
)
def test_a_planted_spot_is_where_the_table_says(tmp_path, height, width, size, crop):
    images = read_packed(planted(tmp_path / "set", height, width))
    chosen = np.array([2, 0, 1])
    truth = truth_of(images, chosen, crop)
    assert truth.half_width == pytest.approx([crop * max(height, width) * 0.025] * 2)  # padded to a square
    peaks = peak_positions(seen(images, size, crop)[chosen], truth)
    pixel = max(height, width) * crop * 0.05 / size
    np.testing.assert_allclose(peaks, np.array(SPOTS)[chosen], atol=0.5 * pixel + 0.025 + 1e-6)
    assert truth.einstein_radius.tolist() == [1.25] * 3
    other = [[3.3, 3.3, 5e8]] if min(truth.half_width) > 3.3 else []  # else it is out of view
    for masses, index in zip(truth.subhalos, chosen, strict=True):
        np.testing.assert_allclose(masses, [[*SPOTS[index], 2e9], *other])


def test_images_that_were_taken_out_keep_their_truth(tmp_path):
    images = read_packed(planted(tmp_path / "set")).take([2, 1])
    assert truth_of(images, np.array([0])).subhalos[0][0, :2].tolist() == list(SPOTS[2])


def test_the_simulator_has_the_same_axes():
    """A source without a lens before it is seen where it is."""
    lens_set = find_set("model_i")
    halo = dataclasses.replace(lens_set.halo, einstein_radius=Fixed(1e-4), shear=Fixed(0.0))
    simulator = Simulator(dataclasses.replace(lens_set, halo=halo), find_classes(["no_sub"]), 0, "cpu")
    number = torch.arange(32)
    draws = simulator.draw(number, torch.zeros_like(number))
    truth = Truth((3.75, 3.75), np.ones(32), [])
    peaks = peak_positions(simulator.render(draws).numpy(), truth)
    drawn = np.stack([draws.scalars["source_x"], draws.scalars["source_y"]], 1)
    assert np.abs(drawn[:, 0] - drawn[:, 1]).max() > 0.3
    np.testing.assert_allclose(peaks, drawn, atol=0.051)  # a pixel, since the source is flat at its centre


def test_sets_without_truth_have_none(tmp_path, lenses):
    from deeplense.data.images import load_images

    assert truth_of(load_images(str(lenses)), np.arange(3)) is None
    folder = planted(tmp_path / "set")
    images = read_packed(folder)
    (folder / "subhalos.csv").write_text("index,x,y,mass,einstein_radius\n0,none,0,0,0\n")
    with pytest.raises(InputError, match=r"its truth cannot be read .*make the set again"):
        truth_of(images, np.arange(3))


def scattered(count=400, seed=0):
    """Truth with five subhalos an image, two of them light, and peaks that know nothing of them."""
    random = np.random.default_rng(seed)
    radius, angle = random.uniform(0.25, 2.0, (count, 5)), random.uniform(0, 2 * np.pi, (count, 5))
    mass = np.tile([3e9, 2e9, 4e9, 5e8, 1e9], (count, 1))  # the last is not above 1e9
    subhalos = np.stack([radius * np.cos(angle), radius * np.sin(angle), mass], 2)
    truth = Truth((3.75, 3.75), random.uniform(1.0, 1.5, count), list(subhalos))
    peaks = random.normal(0, 0.9, (count, 2))
    return truth, peaks, random


def test_counts_agree_with_plain_loops():
    truth, peaks, random = scattered()
    light = random.random((400, 16, 16))
    x, y = truth.pixel_centres(16)
    assert x[0] == pytest.approx(-3.75 + 3.75 / 16)
    ring, lit, even, near = [], [], [], []
    for index, (px, py) in enumerate(peaks):
        theta = truth.einstein_radius[index]
        ring.append(abs((px**2 + py**2) ** 0.5 - theta) < 0.25)
        inside = [
            (abs((x[column] ** 2 + y[row] ** 2) ** 0.5 - theta) < 0.25, light[index, row, column])
            for row in range(16)
            for column in range(16)
        ]
        even.append(np.mean([is_in for is_in, _ in inside]))
        lit.append(sum(glow for is_in, glow in inside if is_in) / sum(glow for _, glow in inside))
        near.append(any((px - sx) ** 2 + (py - sy) ** 2 < 0.15**2 for sx, sy, _ in truth.subhalos[index][:3]))
    counted = near_ring(peaks, light, truth)
    assert counted["rate"] == pytest.approx(np.mean(ring))
    assert counted["chance_uniform"] == pytest.approx(np.mean(even))
    assert counted["chance_by_light"] == pytest.approx(np.mean(lit))
    assert counted["excess"] == pytest.approx(np.mean(ring) - np.mean(lit))
    assert near_subhalo(peaks, 16, truth)["rate"] == pytest.approx(np.mean(near))


def test_chances_are_what_many_random_positions_give():
    truth, peaks, random = scattered(150)
    heavy = np.array([masses[:3, :2] for masses in truth.subhalos])  # (150, 3, 2)

    def hits(x, y):
        return (np.hypot(x[:, None] - heavy[..., 0], y[:, None] - heavy[..., 1]) < 0.15).any(1).mean()

    radius, even, turned = np.hypot(*peaks.T), [], []
    for _ in range(2000):
        angle = random.uniform(0, 2 * np.pi, 150)
        turned.append(hits(radius * np.cos(angle), radius * np.sin(angle)))
        even.append(hits(*random.uniform(-3.75, 3.75, (2, 150))))
    counted = near_subhalo(peaks, 256, truth)
    assert counted["chance_same_radius"] == pytest.approx(np.mean(turned), abs=4 * np.std(turned) / 2000**0.5)
    assert counted["chance_uniform"] == pytest.approx(np.mean(even), abs=4 * np.std(even) / 2000**0.5)


def test_peaks_that_know_nothing_do_not_exceed_chance_and_peaks_that_know_do():
    excluded = 0
    for seed in range(20):
        truth, peaks, _ = scattered(150, seed)
        counted = near_subhalo(peaks, 64, truth)
        excluded += not counted["excess_low"] <= 0 <= counted["excess_high"]
    assert excluded <= 4  # of 20 intervals of 95 %
    known = np.array([masses[0, :2] + 0.1 for masses in truth.subhalos])
    assert near_subhalo(known, 64, truth)["rate"] == 1
    assert near_subhalo(known, 64, truth)["excess_low"] > 0.8


def test_images_without_a_heavy_subhalo_are_not_counted():
    truth, peaks, _ = scattered(5)
    light_ones = dataclasses.replace(truth, subhalos=[masses[3:] for masses in truth.subhalos])
    assert near_subhalo(peaks, 64, light_ones) is None
    mixed = dataclasses.replace(truth, subhalos=[*truth.subhalos[:2], *light_ones.subhalos[2:]])
    assert near_subhalo(peaks, 64, mixed)["n"] == 2
