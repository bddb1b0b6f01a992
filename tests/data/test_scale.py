"""What 0 and 1 stand for: settled once for a set, and the same for whatever container the light is in."""

import dataclasses

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import lens_image
from PIL import Image

from deeplense.config import DataConfig
from deeplense.data.batches import plain_batches
from deeplense.data.images import load_images
from deeplense.data.scale import Scale, mention_strangers, say_scale, settle, strangers
from deeplense.data.store import PixelStore
from deeplense.errors import InputError

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
LENSES = [lens_image(RANDOM, substructure=bool(index % 2)) for index in range(8)]


def folder_of(tmp_path, name, images, save):
    folder = tmp_path / name
    for index, image in enumerate(images):
        (folder / "ab"[index % 2]).mkdir(parents=True, exist_ok=True)
        save(folder / "ab"[index % 2] / f"{index}", image)
    return folder


SAVED = {
    "png": lambda file, image: Image.fromarray(image).save(f"{file}.png"),
    "tif": lambda file, image: Image.fromarray(image).save(f"{file}.tif"),
    "16-bit png": lambda file, image: Image.fromarray(image.astype(np.uint16) * 257).save(f"{file}.png"),
    "rgb png": lambda file, image: Image.fromarray(np.stack([image] * 3, 2)).save(f"{file}.png"),
    "uint16 npy": lambda file, image: np.save(f"{file}.npy", image.astype(np.uint16)),
    "uint16 npy of all its range": lambda file, image: np.save(f"{file}.npy", image.astype(np.uint16) * 257),
    "float npy": lambda file, image: np.save(f"{file}.npy", image / 255),
    "float npy to 255": lambda file, image: np.save(f"{file}.npy", image.astype(np.float32)),
    "float tif": lambda file, image: Image.fromarray((image / 255).astype(np.float32)).save(f"{file}.tif"),
    "fits": lambda file, image: fits.PrimaryHDU(image.astype(np.int16)).writeto(f"{file}.fits"),
}


def seen(images, scale=None, **how):
    """What a network sees, in order of path's number."""
    store = PixelStore(images, DataConfig(image_size=40, **how), CPU, scale)
    shown = torch.cat(list(plain_batches(store, np.arange(len(images)), 3)))
    order = np.argsort([int(path.split("/")[1].split(".")[0]) for path in images.paths])
    return shown[order]


@pytest.mark.parametrize("container", SAVED)
def test_the_same_light_is_the_same_in_any_container(tmp_path, container):
    """For a run on grey levels, and for one on photons."""
    images = load_images(str(folder_of(tmp_path, "set", LENSES, SAVED[container])))
    expected = torch.from_numpy(np.stack(LENSES)[:, None] / np.float32(255)) * 2 - 1
    torch.testing.assert_close(seen(images, Scale("levels")), expected, atol=2e-3, rtol=0)
    low, high = (getattr(expected, how)((1, 2, 3), keepdim=True) for how in ("amin", "amax"))
    own = (expected - low) / (high - low) * 2 - 1
    torch.testing.assert_close(seen(images, Scale("image")), own, atol=2e-3, rtol=0)


