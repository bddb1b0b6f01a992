"""Files of surveys, courses and DeepLense itself: all of them open, and ambiguity is refused by what could be meant."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from conftest import lens_image, write_lenses
from PIL import Image

from deeplense.data.decode import BadImage, Reading, decode, of_bands, open_images
from deeplense.data.images import load_images
from deeplense.data.opening import Opening
from deeplense.errors import InputError

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.random((64, 64))
MASS = 3.2e-23


def one(file: Path, **reading):
    (image,) = open_images(file, Reading(**reading))
    return image


def refusal(file: Path, **reading) -> str:
    with pytest.raises(BadImage) as error:
        open_images(file, Reading(**reading))
    return str(error.value)


def objects(*items) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def nothing() -> np.ndarray:
    return np.array(None, dtype=object)


def dictionary(**items) -> np.ndarray:
    array = nothing()
    array[()] = items
    return array


ROWS = [row.copy() for row in IMAGE]
FORMS = {
    "floats": (IMAGE, None),
    "pair": (objects(IMAGE, MASS), MASS),
    "pair of numpy": (objects(IMAGE, np.float64(MASS)), MASS),
    "rows": (objects(*ROWS), None),
    "rows and mass": (objects(*ROWS, MASS), MASS),
    "rows and label": (objects(*ROWS, 2), 2),
    "rows of lists": (objects(*(row.tolist() for row in ROWS)), None),
    "flat": (IMAGE.ravel(), None),
    "flat and label": (np.append(IMAGE.ravel(), 2.0), 2),
    "flat pair": (objects(IMAGE.ravel(), 1), 1),
    "flat objects": (objects(*IMAGE.ravel().tolist(), MASS), MASS),
    "dictionary": (dictionary(image=IMAGE, mass=MASS), MASS),
    "dictionary of lists": (dictionary(image=IMAGE.tolist()), None),
    "pair of lists": (objects(IMAGE.tolist(), MASS), MASS),
    "one channel": (objects(IMAGE[None], MASS), MASS),
    "square of objects": (IMAGE.astype(object), None),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_deeplense_own_files_open(tmp_path, form, protocol):
    array, attached = FORMS[form]
    file = tmp_path / "a.npy"
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
        )
        if array.dtype.hasobject:
            pickle.dump(array, out, protocol=protocol)
        else:
            out.write(array.tobytes())
    image = one(file)
    np.testing.assert_array_equal(image.pixels[0], IMAGE.astype(np.float32))
    assert image.attached == attached


def test_masses_are_kept_in_the_catalogue(tmp_path):
    folder = write_lenses(tmp_path / "set", 4, suffix=".npy")
    for index in range(4):
        np.save(folder / "sub" / f"{index:04d}.npy", objects(RANDOM.random((40, 40)), 1e-23 * (index + 1)))
    images = load_images(str(folder))
    masses = [line.split(",")[-1] for line in (images.folder / "catalog.csv").read_text().splitlines()]
    assert masses == ["mass", "", "", "", "", "1e-23", "2e-23", "3e-23", "4e-23"]


def test_objects_without_one_image_are_refused(tmp_path):
    for name, array, why in (
        ("none", objects("text", 1.0), "without an image in it"),
        ("two", objects(IMAGE, IMAGE), "holds 2 images in one object"),
        ("keys", dictionary(a=IMAGE, b=IMAGE), "holds several arrays (a, b)"),
        ("deep", objects([[[[[[1]]]]]]), "lists within lists"),
        ("ragged", objects(*(row[: 60 + n % 2] for n, row in enumerate(ROWS))), "without an image in it"),
    ):
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        assert why in refusal(tmp_path / f"{name}.npy")
    named = dictionary(image=IMAGE, mask=IMAGE > 0.5)
    np.save(tmp_path / "named.npy", named, allow_pickle=True)
    np.testing.assert_array_equal(decode(tmp_path / "named.npy")[0], IMAGE.astype(np.float32))


class Huge:
    """A pickle that takes memory for nothing."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call", [(np.ndarray, ((1 << 20, 1 << 20),)), (np.dtype, ("(9999,9999)f8",)), (bytearray, (1 << 40,))]
)
def test_pickles_take_no_memory_for_promises(tmp_path, call):
    np.save(tmp_path / "a.npy", objects(IMAGE, Huge(call)), allow_pickle=True)
    assert "only numpy arrays" in refusal(tmp_path / "a.npy")


