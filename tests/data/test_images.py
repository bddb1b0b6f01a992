import csv
import json
import shutil
import time

import numpy as np
import pytest
from conftest import write_lenses
from PIL import Image

from deeplense.content import content_hash
from deeplense.data import cache as module
from deeplense.data.images import load_images
from deeplense.data.mixed import Mixed
from deeplense.data.names import ordered_classes
from deeplense.data.packed import read_packed
from deeplense.errors import InputError


def test_class_folders(lenses):
    images = load_images(str(lenses))
    assert (len(images), images.classes, images.pixels.shape) == (240, ("no_sub", "sub"), (240, 1, 40, 40))
    assert images.pixels.dtype == np.uint8
    assert np.bincount(images.labels).tolist() == [120, 120]
    for index in (0, 130, 239):
        own = np.asarray(Image.open(lenses / images.paths[index]))
        np.testing.assert_array_equal(images.pixels[index, 0], own)
        assert images.hashes[index] == content_hash(own)
        assert images.paths[index].split("/")[0] == images.classes[images.labels[index]]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["sub", "no_sub"], ("no_sub", "sub")),
        (["axion", "cdm", "no_sub"], ("no_sub", "axion", "cdm")),
        (["sphere", "no", "vort"], ("no", "sphere", "vort")),
        (["cdm", "no_substructure"], ("no_substructure", "cdm")),
        (["b", "a"], ("a", "b")),
    ],
)
def test_the_smooth_class_is_label_0(names, order):
    assert ordered_classes(names) == order


def test_second_start_decodes_nothing(tmp_path, monkeypatch):
    folder = write_lenses(tmp_path / "set", 20)
    first = load_images(str(folder))
    monkeypatch.setattr(module, "open_each", None)
    second = load_images(str(folder))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert (first.paths, first.hashes, first.classes) == (second.paths, second.hashes, second.classes)


@pytest.mark.slow
def test_ten_thousand_images_start_in_a_second(tmp_path):
    folder = write_lenses(tmp_path / "set", 1)
    for name in ("no_sub", "sub"):
        source = folder / name / "0000.png"
        for index in range(1, 5000):
            (folder / name / f"{index:04d}.png").hardlink_to(source)
    load_images(str(folder))
    before = time.perf_counter()
    images = load_images(str(folder))
    seconds = time.perf_counter() - before
    assert len(images) == 10_000
    assert seconds < 2  # 0.2 s on an idle machine; decoding takes longer than this


def test_a_changed_file_is_decoded_again(tmp_path):
    folder = write_lenses(tmp_path / "set", 5, suffix=".npy")
    before = load_images(str(folder))
    file = folder / "sub" / "0003.npy"
    status = file.stat()
    np.save(file, np.zeros((40, 40)))  # same size
    import os

    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = load_images(str(folder))
    index = after.paths.index("sub/0003.npy")
    assert after.hashes[index] != before.hashes[index]
    assert not after.pixels[index].any()