def test_what_a_set_says(tmp_path):
    counts = [(image.astype(int) * 12 - 300).astype(np.int16) for image in LENSES]
    dark = [(image // 4 * 17).astype(np.uint16) for image in LENSES]  # up to 1071 of 65535
    for name, saved, images, scale, told in (
        ("png", "png", LENSES, Scale("levels"), "grey levels: 0 black, 255 white"),
        ("npy", "float npy", LENSES, Scale("image"), "each image's own smallest and largest number"),
        ("counts", "fits", counts, Scale("image"), "each image's own"),
        ("photons", "uint16 npy", LENSES, Scale("image"), "each image's own"),
    ):
        found = load_images(str(folder_of(tmp_path, name, images, SAVED[saved])))
        assert settle(found, "auto") == scale
        assert told in say_scale(found, scale)
    found = load_images(
        str(folder_of(tmp_path, "dark", dark, lambda file, image: Image.fromarray(image).save(f"{file}.png")))
    )
    scale = settle(found, "auto")
    assert (scale.by, scale.white8, scale.white16) == ("levels", 255, max(image.max() for image in dark))
    assert scale.fraction == pytest.approx(scale.white16 / 65535)
    assert f"{scale.white16:g} white (the set's own largest)" in say_scale(found, scale)
    assert seen(found, scale).max() == 1


def test_signed_and_unsigned_counts_are_one(tmp_path):
    """A FITS image of counts up to 3,000 is nearly black by the range of its type."""
    counts = [RANDOM.poisson(image * 10.0) for image in LENSES]
    shown = []
    for kind in (np.uint16, np.int16, np.float32):
        folder = folder_of(
            tmp_path, kind.__name__, counts, lambda f, x, k=kind: fits.PrimaryHDU(x.astype(k)).writeto(f"{f}.fits")
        )
        shown.append(seen(load_images(str(folder))))
        assert shown[-1].amax((1, 2, 3)).eq(1).all()
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2])


@pytest.mark.parametrize("container", ["npy", "fits"])
def test_counts_are_no_grey_levels_to_a_run_on_pictures(tmp_path, container, capsys):
    """Of whatever type they are, and however many photons there were: up to 260 of 65,535 is black."""
    scale = settle(load_images(str(folder_of(tmp_path, "set", LENSES, SAVED["png"]))), "auto")
    for brightest in (260, 3000, 30000):
        counts = [np.rint(image / image.max() * brightest) for image in LENSES]
        shown = []
        for kind in (np.uint16, np.int32):

            def save(file, image, kind=kind):
                if container == "npy":
                    np.save(f"{file}.npy", image.astype(kind))
                else:
                    fits.PrimaryHDU(image.astype(kind)).writeto(f"{file}.fits")

            images = load_images(str(folder_of(tmp_path, f"{brightest} {kind.__name__}", counts, save)))
            shown.append(seen(images, scale))
            assert shown[-1].amax((1, 2, 3)).eq(1).all()
            assert len(strangers(images, scale)) == 8
            mention_strangers(images, scale)
            assert "warning: 8 images are no grey levels" in capsys.readouterr().err
        assert torch.equal(*shown)