# ---- FITS ----------------------------------------------------------------------------------------------------------


def units(file: Path, **planes: np.ndarray | None) -> Path:
    """A FITS file with these extensions, the first of which is primary if it is called so."""
    first = planes.pop("PRIMARY", None)
    listed = [fits.PrimaryHDU(first), *(fits.ImageHDU(plane, name=name) for name, plane in planes.items())]
    fits.HDUList(listed).writeto(file)
    return file


A, B, C = (RANDOM.random((20, 24), dtype=np.float32) for _ in range(3))


@pytest.mark.parametrize(
    "planes",
    [
        {"PRIMARY": A},
        {"ERR": B, "SCI": A},
        {"DQ": B, "WHT": C, "SCI": A},
        {"PRIMARY": A, "ERR": B, "MASK": C},
        {"IMAGE": A, "MASK": B, "VARIANCE": C},
        {"PRIMARY": B, "SCI": A},
        {"PSF": C, "flux": A},
    ],
)
def test_the_picture_is_found_by_name(tmp_path, planes):
    np.testing.assert_array_equal(decode(units(tmp_path / "a.fits", **planes))[0], A)


def test_ambiguity_is_refused_by_listing_the_extensions(tmp_path):
    file = units(tmp_path / "a.fits", F150W=A, F277W=B)
    assert refusal(file) == ("holds several extensions (1: F150W, 2: F277W): say which with --fits-hdu NAME_OR_NUMBER")
    for wanted in ("F277W", "f277w", "2"):
        np.testing.assert_array_equal(one(file, fits_hdu=wanted).pixels[0], B)
    assert refusal(file, fits_hdu="3") == "has no image 3, as --fits-hdu says; it has 1: F150W, 2: F277W"
    only = units(tmp_path / "b.fits", ERR=A)
    assert "holds no picture by the names of its extensions (1: ERR)" in refusal(only)
    np.testing.assert_array_equal(one(only, fits_hdu="ERR").pixels[0], A)


