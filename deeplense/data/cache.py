"""The cache of decoded folders: each is decoded once, into a packed set that appears whole or not at all."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import io
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import platformdirs
from tqdm import tqdm

from deeplense.content import content_hash
from deeplense.data.decode import BadImage, Decoded, Reading, of_bands, open_each
from deeplense.data.decode.pixels import MISSING
from deeplense.data.imageset import ImageSet, Light
from deeplense.data.layout import Listed
from deeplense.data.mixed import Form, Mixed
from deeplense.data.names import ordered_classes
from deeplense.data.near import look_of
from deeplense.data.opening import tell
from deeplense.data.packed import is_packed, write_packed
from deeplense.data.tree import printable
from deeplense.errors import InputError

CACHE_VERSION = 5
"""Part of every key: raise it when decoding changes."""

_HEADER = 128
"""Bytes of a `.npy` header, which is written last, when the number of images is known."""

Skipped = list[tuple[str, str]]
"""Path and reason."""


@dataclasses.dataclass(frozen=True)
class Known:
    """One decoded image, and what was found out about it."""

    image: Decoded
    sha256: str
    look: np.ndarray


def cache_folder() -> Path:
    """Where decoded folders and simulated sets are kept: `$DEEPLENSE_CACHE`, or the user's cache."""
    return Path(os.environ.get("DEEPLENSE_CACHE") or platformdirs.user_cache_dir("deeplense"))


def key_of(folder: Path, listed: list[Listed], reading: Reading) -> str:
    """Name of the cached set: changes with any file's name, size or times, without reading 10,000 files.

    The time of the last change of the inode cannot be set by hand, so even an edit that keeps size and
    modification time gets a new key.
    """
    digest = hashlib.sha256(f"version {CACHE_VERSION} {reading}\n".encode())
    for item in listed:
        for path in (item.path, *item.bands):
            status = (folder / path).stat()
            line = f"{path}\0{item.name}\0{item.part}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return f"folder-{digest.hexdigest()[:24]}"


def decode_into(kept: Path, folder: Path, listed: list[Listed], reading: Reading, bad_images: str) -> None:
    """Decode a folder into the packed set `kept`; raises as `pack_into`."""
    pack_into(kept, folder, listed, _decode_all(folder, listed, reading), bad_images)


