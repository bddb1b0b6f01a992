"""Wild files: each is opened or refused in one line, soon, in little memory, and nothing is run or written.

The mutations of a format are tried in a process of their own, so that a library that crashes is noticed, too.
`python tests/data/test_fuzz.py` prints counts, worst times and memory.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SECONDS, GIBIBYTES = 5.0, 1.0
MUTATIONS = 2000

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (40, 48), dtype=np.uint8)
FLOATS = RANDOM.random((40, 48))


def written(suffix: str, save: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"a{suffix}"
        save(file)
        return file.read_bytes()


def picture(suffix: str, colour: bool = False) -> bytes:
    from PIL import Image

    image = Image.fromarray(np.stack([GREY] * 3, 2) if colour else GREY)
    return written(suffix, image.save)


def fits_of(suffix: str) -> bytes:
    from astropy.io import fits

    planes = [fits.PrimaryHDU(), fits.ImageHDU(FLOATS, name="SCI"), fits.ImageHDU(GREY, name="DQ")]
    if suffix == ".fits.fz":
        planes[1] = fits.CompImageHDU(FLOATS.astype(np.float32), name="SCI")
    return written(suffix, fits.HDUList(planes).writeto)


def pickled(*items: Any) -> bytes:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def hdf5_of() -> bytes:
    import h5py

    def save(file: Path) -> None:
        with h5py.File(file, "w") as out:
            out.create_dataset("images", data=FLOATS, compression="gzip", chunks=(8, 8))
            out["mass"] = 1e-23

    return written(".h5", save)


def seeds() -> dict[str, list[bytes]]:
    """A few whole files of each format."""
    return {
        ".jpg": [picture(".jpg"), picture(".jpg", colour=True)],
        ".png": [picture(".png"), picture(".png", colour=True)],
        ".tif": [picture(".tif"), picture(".tif", colour=True)],
        ".webp": [picture(".webp", colour=True)],
        ".bmp": [picture(".bmp")],
        ".gif": [picture(".gif")],
        ".npy": [
            written(".npy", lambda file: np.save(file, FLOATS)),
            written(".npy", lambda file: np.save(file, FLOATS.ravel()[:1601])),
            pickled(FLOATS, 1e-23),
            pickled(*FLOATS, 1e-23),
            pickled({"image": FLOATS, "mass": 1e-23}, [1, [2]]),
        ],
        ".npz": [
            written(".npz", lambda file: np.savez(file, image=FLOATS, mass=1e-23)),
            written(".npz", lambda file: np.savez_compressed(file, image=FLOATS)),
        ],
        ".fits": [fits_of(".fits")],
        ".fits.gz": [fits_of(".fits.gz")],
        ".fits.fz": [fits_of(".fits.fz")],
        ".h5": [hdf5_of()],
    }


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """The file cut, flipped, lengthened, or with a header that lies."""
    out = bytearray(content)
    for _ in range(random.integers(1, 4)):
        kind = random.integers(7)
        place = int(random.integers(len(out))) if len(out) else 0
        head = int(random.integers(min(len(out), 512))) if len(out) else 0
        if kind == 0:
            del out[place:]
        elif kind == 1:
            for spot in random.integers(len(out), size=random.integers(1, 9)) if len(out) else []:
                out[spot] ^= 1 << random.integers(8)
        elif kind == 2:
            out += random.bytes(int(random.integers(1, 5000)))
        elif kind == 3:  # numbers in a binary header
            extreme = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0" * 4, b"\0\0\x10\0", b"\xff" * 8]
            value = extreme[random.integers(len(extreme))]
            out[head : head + len(value)] = value
        elif kind == 4:  # digits of one in text
            digits = [spot for spot, sign in enumerate(out[:12000]) if 48 <= sign <= 57]
            if digits:
                out[digits[random.integers(len(digits))]] = 48 + int(random.integers(10))
        elif kind == 5:  # a piece of it elsewhere
            piece = out[place : place + int(random.integers(1, 200))]
            spot = int(random.integers(len(out) + 1))
            out[spot:spot] = piece
        else:
            spot = head if random.integers(2) else place
            out[spot : spot + 1] = random.bytes(1)
    return bytes(out)


class Evil:
    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def gzipped(start: bytes, piece: bytes, times: int) -> bytes:
    """A start, and a piece again and again."""
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as out:
        out.write(start)
        for _ in range(times):
            out.write(piece)
    return file.getvalue()


def crafted(suffix: str, mark: str) -> list[bytes]:
    """What nobody makes by accident: bombs, and pickles within pickles."""
    zeros = bytes(2880)
    if suffix in (".fits", ".fits.gz"):
        lines = b"HISTORY of a long night".ljust(80) * 36
        start = fits_of(".fits")
        endless = start[:2880].replace(b"END", b"AND")
        headers = start[start.index(b"XTENSION") :]
        bomb = io.BytesIO()
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.fits", "w") as member:
            member.write(start)
            for _ in range(200_000):
                member.write(zeros)
        return [
            bomb.getvalue(),
            gzipped(start, zeros, 200_000),  # 576 MB
            gzipped(endless, lines, 32_000),  # 92 MB
            gzipped(endless, lines, 93_000),  # just admitted
            gzipped(start + b"XTENSION", lines, 93_000),
            gzipped(start, headers, 2**28 // len(headers) - 1),
            endless + lines * 32_000,
        ]
    if suffix == ".npz":
        bomb, lie, nested = io.BytesIO(), io.BytesIO(), io.BytesIO()
        with (
            zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out,
            out.open("a.npy", "w", force_zip64=True) as member,
        ):
            np.lib.format.write_array_header_1_0(member, header((8192, 8192, 8), "<f8"))
            for _ in range(100_000):
                member.write(zeros)
        with zipfile.ZipFile(lie, "w") as out, out.open("a.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header((4000, 4000), "<f8"))
        with zipfile.ZipFile(nested, "w") as out:
            out.writestr("a.npy", pickled(FLOATS, Evil(mark)))
        return [bomb.getvalue(), lie.getvalue(), nested.getvalue()]
    if suffix == ".npy":
        start = io.BytesIO()
        np.lib.format.write_array_header_1_0(start, header((2,), "|O"))
        programs = [
            pickle.dumps([pickle.dumps(Evil(mark)), Evil(mark)]),
            b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists within lists
            b"\x80\x04" + b"r\xff\xff\xff\x7f".join([b"]"] * 3) + b".",  # a memo of 2^31 places
            b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",  # a byte array of 2^40
            b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00.",  # bytes of 2^40
            b"\x80\x04" + b"]" + b"\x94h\x00h\x00e" * 1000 + b".",
            b"\x80\x02]q\x00" + b"(h\x00h\x00h\x00e" * 2000 + b".",  # a list of itself
            b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f].",
            b"\x80\x02" + b"\x8b\xff\xff\xff\x7f.",
        ]
        lies = [
            header(shape, "<f8") for shape in ((1 << 40,), (4000, 4000), (1 << 20, 1 << 20), (-1, 8), (64, 1 << 60))
        ]
        started = [start.getvalue() + program for program in programs]
        for lie in lies:
            file = io.BytesIO()
            np.lib.format.write_array_header_1_0(file, lie)
            started.append(file.getvalue())
        return started
    return []


def header(shape: tuple[int, ...], descr: str) -> dict[str, Any]:
    return {"descr": descr, "fortran_order": False, "shape": shape}


def attack(suffix: str, count: int) -> dict[str, Any]:
    """Open `count` mutations, in this process."""
    from deeplense.data.decode import BadImage, open_images

    worst, opened, refused = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        mark, file = f"{folder}/mark", Path(folder) / f"a{suffix}"
        os.chdir(folder)
        whole = seeds()[suffix]
        random = np.random.default_rng(len(suffix))
        extra = crafted(suffix, mark)
        for number in range(count + len(extra)):
            content = mutated(whole[number % len(whole)], random) if number < count else extra[number - count]
            file.write_bytes(content)
            print(number, file=sys.stderr)  # the last one tells where a library has crashed
            before = time.perf_counter()
            try:
                for image in open_images(file):
                    assert image.pixels.ndim == 3
                    assert np.isfinite(image.pixels).all()
                opened += 1
                said = ""
            except BadImage as error:
                said = str(error)
                refused += 1
            worst = max(worst, time.perf_counter() - before)
            assert "\n" not in said, said
            assert len(said) < 1000, said
            assert sorted(path.name for path in Path(folder).iterdir()) == [file.name]
    # Not `ru_maxrss`, which begins with what the process that started this one has held.
    status = Path("/proc/self/status").read_text()
    peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 2**20
    return {"opened": opened, "refused": refused, "seconds": worst, "gibibytes": peak}


def attack_apart(suffix: str, count: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, suffix, str(count)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, f"{suffix}: exit {done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


FORMATS = (
    ".jpg", ".png", ".tif", ".webp", ".bmp", ".gif", ".npy", ".npz", ".fits", ".fits.gz", ".fits.fz", ".h5",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("suffix", FORMATS)
def test_wild_files_are_opened_or_refused(suffix):
    found = attack_apart(suffix, MUTATIONS)
    assert found["opened"] + found["refused"] >= MUTATIONS
    assert found["refused"] > 0
    assert found["seconds"] < SECONDS
    assert found["gibibytes"] < GIBIBYTES


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_some_wild_files_at_any_time(suffix):
    found = attack_apart(suffix, 40)
    assert found["seconds"] < SECONDS
    assert found["gibibytes"] < GIBIBYTES


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(attack(sys.argv[1], int(sys.argv[2]))))
    else:
        for one in FORMATS:
            print(one, attack_apart(one, MUTATIONS), flush=True)