@pytest.mark.parametrize("suffix", [".fit", ".fts", ".FITS", ".fits.gz", ".fits.fz", ".fz"])
def test_suffixes_of_fits(tmp_path, suffix):
    plain = units(tmp_path / "plain.fits", PRIMARY=A)
    file = tmp_path / f"a{suffix}"
    if suffix.endswith(".gz"):
        file.write_bytes(gzip.compress(plain.read_bytes()))
    elif suffix.endswith(".fz"):
        packed = fits.CompImageHDU(A, compression_type="GZIP_2", quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(file)
    else:
        file.write_bytes(plain.read_bytes())
    np.testing.assert_array_equal(decode(file)[0], A)


def test_fits_in_other_packings_by_content(tmp_path):
    """astropy knows them by their first bytes and unpacks without limit, whatever the suffix says."""
    plain = units(tmp_path / "plain.fits", PRIMARY=A).read_bytes()
    for name, content in (("packed.fits", gzip.compress(plain)), ("plain.fits.gz", plain)):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(decode(tmp_path / name)[0], A)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.fits", plain)
    for content in (bomb.getvalue(), bz2.compress(plain), lzma.compress(plain), gzip.compress(gzip.compress(plain))):
        (tmp_path / "a.fits").write_bytes(content)
        assert "is no FITS file, or one in an archive that is not gzip: unpack it" in refusal(tmp_path / "a.fits")


def test_headers_of_fits_end(tmp_path):
    plain = units(tmp_path / "plain.fits", PRIMARY=A, ERR=B).read_bytes()
    lines = b"HISTORY of a long night".ljust(80) * 36
    long = plain.replace(b"END".ljust(80), lines * 100 + b"END".ljust(80), 1)
    (tmp_path / "a.fits").write_bytes(long[: len(long) // 2880 * 2880])
    np.testing.assert_array_equal(decode(tmp_path / "a.fits")[0], A)
    endless = lines * (2**22 // 2880)
    extensions = plain + plain[plain.index(b"XTENSION") :] * 1500
    for content in (plain[:2880].replace(b"END", b"AND") + endless, plain + b"XTENSION" + endless, extensions):
        for packed in (content, gzip.compress(content)):
            (tmp_path / "a.fits").write_bytes(packed)
            assert refusal(tmp_path / "a.fits").startswith("has more than 4 MiB of headers, or one without END: ")


def test_blank_pixels_are_no_light(tmp_path):
    for kind in (np.int16, np.uint16):
        counts = RANDOM.integers(10, 3000, (20, 24)).astype(kind)
        unit = fits.PrimaryHDU(counts)
        raw = -32768 if kind == np.int16 else -32768 + 9
        unit.header["BLANK"] = raw
        marked = counts.copy()
        marked[0, :5] = -32768 if kind == np.int16 else 9
        unit.data = marked
        unit.writeto(tmp_path / f"{kind.__name__}.fits")
        assert "has 5 of its 480 pixels missing (NaN" in refusal(tmp_path / f"{kind.__name__}.fits")


def test_numbers_that_stand_for_nothing_are_no_light(tmp_path):
    for mark in (-9999.0, -99.0, -32768.0, -1e30):
        image = RANDOM.normal(0, 1, (20, 24))
        image[:3] = mark
        np.save(tmp_path / "a.npy", image)
        assert "has 72 of its 480 pixels missing (NaN" in refusal(tmp_path / "a.npy")
    for mark in (-1000.0, 1e20, 9999.0, -1e10):  # of nobody's list, and too far from the light to be light
        image = RANDOM.random((20, 24))
        image[:3], image[3, 0] = mark, np.nan
        np.save(tmp_path / "a.npy", image)
        assert "has 73 of its 480 pixels missing" in refusal(tmp_path / "a.npy")
    image[4:5] = 1e20  # at both ends
    np.save(tmp_path / "a.npy", image)
    assert "has 97 of its 480 pixels missing" in refusal(tmp_path / "a.npy")
    hot = RANDOM.normal(0, 1, (20, 24))
    hot[5, 5] = 900  # a star, or a cosmic ray
    np.save(tmp_path / "a.npy", hot)
    np.testing.assert_array_equal(decode(tmp_path / "a.npy")[0], hot.astype(np.float32))
    true = np.arange(-99.0, 381.0).reshape(20, 24)  # of its like
    np.save(tmp_path / "a.npy", true)
    np.testing.assert_array_equal(decode(tmp_path / "a.npy")[0], true)


def test_bad_pixels_are_zero_or_the_median_and_counted(tmp_path, capsys):
    folder = write_lenses(tmp_path / "set", 4, suffix=".npy")
    image = np.load(folder / "sub" / "0000.npy")
    image[:, :4] = np.nan
    np.save(folder / "sub" / "0000.npy", image)
    with pytest.raises(InputError, match=r"160 of its 1600 pixels missing .* with --bad-pixels zero or median"):
        load_images(str(folder))
    for how, value in (("zero", 0.0), ("median", np.median(image[:, 4:]))):
        images = load_images(str(folder), how=Opening(bad_pixels=how))
        assert np.unique(images.pixels[4][0][:, :4]) == pytest.approx(value)
        np.testing.assert_array_equal(images.pixels[4][0][:, 4:], image[:, 4:].astype(np.float32))
        assert "160 pixels of 1 images were missing" in capsys.readouterr().err
    np.save(folder / "sub" / "0000.npy", np.full((40, 40), np.nan))
    with pytest.raises(InputError, match="1600 of its 1600 pixels"):
        load_images(str(folder), how=Opening(bad_pixels="zero"))


# ---- pictures and archives -----------------------------------------------------------------------------------------


def test_pictures_of_courses(tmp_path):
    grey = lens_image(RANDOM, True)
    for suffix in (".bmp", ".gif", ".png", ".tif"):
        Image.fromarray(grey).save(tmp_path / f"a{suffix}")
        assert one(tmp_path / f"a{suffix}").unit == "8-bit"
        np.testing.assert_array_equal(decode(tmp_path / f"a{suffix}")[0], grey)
    Image.fromarray(grey).save(tmp_path / "a.webp", lossless=True)
    np.testing.assert_array_equal(decode(tmp_path / "a.webp")[0], grey)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".gif", ".webp"])
def test_several_pages_or_frames_are_refused(tmp_path, suffix):
    pages = [Image.fromarray(lens_image(RANDOM, bool(n % 2))) for n in range(3)]
    pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:])
    assert refusal(tmp_path / f"a{suffix}") == "holds 3 pages or frames: give one image a file"


