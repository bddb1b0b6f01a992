import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deeplense.content import content_hash
from deeplense.data.decode import BadImage, decode

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (20, 24), dtype=np.uint8)
WORDS = RANDOM.integers(0, 65536, (20, 24), dtype=np.uint16)
FLOATS = RANDOM.random((20, 24))
COLOUR = RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8)


def saved(folder: Path, name: str, array: np.ndarray) -> Path:
    file = folder / name
    if file.suffix == ".npy":
        np.save(file, array)
    elif file.suffix == ".npz":
        np.savez_compressed(file, image=array)
    elif file.suffix == ".fits":
        fits.PrimaryHDU(array).writeto(file)
    else:
        Image.fromarray(array).save(file)
    return file


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.png", BYTES),
        ("a.png", WORDS),
        ("a.tif", BYTES),
        ("a.tiff", WORDS),
        ("a.TIF", FLOATS.astype(np.float32)),
        ("a.npy", BYTES),
        ("a.npy", WORDS),
        ("a.npy", FLOATS),
        ("a.npy", FLOATS.astype(">f4")),
        ("a.npy", FLOATS.astype(np.float16)),
        ("a.npy", np.asfortranarray(FLOATS)),
        ("a.npy", RANDOM.integers(-5, 5000, (20, 24))),
        ("a.npy", FLOATS[None]),
        ("a.npy", FLOATS[..., None]),
        ("a.npy", COLOUR),
        ("a.npy", np.moveaxis(COLOUR, 2, 0)),
        ("a.fits", FLOATS.astype(np.float32)),
        ("a.fits", FLOATS[None, None]),
        ("a.fits", BYTES),
        ("a.fits", WORDS),
        ("a.png", COLOUR),
    ],
)
def test_pixels_come_back_as_written(tmp_path, name, array):
    image = decode(saved(tmp_path, name, array))
    expected = np.squeeze(array)
    expected = np.moveaxis(expected, 2, 0) if expected.shape[-1] == 3 else expected
    expected = expected if expected.ndim == 3 else expected[None]
    assert image.shape == expected.shape
    assert image.dtype == (array.dtype if array.dtype in (np.uint8, np.uint16) else np.float32)
    np.testing.assert_array_equal(image, expected.astype(image.dtype))


def test_jpeg_palette_and_transparency(tmp_path):
    grey, colour = Image.fromarray(BYTES), Image.fromarray(COLOUR)
    grey.save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg")[0], np.asarray(Image.open(tmp_path / "a.jpg")))
    colour.convert("RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(decode(tmp_path / "b.png"), np.moveaxis(COLOUR, 2, 0))
    colour.quantize(16).save(tmp_path / "c.png")
    assert decode(tmp_path / "c.png").shape == (3, 20, 24)
    grey.convert("1").save(tmp_path / "d.png")
    assert set(np.unique(decode(tmp_path / "d.png"))) == {0, 255}


def test_deeplensesim_axion_file_opens(tmp_path):
    pair = np.empty(2, dtype=object)
    pair[:] = [FLOATS, 1e-23]
    np.save(tmp_path / "axion.npy", pair, allow_pickle=True)
    np.testing.assert_array_equal(decode(tmp_path / "axion.npy")[0], FLOATS.astype(np.float32))


def test_axion_file_of_numpy_1_opens(tmp_path):
    pair = np.empty(2, dtype=object)
    pair[:] = [FLOATS, np.float64(1e-23)]
    np.save(tmp_path / "new.npy", pair, allow_pickle=True)
    old = (tmp_path / "new.npy").read_bytes().replace(b"\x16numpy._core.multiarray", b"\x15numpy.core.multiarray")
    frame = old.index(b"\x80\x04\x95") + 3  # the pickle's frame is as many bytes shorter as names were
    length = len(old) - frame - 8
    (tmp_path / "old.npy").write_bytes(old[:frame] + length.to_bytes(8, "little") + old[frame + 8 :])
    assert b"numpy._core" not in (tmp_path / "old.npy").read_bytes()
    np.testing.assert_array_equal(decode(tmp_path / "old.npy")[0], FLOATS.astype(np.float32))


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_pickle_never_runs(tmp_path, protocol):
    mark = tmp_path / "mark"
    pair = np.empty(2, dtype=object)
    pair[:] = [FLOATS, Evil(mark)]
    file = tmp_path / "evil.npy"
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": (2,)})
        pickle.dump(pair, out, protocol=protocol)
    with pytest.raises(BadImage, match=r"asks for [\w.]+: only numpy arrays are admitted"):
        decode(file)
    assert not mark.exists()
    np.load(file, allow_pickle=True)  # what it would have done
    assert mark.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "os.system"])