def pack_into(
    kept: Path, source: Path, listed: list[Listed], decoded: Iterator[list[Known | str]], bad_images: str
) -> None:
    """Write images into the packed set `kept`.

    Args:
        source: where they come from.
        listed: their files.
        decoded: the images of each file, or what is wrong with one of them, or the file.

    Raises:
        InputError: images cannot be used and `bad_images` is `error`, or no image of a class can; or the cache cannot
            be written.
    """
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix="decoding-", dir=kept.parent))
    except OSError as error:
        raise _no_cache(kept.parent, error) from None
    try:
        images, about, columns = _pack(aside, source, listed, decoded, bad_images)
        write_packed(aside, images, {"name": source.name, "version": CACHE_VERSION, **about}, columns)
        aside.rename(kept)
    except OSError as error:
        if not is_packed(kept):  # else another process was faster
            raise _no_cache(kept.parent, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def complain(folder: Path, skipped: Skipped, total: int, bad_images: str, remedy: str = "mend or remove them") -> None:
    """Stop at, or warn of, images that cannot be used, of `total` that there are."""
    if not skipped:
        return
    count = f"{len(skipped)} of {total} images"
    named = "; ".join(f"{folder / path} {reason}" for path, reason in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    if any(MISSING in reason for _, reason in skipped):
        remedy = f"fill missing pixels with --bad-pixels zero or median, {remedy}"
    if bad_images == "error":
        raise InputError(f"{count} cannot be used: {named}{more}: {remedy}, or leave them out with --bad-images skip")
    tell(f"left out {count}: {named}{more}", "warning")


def _pack(
    aside: Path, source: Path, listed: list[Listed], decoded: Iterator[list[Known | str]], bad_images: str
) -> tuple[ImageSet, dict[str, object], dict[str, list[str]]]:
    """Decode to `aside/images.npy`, through a file that grows, so that memory holds one image at a time.

    Returns:
        The set, what its description is to say, and further columns of its catalogue.
    """
    kept: list[Listed] = []
    paths: list[str] = []
    known: list[Known] = []  # without their pixels
    forms: list[Form] = []
    skipped: Skipped = []
    with (aside / "images.npy").open("wb") as file:
        file.write(bytes(_HEADER))
        for item, own in zip(listed, decoded, strict=True):
            for number, one in enumerate(own):
                place = "" if len(own) == 1 else f"/{number}"
                if isinstance(one, str):
                    skipped.append((item.path + place, one))
                    continue
                pixels = one.image.pixels
                kept.append(item)
                paths.append(printable(item.path) + place)
                forms.append((pixels.dtype.name, pixels.shape))
                file.write(pixels.tobytes())
                known.append(dataclasses.replace(one, image=dataclasses.replace(one.image, pixels=pixels[:0])))
        gone = {item.name for item in kept} != {item.name for item in listed}
        if bad_images == "error" or gone:
            complain(source, skipped, len(kept) + len(skipped), "error")  # a whole class gone is nothing to skip over
        length = file.tell() - _HEADER
        alike = len(set(forms)) == 1
        kind, shape = (forms[0][0], (len(forms), *forms[0][1])) if alike else ("uint8", (length,))
        file.seek(0)
        file.write(_npy_header(np.dtype(kind), shape))
    pixels = np.load(aside / "images.npy", mmap_mode="r")
    np.save(aside / "looks.npy", np.array([one.look for one in known], dtype=np.float16))
    classes = ordered_classes(item.name for item in kept if item.name)
    images = ImageSet(
        pixels=pixels if alike else Mixed.of(pixels, forms),
        labels=np.array([classes.index(item.name) for item in kept], dtype=np.int64) if classes else None,
        classes=classes,
        paths=paths,
        hashes=[one.sha256 for one in known],
        parts=[item.part for item in kept] if any(item.part for item in kept) else None,
        light=Light(
            unit=np.array([one.image.unit for one in known]),
            high=np.array([one.image.high for one in known]),
            rgb=np.array([one.image.rgb for one in known]),
        ),
    )
    mended = [one.image.mended for one in known]
    about: dict[str, object] = {
        "made_of": printable(str(source.resolve())),
        "skipped": skipped,
        "mended": [sum(mended), sum(count > 0 for count in mended)],
    }
    return images, about, _attached([one.image.attached for one in known])


def _attached(numbers: list[float | None]) -> dict[str, list[str]]:
    """Columns for what files keep beside their images: a mass in eV, or, where it is whole, a label of somebody's."""
    if all(number is None for number in numbers):
        return {}
    whole = all(number is None or number == round(number) for number in numbers)
    return {"label_in_file" if whole else "mass": ["" if n is None else f"{n:g}" for n in numbers]}


def _npy_header(kind: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Of fixed length, for it is written when the pixels are there."""
    header = io.BytesIO()
    descr = np.lib.format.dtype_to_descr(kind)
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    assert len(header.getvalue()) == _HEADER
    return header.getvalue()


def _decode_all(folder: Path, listed: list[Listed], reading: Reading) -> Iterator[list[Known | str]]:
    """The images of each file in order, or what is wrong with one of them, or the file, decoded on all cores."""
    jobs = [([folder / path for path in (item.path, *item.bands)], reading) for item in listed]
    bar = tqdm(total=len(jobs), desc=f"decoding {folder.name}", unit="image", disable=None)
    cores = joblib.cpu_count()
    if cores == 1 or len(jobs) < 500:  # processes take longer to start than that
        for job in jobs:
            yield _decode_one(job)
            bar.update()
    else:
        # Not forked: torch's threads in the parent would leave locks behind that nobody releases.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(cores, mp_context=context) as pool:
            for decoded in pool.map(_decode_one, jobs, chunksize=64):
                yield decoded
                bar.update()
    bar.close()


def _decode_one(job: tuple[list[Path], Reading]) -> list[Known | str]:
    files, reading = job
    try:
        images = open_each(files[0], reading) if len(files) == 1 else [of_bands(files, reading)]
    except BadImage as error:
        return [str(error)]
    return [
        str(image)
        if isinstance(image, BadImage)
        else Known(image, content_hash(image.pixels), look_of(image.pixels, image.rgb))
        for image in images
    ]


def _no_cache(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"the cache {folder} cannot be written ({error.strerror}): "
        "make room there, or set DEEPLENSE_CACHE to a folder that has it"
    )