def png16(file: Path, pixels: np.ndarray) -> None:
    """(H, W, 3) uint16 as a PNG, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_of_16_bits_keeps_them(tmp_path, channels):
    pixels = RANDOM.integers(0, 1024, (20, 24, channels)).astype(np.uint16)
    png16(tmp_path / "a.png", pixels)
    image = one(tmp_path / "a.png")
    kept = 3 if channels > 2 else 1
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels[..., :kept], 2, 0))
    assert (image.unit, image.rgb, image.high) == ("16-bit", kept == 3, image.pixels.max())


def test_npz_holds_one_image(tmp_path):
    np.savez(tmp_path / "a.npz", image=IMAGE, mass=MASS)
    np.testing.assert_array_equal(one(tmp_path / "a.npz").pixels[0], IMAGE.astype(np.float32))
    assert one(tmp_path / "a.npz").attached == MASS
    np.savez_compressed(tmp_path / "b.npz", sci=IMAGE, mask=IMAGE > 0)
    np.testing.assert_array_equal(decode(tmp_path / "b.npz")[0], IMAGE.astype(np.float32))
    np.savez(tmp_path / "c.npz", a=IMAGE, b=IMAGE)
    assert "holds several arrays (a, b)" in refusal(tmp_path / "c.npz")


def test_hdf5_holds_one_image(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/image"] = IMAGE
        file["mass"] = MASS
    np.testing.assert_array_equal(decode(tmp_path / "a.h5")[0], IMAGE.astype(np.float32))
    np.save(tmp_path / "secret.npy", IMAGE)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["image"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "group/image")
    assert refusal(tmp_path / "b.h5") == "holds no image"  # nothing is read but what was given


def test_bands(tmp_path):
    cube = RANDOM.random((5, 20, 24), dtype=np.float32)
    np.save(tmp_path / "first.npy", cube)
    np.save(tmp_path / "last.npy", np.moveaxis(cube, 0, 2))
    fits.PrimaryHDU(cube).writeto(tmp_path / "cube.fits")
    for name in ("first.npy", "last.npy", "cube.fits"):
        np.testing.assert_array_equal(decode(tmp_path / name), cube)
    for band, name in zip(cube, "grizy", strict=True):
        np.save(tmp_path / f"a_{name}.npy", band)
    files = [tmp_path / f"a_{name}.npy" for name in "grizy"]
    np.testing.assert_array_equal(of_bands(files).pixels, cube)
    np.save(files[2], cube[0][:10])
    with pytest.raises(BadImage, match="has bands of 10 x 24 and 20 x 24 pixels"):
        of_bands(files)
    np.save(tmp_path / "many.npy", np.zeros((17, 20, 24)))
    assert len(open_images(tmp_path / "many.npy")) == 17


def test_a_stack_is_many_images_of_a_class(tmp_path):
    stacks = {name: RANDOM.random((20, 40, 40), dtype=np.float32) for name in ("no_sub", "sub")}
    for name, stack in stacks.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "all.npy", stack)
    images = load_images(str(tmp_path))
    assert (len(images), images.labels.sum(), images.paths[21]) == (40, 20, "sub/all.npy/1")
    np.testing.assert_array_equal(images.pixels[20:, 0], stacks["sub"])


def test_of_a_stack_only_the_bad_images_are_left_out(tmp_path, capsys):
    stacks = {name: RANDOM.random((20, 40, 40), dtype=np.float32) for name in ("no_sub", "sub")}
    stacks["sub"][17, 0, 0] = stacks["sub"][3, :2, 0] = np.nan
    for name, stack in stacks.items():
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "all.npy", stack)
    file = tmp_path / "sub" / "all.npy"
    with pytest.raises(InputError, match=f"2 of 40 images cannot be used: {file}/3 has 2 of its 1600 pixels missing"):
        load_images(str(tmp_path))
    for _ in range(2):  # and from the cache
        images = load_images(str(tmp_path), bad_images="skip")
        assert (len(images), images.labels.sum(), images.paths[-2:]) == (38, 18, ["sub/all.npy/18", "sub/all.npy/19"])
        np.testing.assert_array_equal(images.pixels[20:, 0], np.delete(stacks["sub"], [3, 17], 0))
        assert f"warning: left out 2 of 40 images: {file}/3 has 2 of its 1600 pixels" in capsys.readouterr().err
    assert refusal(file).startswith("holds 20 images, of which image 3 has 2 of its 1600 pixels missing")


# ---- whole sets in one file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_galaxy10_s_form(tmp_path, suffix):
    images = RANDOM.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    answers = np.arange(40) % 10
    file = tmp_path / f"Galaxy10{suffix}"
    if suffix == ".npz":
        np.savez(file, images=images, ans=answers)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(file, "w") as out:
            out["images"], out["ans"] = images, answers
    for _ in range(2):  # and from the cache
        loaded = load_images(str(file))
        assert (loaded.classes, loaded.labels.tolist()) == (tuple("0123456789"), answers.tolist())
        np.testing.assert_array_equal(loaded.pixels, np.moveaxis(images, 3, 1))
        assert loaded.light.rgb.all()


def test_files_that_are_no_sets(tmp_path):
    def said(name: str) -> str:
        with pytest.raises(InputError) as error:
            load_images(str(tmp_path / name))
        return str(error.value)

    np.savez(tmp_path / "a.npz", x=np.zeros((4, 4)), labels=[0])
    assert "has no array called images of three or four dimensions: it has x (4, 4)" in said("a.npz")
    np.savez(tmp_path / "b.npz", images=np.zeros((4, 20, 20)), labels=[0, 1])
    assert "has 4 images and 2 labels" in said("b.npz")
    np.savez(tmp_path / "c.npz", images=RANDOM.random((4, 20, 20)))
    assert "has no labels" in said("c.npz")
    (tmp_path / "d.npz").write_bytes(b"PK\3\4 nothing")
    assert "cannot be read" in said("d.npz")
    (tmp_path / "e.h5").write_bytes(b"nothing")
    assert "cannot be read" in said("e.h5")
    (tmp_path / "x.zip").touch()
    assert said("x.zip") == f"--data {tmp_path / 'x.zip'}: is an archive: unpack it, and give the folder"
    (tmp_path / "x.png").touch()
    assert "is a file: give the folder" in said("x.png")


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_sets_that_are_empty_or_have_one_label(tmp_path, suffix):
    def said(**arrays: np.ndarray) -> str:
        file = tmp_path / f"a{suffix}"
        if suffix == ".npz":
            np.savez(file, **arrays)
        else:
            with pytest.importorskip("h5py").File(file, "w") as out:
                for name, array in arrays.items():
                    out[name] = array
        with pytest.raises(InputError) as error:
            load_images(str(file))
        return str(error.value)

    images = RANDOM.random((4, 20, 20))
    assert "has no labels (labels, label, ans, y): add them" in said(images=images, label=np.array(3))
    empty = said(images=np.zeros((0, 32, 32, 3)), labels=np.zeros(0))
    assert "has no image in images (0, 32, 32, 3): give one at least" in empty
    assert "has 4 images and 3 y" in said(images=images, label=np.array(3), y=np.arange(3))


def test_an_archive_is_unpacked_where_it_is_the_set_and_within_a_limit(tmp_path, monkeypatch):
    images, labels = RANDOM.random((4, 20, 20)), np.arange(4) % 2
    file = tmp_path / "a.npz"
    np.savez_compressed(file, images=images, labels=labels, notes=objects("of", "somebody"), more=np.zeros(2**16))
    monkeypatch.setattr("deeplense.data.setfile.MAX_STACK", images.nbytes + 128)
    np.testing.assert_array_equal(load_images(str(file)).pixels[:, 0], images.astype(np.float32))
    np.savez_compressed(file, images=np.zeros((5, 20, 20)), labels=np.arange(5) % 2)
    with pytest.raises(InputError, match=r"has 0.0 GiB in images.npy: make an HDF5 file of it, or a packed set"):
        load_images(str(file))
    with zipfile.ZipFile(file, "w") as archive, archive.open("images.npy", "w") as member:
        lie = {"descr": "<f8", "fortran_order": False, "shape": (4000, 40, 40)}
        np.lib.format.write_array_header_1_0(member, lie)
    with pytest.raises(InputError, match=r"promises an array of \(4000, 40, 40\) in images.npy and has less"):
        load_images(str(file), labelled=False)
    with zipfile.ZipFile(file, "w") as archive:  # a header that does not end, of which numpy makes another error
        whole = io.BytesIO()
        np.lib.format.write_array_header_1_0(whole, lie)
        archive.writestr("images.npy", whole.getvalue().replace(b"}", b" "))
    with pytest.raises(InputError, match="cannot be read"):
        load_images(str(file), labelled=False)


# ---- packed sets that others have touched --------------------------------------------------------------------------


def packed(folder: Path, rows: list[str], header: str = "index,class", bom: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "images.npy", RANDOM.random((6, 20, 20), dtype=np.float32))
    (folder / "dataset.json").write_text(json.dumps({"name": "mine", "classes": ["sub", "no_sub"]}))
    (folder / "catalog.csv").write_text("\n".join([bom + header, *rows]) + "\n", encoding="utf-8")
    return folder


def test_a_catalogue_that_was_sorted_is_read_by_its_index(tmp_path):
    rows = [f"{index},{'sub' if index % 2 else 'no_sub'}" for index in range(6)]
    images = load_images(str(packed(tmp_path, sorted(rows, key=lambda row: row.split(",")[1]), bom="﻿")))
    assert images.labels.tolist() == [0, 1] * 3
    with pytest.raises(InputError, match=r"line 7 has the index 0: give each of 0 to 5 once"):
        load_images(str(packed(tmp_path, [*rows[:5], "0,sub"])))


def test_parts_of_a_catalogue(tmp_path):
    rows = [f"{index},{'sub' if index % 2 else 'no_sub'}" for index in range(6)]
    words = ["Train", "training", "valid", "validation", "TEST", "testing"]
    split = [f"{row},{word}" for row, word in zip(rows, words, strict=True)]
    assert load_images(str(packed(tmp_path, split, "index,class,part"))).parts == [
        "train", "train", "val", "val", "test", "test",
    ]  # fmt: skip
    with pytest.raises(InputError, match="image 0 has no part, and others have"):
        load_images(str(packed(tmp_path, [rows[0] + ",", *split[1:]], "index,class,part")))
    with pytest.raises(InputError, match="image 0 has the part «x»"):
        load_images(str(packed(tmp_path, [rows[0] + ",x", *split[1:]], "index,class,part")))


def test_somebody_else_s_description_in_a_folder_of_classes(tmp_path):
    folder = write_lenses(tmp_path / "set", 3)
    (folder / "dataset.json").write_text('{"license": "MIT"}')
    assert len(load_images(str(folder))) == 6


def test_somebody_else_s_description_in_a_flat_folder(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    for file in write_lenses(tmp_path / "set", 3).rglob("*.png"):
        file.rename(folder / f"{file.parent.name}_{file.name}")
    (folder / "dataset.json").write_text('{"license": "MIT"}')
    assert len(load_images(str(folder), labelled=False)) == 6


def test_names_in_other_encodings(tmp_path):
    import os

    folder = write_lenses(tmp_path / "set", 3)
    strange = os.fsencode(folder / "sub") + b"/caf\xe9.png"
    (folder / "sub" / "0000.png").rename(os.fsdecode(strange))
    images = load_images(str(folder))
    assert "sub/caf\\xe9.png" in images.paths
    Path(os.fsdecode(strange)).write_bytes(b"no picture")
    with pytest.raises(InputError, match="1 of 6 images cannot be used"):
        load_images(str(folder))


def test_deep_colour_of_a_tiff_is_refused_and_not_cut_to_eight_bits(tmp_path):
    """Written by hand, since nothing here writes it: Pillow would give 12 grey levels of these counts."""
    counts = RANDOM.integers(0, 3000, (16, 16, 3)).astype("<u2")
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
               (277, 3, 1, 3), (278, 3, 1, 16), (279, 4, 1, counts.nbytes)]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    start = 14 + counts.nbytes
    file = b"II*\0" + struct.pack("<IHHH", start, 16, 16, 16) + counts.tobytes() + directory
    (tmp_path / "a.tif").write_bytes(file)
    assert "is a TIFF of more than 8 bits with colour" in refusal(tmp_path / "a.tif")
    assert "save it as a PNG of 16 bits, or as .npy or FITS" in refusal(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0" + bytes(200))
    assert "is damaged, or of a kind that is not read: save it as PNG" in refusal(tmp_path / "b.tif")


def test_several_pictures_of_the_same_name_are_listed(tmp_path):
    """HST has an SCI for each chip."""
    units = [fits.ImageHDU(IMAGE + number, name="SCI", ver=number + 1) for number in range(2)]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / "a.fits")
    assert "has 2 images sci (1: SCI, 2: SCI): give the number of one" in refusal(tmp_path / "a.fits", fits_hdu="sci")
    np.testing.assert_allclose(one(tmp_path / "a.fits", fits_hdu="2").pixels[0], IMAGE + 1, rtol=1e-6)


@pytest.mark.parametrize(("shape", "count"), [((1, 20, 24, 1), 1), ((3, 20, 24, 1), 3), ((3, 20, 24, 5), 3)])
def test_channels_that_come_last_in_a_stack(tmp_path, shape, count):
    """As Keras has them."""
    stack = RANDOM.random(shape)
    np.save(tmp_path / "a.npy", stack)
    images = open_images(tmp_path / "a.npy")
    assert len(images) == count
    np.testing.assert_allclose(images[-1].pixels, np.moveaxis(stack[-1], 2, 0), rtol=1e-6)


def test_missing_pixels_of_packed_sets_are_mended_as_well(tmp_path, capsys):
    images = RANDOM.random((6, 20, 24)).astype(np.float32)
    images[1, :2] = np.nan
    images[2, :3] = -9999
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "dataset.json").write_text(json.dumps({"classes": ["no_sub", "sub"]}))
    rows = "".join(f"{index};{'no_sub' if index % 2 else 'sub'}\n" for index in range(6))
    (tmp_path / "catalog.csv").write_text(f"index;class\n{rows};\n")  # as a spreadsheet leaves it
    with pytest.raises(InputError, match=r"2 of 6 images have pixels missing .* fill them with --bad-pixels zero"):
        load_images(str(tmp_path))
    mended = load_images(str(tmp_path), how=Opening(bad_pixels="zero"))
    assert "120 pixels of 2 images were missing, and are zero now" in capsys.readouterr().err
    assert not mended.pixels[1, 0, :2].any()
    assert not mended.pixels[2, 0, :3].any()
    assert mended.labels.tolist() == [1, 0] * 3
    assert np.isnan(np.load(tmp_path / "images.npy")).sum() == 48  # the file is left alone
    (tmp_path / "catalog.csv").write_text("number,label\n" + "0,sub\n" * 6)
    with pytest.raises(InputError, match="has no column class, but number, label: name it so"):
        load_images(str(tmp_path))