def test_an_interrupted_decoding_leaves_nothing_half_done(tmp_path, monkeypatch):
    folder = write_lenses(tmp_path / "set", 5)
    monkeypatch.setenv("DEEPLENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "write_packed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        load_images(str(folder))
    monkeypatch.undo()
    monkeypatch.setenv("DEEPLENSE_CACHE", str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").iterdir())
    assert len(load_images(str(folder))) == 10


def test_train_and_val_folders_are_kept_apart(tmp_path):
    write_lenses(tmp_path / "train", 12, seed=1)
    write_lenses(tmp_path / "val", 6, seed=2)
    images = load_images(str(tmp_path))
    assert images.classes == ("no_sub", "sub")
    assert (images.parts.count("train"), images.parts.count("val")) == (24, 12)


def test_images_that_differ_stay_as_they_are(tmp_path):
    folder = write_lenses(tmp_path / "set", 6)
    random = np.random.default_rng(1)
    own = {
        "large.png": random.integers(0, 256, (1, 60, 80), dtype=np.uint8),
        "colour.png": random.integers(0, 256, (3, 40, 40), dtype=np.uint8),
        "light.npy": random.random((1, 40, 40), dtype=np.float32),
    }
    for name, pixels in own.items():
        if name.endswith(".npy"):
            np.save(folder / "sub" / name, pixels)
        else:
            Image.fromarray(np.moveaxis(pixels, 0, 2).squeeze()).save(folder / "sub" / name)
    images = load_images(str(folder))
    assert isinstance(images.pixels, Mixed)
    assert (len(images), len(images.pixels.forms)) == (15, 4)
    for name, pixels in own.items():
        stored = images.pixels[images.paths.index(f"sub/{name}")]
        assert stored.dtype == pixels.dtype
        np.testing.assert_array_equal(stored, pixels)
    some = images.take([0, images.paths.index("sub/large.png")])
    assert [image.shape for image in (some.pixels[0], some.pixels[1])] == [(1, 40, 40), (1, 60, 80)]


def test_decoding_on_all_cores_gives_the_same(tmp_path):
    folder = write_lenses(tmp_path / "set", 300)
    (folder / "sub" / "0007.png").write_bytes(b"")
    images = load_images(str(folder), "skip")  # enough for a pool of processes
    assert len(images) == 599
    for index in (0, 299, 300, 598):
        np.testing.assert_array_equal(images.pixels[index, 0], np.asarray(Image.open(folder / images.paths[index])))


def test_bad_images_are_counted_and_named_or_left_out(tmp_path, capsys):
    folder = write_lenses(tmp_path / "set", 10, suffix=".npy")
    (folder / "sub" / "0001.npy").write_text("text")
    spoilt = np.zeros((40, 40))
    spoilt[0, :7] = np.nan
    np.save(folder / "sub" / "0002.npy", spoilt)
    for _ in range(2):  # with and without a cache
        with pytest.raises(InputError) as refusal:
            load_images(str(folder))
        message = str(refusal.value)
        assert "2 of 20 images cannot be used" in message
        assert f"{folder / 'sub' / '0001.npy'} cannot be read" in message
        assert f"{folder / 'sub' / '0002.npy'} has 7 of its 1600 pixels missing" in message
        assert "--bad-images skip" in message
        assert len(load_images(str(folder), "skip")) == 18
        assert "left out 2 of 20 images" in capsys.readouterr().err


@pytest.mark.parametrize("bad_images", ["error", "skip"])
def test_a_class_of_bad_images_only_is_no_class(tmp_path, bad_images):
    folder = write_lenses(tmp_path / "set", 3)
    for file in (folder / "sub").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match="3 of 6 images cannot be used"):
        load_images(str(folder), bad_images)


def test_folders_that_are_no_sets(tmp_path):
    def refusal(folder, labelled=True):
        with pytest.raises(InputError) as error:
            load_images(str(folder), labelled=labelled)
        return str(error.value)

    assert refusal(tmp_path / "none") == f"--data {tmp_path / 'none'}: there is no such folder"
    (tmp_path / "flat").mkdir()
    assert "holds no images" in refusal(tmp_path / "flat", labelled=False)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "flat" / "a.png")
    assert "has no class folders" in refusal(tmp_path / "flat")
    images = load_images(str(tmp_path / "flat"), labelled=False)
    assert (images.labels, images.paths) == (None, ["a.png"])
    dangling = write_lenses(tmp_path / "dangling", 3)
    (dangling / "sub" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert f"{dangling / 'sub' / 'gone.png'} cannot be read" in refusal(dangling)
    folder = write_lenses(tmp_path / "one", 3, classes=("sub",))
    assert "has one class (sub)" in refusal(folder)
    (folder / "no_sub").mkdir()
    assert f"the class folder {folder / 'no_sub'} holds no images" in refusal(folder)
    (folder / "no_sub" / "notes.txt").write_text("nothing to see")
    assert f"the class folder {folder / 'no_sub'} holds no images" in refusal(folder)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    folder = write_lenses(tmp_path / "set", 3)
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEEPLENSE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="set DEEPLENSE_CACHE to a folder that has it"):
        load_images(str(folder))


@pytest.fixture
def packed(tmp_path):
    """A packed set by hand, as the contract has it, without the columns that are ours."""
    folder = tmp_path / "packed"
    folder.mkdir()
    pixels = np.random.default_rng(0).random((6, 20, 20)).astype(np.float16)
    np.save(folder / "images.npy", pixels)
    (folder / "dataset.json").write_text(json.dumps({"name": "mine", "classes": ["sub", "no_sub"]}))
    with (folder / "catalog.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["index", "class", "mass"], *([i, ["no_sub", "sub"][i % 2], i] for i in range(6))])
    return folder


def test_a_packed_set_is_mapped(packed):
    images = load_images(str(packed))
    assert images.classes == ("no_sub", "sub")
    assert images.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert images.pixels.shape == (6, 1, 20, 20)
    assert isinstance(images.pixels, np.memmap)
    assert images.hashes == [content_hash(image) for image in np.load(packed / "images.npy")]


def test_damaged_packed_sets_name_the_file(packed):
    def refusal():
        with pytest.raises(InputError) as error:
            read_packed(packed)
        return str(error.value)

    keep = packed.with_name("keep")
    shutil.copytree(packed, keep)

    def restore():
        shutil.rmtree(packed)
        shutil.copytree(keep, packed)

    (packed / "dataset.json").write_text("{}")
    assert "dataset.json is damaged" in refusal()
    restore()
    (packed / "images.npy").write_bytes((packed / "images.npy").read_bytes()[:200])
    assert "images.npy cannot be read" in refusal()
    restore()
    np.save(packed / "images.npy", np.zeros((6, 20, 20), complex))
    assert "images.npy has shape" in refusal()
    restore()
    np.save(packed / "images.npy", np.full((6, 20, 20), np.nan, np.float32))
    assert "6 of 6 images have pixels missing" in refusal()
    some = np.zeros((6, 20, 20), np.float32)
    some[2:4, 5, 5] = np.inf
    np.save(packed / "images.npy", some)
    images = read_packed(packed, "skip")
    assert (len(images), images.labels.tolist(), images.paths[2]) == (4, [0, 1, 0, 1], "images.npy/4")
    restore()
    np.save(packed / "images.npy", np.zeros((7, 20, 20), np.uint8))
    assert "catalog.csv has 6 rows for 7 images" in refusal()
    restore()
    text = (packed / "catalog.csv").read_text()
    (packed / "catalog.csv").write_text(text.replace("no_sub", "other"))
    assert "class other is not among those of dataset.json" in refusal()
    (packed / "catalog.csv").unlink()
    assert "catalog.csv: cannot be read as a table" in refusal()