@pytest.mark.parametrize("factor", [251, 12])
def test_levels_of_16_bits_are_the_same_without_the_picture(tmp_path, factor):
    """To a run on pictures of 16 bits, dark ones among them."""
    deep = [image.astype(np.uint16) * np.uint16(factor) for image in (*LENSES, LENSES[0] // 4)]
    png = load_images(
        str(folder_of(tmp_path, "png", deep, lambda file, image: Image.fromarray(image).save(f"{file}.png")))
    )
    npy = load_images(str(folder_of(tmp_path, "npy", deep, lambda file, image: np.save(f"{file}.npy", image))))
    scale = settle(png, "auto")
    assert set(npy.light.unit) == {251: {"words", "counts"}, 12: {"counts"}}[factor]
    assert torch.equal(seen(npy, scale), seen(png, scale))
    assert strangers(npy, scale) == []


def test_one_image_in_another_container_changes_no_other(tmp_path, capsys):
    folder = folder_of(tmp_path, "set", LENSES, SAVED["png"])
    before = seen(load_images(str(folder)))
    (folder / "a" / "0.png").unlink()
    SAVED["float tif"](folder / "a" / "0", LENSES[0])
    mixed = load_images(str(folder))
    assert settle(mixed, "auto") == Scale("levels")
    torch.testing.assert_close(seen(mixed), before, atol=2e-3, rtol=0)
    assert strangers(mixed, settle(mixed, "auto")) == []
    np.save(folder / "a" / "0.npy", LENSES[0] * 31.5 - 20)  # of a unit that nobody knows
    (folder / "a" / "0.tif").unlink()
    mixed = load_images(str(folder))
    assert strangers(mixed, settle(mixed, "auto")) == ["a/0.npy"]
    assert "1 by their own range" in say_scale(mixed, settle(mixed, "auto"))
    mention_strangers(mixed, settle(mixed, "auto"))
    assert "warning: 1 images are no grey levels, as the others are (a/0.npy)" in capsys.readouterr().err


def test_range_says_what_it_promises(tmp_path):
    images = load_images(str(folder_of(tmp_path, "npy", LENSES, SAVED["float npy to 255"])))
    with pytest.raises(InputError, match="--normalize range: images 0 to 8 have values from"):
        seen(images, normalize="range")
    words = load_images(str(folder_of(tmp_path, "words", LENSES, SAVED["uint16 npy of all its range"])))
    shown = seen(words, normalize="range")
    torch.testing.assert_close(
        shown[0, 0] * 0.5 + 0.5, torch.from_numpy(LENSES[0] / np.float32(255)), atol=2e-3, rtol=0
    )


# ---- images that differ in size ------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["device", "host"])
def test_an_image_is_seen_the_same_beside_any_other(tmp_path, placement):
    """Each is resampled once, from its own size."""
    own = [np.kron(LENSES[index], np.ones((1 + index % 3, 1 + index % 2), np.uint8)) for index in range(8)]
    together = load_images(str(folder_of(tmp_path, "all", own, SAVED["png"])))
    shown = seen(together, Scale("levels"), placement=placement, fit="crop")
    for index in range(8):
        folder = folder_of(tmp_path, f"alone{index}", [own[index]], SAVED["png"])
        alone = load_images(str(folder), labelled=False)
        assert isinstance(alone.pixels, np.ndarray)
        assert torch.equal(seen(alone, Scale("levels"), placement=placement, fit="crop")[0], shown[index])


def test_sizes_in_training_batches(tmp_path):
    from deeplense.config import AugmentConfig
    from deeplense.data.batches import TrainBatches

    own = [np.kron(LENSES[index], np.ones((1 + index % 2,) * 2, np.uint8)) for index in range(8)]
    images = load_images(str(folder_of(tmp_path, "all", own, SAVED["png"])))

    def epoch(placement):
        store = PixelStore(images, DataConfig(image_size=32, placement=placement), CPU)
        batches = TrainBatches(store, lambda index, maps: index, np.arange(8), AugmentConfig(), 4, 1, 3)
        return [(pixels, index) for pixels, index in batches.epoch(0)]

    for (here, places), (there, others) in zip(epoch("device"), epoch("host"), strict=True):
        assert torch.equal(here, there)
        assert torch.equal(places, others)
    still = dataclasses.replace(AugmentConfig(), rotation=0.0, flips=False)
    store = PixelStore(images, DataConfig(image_size=40), CPU)
    for pixels, index in TrainBatches(store, lambda index, maps: index, np.arange(8), still, 8, 1, 3).epoch(0):
        plain = next(plain_batches(store, index.numpy(), 8))
        torch.testing.assert_close(pixels, plain, atol=1e-5, rtol=0)


def test_bands_are_kept_averaged_or_chosen(tmp_path):
    cubes = [RANDOM.random((5, 40, 40), dtype=np.float32) for _ in range(4)]
    images = load_images(str(folder_of(tmp_path, "set", cubes, lambda file, cube: np.save(f"{file}.npy", cube))))
    assert seen(images, channels=5).shape == (4, 5, 40, 40)
    grey, expected = seen(images), np.stack(cubes).mean(1)
    low, high = expected.min((1, 2), keepdims=True), expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(grey[:, 0] * 0.5 + 0.5, (expected - low) / (high - low), atol=2e-3)
    two = seen(images, channels=2, bands=("4", "1"))
    assert two.shape == (4, 2, 40, 40)
    with pytest.raises(InputError, match="--channels 3: an image has 5 bands: give --channels 5, or 1, or say which"):
        seen(images, channels=3)
    with pytest.raises(InputError, match="--bands 7: an image has 5 bands, 0 to 4: give others"):
        seen(images, bands=("7",))