def test_other_names_are_refused(tmp_path, name):
    module, attribute = name.rsplit(".", 1)
    payload = b"c" + module.encode() + b"\n" + attribute.encode() + b"\n(S'x'\ntR."
    file = tmp_path / "a.npy"
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": (2,)})
        out.write(payload)
    with pytest.raises(BadImage, match=name):
        decode(file)


def refusal(file: Path) -> str:
    with pytest.raises(BadImage) as error:
        decode(file)
    return str(error.value)


def test_each_fault_has_its_reason(tmp_path):
    Image.fromarray(np.tile(BYTES, (5, 5))).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refusal(tmp_path / "cut.jpg")
    (tmp_path / "zero.png").touch()
    assert refusal(tmp_path / "zero.png") == "is empty"
    (tmp_path / "text.npy").write_text("not an array, whatever its name says")
    assert "cannot be read" in refusal(tmp_path / "text.npy")
    spoilt = FLOATS.copy()
    spoilt[2, 3:5] = [np.nan, np.inf]
    assert "has 2 of its 480 pixels missing (NaN" in refusal(saved(tmp_path, "nan.npy", spoilt))
    assert "has 2 of its 480 pixels missing (NaN" in refusal(saved(tmp_path, "nan.fits", spoilt))
    assert "has 480 of its 480 pixels missing (NaN" in refusal(saved(tmp_path, "big.npy", np.full((20, 24), 1e300)))
    assert "0 x 24 pixels" in refusal(saved(tmp_path, "none.npy", np.zeros((0, 24))))
    assert "9999 x 10" in refusal(saved(tmp_path, "long.npy", np.zeros((9999, 10), np.uint8)))
    assert "shape (20,)" in refusal(saved(tmp_path, "line.npy", np.zeros(20)))
    assert "shape (3, 3, 20, 24)" in refusal(saved(tmp_path, "two.npz", np.zeros((3, 3, 20, 24))))
    assert "complex" in refusal(saved(tmp_path, "complex.npy", np.zeros((20, 24), complex)))
    fits.PrimaryHDU().writeto(tmp_path / "none.fits")
    assert refusal(tmp_path / "none.fits") == "holds no image"


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (4000, 4000)})
        file.write(b"\0" * 64)
    assert "cannot be read" in refusal(tmp_path / "a.npy")


@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["pickle.npy", "plain.npy", "a.jpg", "a.png", "a.tif", "a.fits"]))
def test_wild_files_are_refused_and_nothing_else(tmp_path_factory, data, kind):
    """Whatever bytes are changed, cut or added: an image or a `BadImage`, never another error."""
    folder = tmp_path_factory.mktemp("wild")
    file = folder / kind
    if kind == "pickle.npy":
        pair = np.empty(2, dtype=object)
        pair[:] = [FLOATS[:8, :8], 1e-23]
        np.save(file, pair, allow_pickle=True)
    else:
        saved(folder, kind, BYTES)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    file.write_bytes(bytes(content[:cut]) if data.draw(st.booleans()) else bytes(content))
    try:
        image = decode(file)
    except BadImage:
        return
    assert image.ndim == 3
    assert np.isfinite(image).all()


def test_hash_is_of_the_content(tmp_path):
    png, tif, npy = (decode(saved(tmp_path, name, BYTES)) for name in ("a.png", "b.tif", "c.npy"))
    assert content_hash(png) == content_hash(tif) == content_hash(npy) == content_hash(BYTES)
    assert content_hash(FLOATS) == content_hash(FLOATS.astype(np.float32))
    assert content_hash(BYTES) != content_hash(BYTES.astype(np.uint16))
    assert content_hash(BYTES) != content_hash(BYTES.reshape(24, 20))
    assert content_hash(BYTES) != content_hash(BYTES[::-1])
