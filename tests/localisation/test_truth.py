"""The truth goes with the pixels, and what cannot be the truth is refused in a line."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplense.config import DataConfig, TrainConfig
from deeplense.data.augment import affine, resample
from deeplense.data.images import load_images
from deeplense.data.truth import truth_of
from deeplense.errors import InputError
from deeplense.localisation.likelihood import Subhalos
from deeplense.localisation.task import Localisation
from deeplense.localisation.truth import carried, read_truth, scale_of
from deeplense.simulation.stream import ImageStream
from deeplense.simulation.write import simulate_set


def centre_of_light(image):
    """(x, y) in pixels, 0 the left or upper edge, of an image (S, S)."""
    pixels = torch.arange(len(image)) + 0.5
    return (image.sum(0) * pixels).sum() / image.sum(), (image.sum(1) * pixels).sum() / image.sum()


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(*[st.floats(0, 0.9999)] * 3),
    st.tuples(*[st.floats(-0.55, 0.55)] * 2),
    st.sampled_from([(64, 1.0), (80, 0.9), (80, 1.0), (97, 0.8)]),
)
def test_a_turned_point_of_light_is_where_its_truth_says(draws, place, shape):
    side, crop = shape
    size = round(side * crop)
    x, y = ((part + 1) / 2 * side for part in place)
    grid = torch.arange(side) + 0.5
    spot = torch.exp(-((grid - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * 2.0**2))[None, None]
    maps = affine(torch.tensor([draws], dtype=torch.float32), 180.0, flips=True)
    seen = (resample(spot, maps, size, crop=crop)[0, 0] + 1) / 2
    truth = carried(Subhalos(torch.tensor([[[*place, 9.0]]]), torch.ones(1, 1, dtype=torch.bool)), maps, crop, size)
    assert truth.there.all()
    wanted = torch.stack(centre_of_light(seen))
    assert (truth.places[0, 0, :2] * 2 - wanted).abs().max() < 0.05  # a cell is two pixels
    assert truth.places[0, 0, 2] == 9


def test_what_the_crop_or_a_turn_takes_out_of_view_is_not_there():
    places = torch.tensor([[[0.75, 0.0, 9.0], [0.65, 0.65, 9.5], [0.0, 0.5, 10.0]]])
    there = torch.tensor([[True, True, True]])
    quarter = torch.tensor([[[0.7071, -0.7071, 0.0], [0.7071, 0.7071, 0.0]]])
    assert carried(Subhalos(places, there), None, 0.7, 56).there.tolist() == [[False, True, True]]
    assert carried(Subhalos(places, there), quarter, 0.7, 56).there.tolist() == [[True, False, True]]
    padded = carried(Subhalos(places, ~there), None, 1.0, 56)
    assert (padded.places == 0).all()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets") / "one"
    simulate_set("one_subhalo", folder, 24, progress=False)
    return folder


def test_stored_and_fresh_images_take_one_way(simulated):
    """The same numbers from `subhalos.csv` and from draws, in what the network sees."""
    data = DataConfig(data=str(simulated), image_size=56, crop=0.7)
    task = Localisation(TrainConfig(task="locate", data=data), ("no_sub", "sub"))
    images = load_images(str(simulated))
    task.look_at(images)
    _, draws = ImageStream("one_subhalo", seed=3).span(0, 24)
    maps = affine(torch.rand(24, 3, generator=torch.manual_seed(0)), 180.0, flips=True)
    fresh = task.drawn_targets(draws, maps)
    task._truth = type(task._truth)(*(part.double().numpy() for part in (draws.x, draws.y, draws.mass)))
    stored = task.targets(images, torch.device("cpu"))(torch.arange(24), maps)
    assert torch.equal(fresh.there, stored.there)
    assert fresh.there.any()
    torch.testing.assert_close(fresh.places, stored.places, atol=1e-5, rtol=1e-5)


def test_the_truth_of_a_set_is_that_of_its_file(simulated):
    images = load_images(str(simulated))
    truth = read_truth(images, "here")
    rows = list(csv.DictReader((simulated / "subhalos.csv").open()))
    assert len(rows) == int((truth.mass > 0).sum()) == 12
    for row in rows:
        own = int(row["index"])
        assert (truth.x[own, 0], truth.y[own, 0], truth.mass[own, 0]) == tuple(
            float(row[k]) for k in ("x", "y", "mass")
        )
    assert scale_of(images, 0.5, 40).half == pytest.approx(1.6)


def test_tables_that_a_spreadsheet_has_saved_again_say_the_same(simulated, tmp_path):
    """With a BOM, and semicolons for commas."""
    folder = Path(shutil.copytree(simulated, tmp_path / "saved"))
    for name in ("catalog.csv", "subhalos.csv"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace(",", ";"), encoding="utf-8-sig")
    before, after = (read_truth(load_images(str(place)), "here") for place in (simulated, folder))
    for name in ("x", "y", "mass"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    every = np.arange(24)
    before, after = (truth_of(load_images(str(place)), every) for place in (simulated, folder))
    np.testing.assert_array_equal(before.einstein_radius, after.einstein_radius)
    assert all(np.array_equal(*pair) for pair in zip(before.subhalos, after.subhalos, strict=True))


def test_class_folders_have_their_truth_beside_them(tmp_path):
    simulate_set("one_subhalo", tmp_path / "folders", 8, form="folders", progress=False)
    images = load_images(str(tmp_path / "folders"))
    truth = read_truth(images, "here")
    has = (truth.mass > 0).any(1)
    assert has.tolist() == [images.classes[label] == "sub" for label in images.labels]
    assert scale_of(images, 1.0, 80).seen_pixel == pytest.approx(0.08)


def changed(simulated, tmp_path, file, change):
    """A copy of the set with one of its files changed."""
    copy = tmp_path / "copy"
    shutil.copytree(simulated, copy)
    text = (copy / file).read_text()
    new = change(text)
    assert new != text
    (copy / file).write_text(new)
    return copy


def cell(column, value):
    """Another value in the first row."""

    def change(text):
        lines = text.splitlines()
        cells = lines[1].split(",")
        cells[lines[0].split(",").index(column)] = value
        return "\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n"

    return change


def word(old, new):
    return lambda text: text.replace(old, new, 1)


def times(column, factor):
    """A whole column in another unit."""

    def change(text):
        head, *rows = (line.split(",") for line in text.splitlines())
        place = head.index(column)
        rows = [[*row[:place], str(float(row[place]) * factor), *row[place + 1 :]] for row in rows]
        return "\n".join(",".join(row) for row in [head, *rows]) + "\n"

    return change


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("subhalos.csv", times("mass", 1000), "than a lens: are the masses a thousand times too heavy? give Msun"),
        ("subhalos.csv", times("x", 100), "subhalos are outside their images, one of images.npy/1 for one: give x and"),
        ("subhalos.csv", cell("index", "0"), "is of other images, 1 of class no_sub have subhalos"),
        ("subhalos.csv", cell("index", "77"), "is of other images, it names image 77 and there are 24"),
        ("subhalos.csv", cell("mass", "nan"), "a place or mass that is no number above 0 Msun"),
        ("subhalos.csv", cell("y", "far"), "cannot be read (could not convert string 'far'"),
        ("subhalos.csv", word("mass", "weight"), "its columns are index,x,y,mass"),
        ("catalog.csv", word("sha256", "hash"), "has no column 'sha256': the truth is found by content"),
        ("catalog.csv", cell("sha256", "0" * 64), "is of other images, the pixels of images.npy/0"),
        ("dataset.json", word("0.08,", '"wide",'), "pixel_scale is no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_the_truth_is_refused(simulated, tmp_path, file, change, said):
    copy = changed(simulated, tmp_path, file, change)
    with pytest.raises(InputError) as refused:
        read_truth(load_images(str(copy)), str(copy))
    assert said in str(refused.value)
    assert str(copy) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_set_without_truth_and_one_that_is_not_square_are_refused(simulated, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(simulated, copy)
    (copy / "subhalos.csv").unlink()
    with pytest.raises(InputError, match=r"copy: has no subhalos.csv, from which --task locate learns: make it with"):
        read_truth(load_images(str(copy)), str(copy))
    pixels = np.load(simulated / "images.npy")[:, :, :64]
    np.save(copy / "images.npy", pixels)
    with pytest.raises(InputError, match=r"images of 80 x 64 pixels: --task locate wants square ones"):
        scale_of(load_images(str(copy)), 1.0, 64)


def test_lengths_are_pixels_where_nobody_said_how_large_these_are(simulated, tmp_path):
    def without(text):
        about = json.loads(text)
        del about["pixel_scale"]
        return json.dumps(about)

    images = load_images(str(changed(simulated, tmp_path, "dataset.json", without)))
    scale = scale_of(images, 1.0, 40)
    assert (scale.unit, scale.half, scale.seen_pixel) == ("px", 40.0, 2.0)
    assert read_truth(images, "here").x.max() < 2  # taken as it stands
