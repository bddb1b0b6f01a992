"""From WHERE, as the user wrote it, to an `ImageSet`: class folders, packed sets, flat folders."""

from __future__ import annotations

import concurrent.futures
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import platformdirs
from tqdm import tqdm

from deeplense.content import content_hash
from deeplense.data.decode import SUFFIXES, BadImage, decode
from deeplense.data.imageset import ImageSet, ordered_classes
from deeplense.data.packed import is_packed, read_about, read_packed, write_packed
from deeplense.errors import InputError

CACHE_VERSION = 1
"""Part of every key: raise it when decoding changes."""

PART_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class Listed(NamedTuple):
    """One file of a folder, before it is opened."""

    path: str
    """Relative to the folder, with forward slashes."""
    name: str
    """Its class; empty in a flat folder."""
    part: str
    """`train`, `val`, `test`, or empty."""


def load_images(where: str, bad_images: str = "error", labelled: bool = True) -> ImageSet:
    """Open the images at `where`: a packed set, or a folder, which is decoded once and kept in the cache.

    Args:
        where: the folder.
        bad_images: `error` or `skip`, for images that cannot be used.
        labelled: whether a flat folder of images, without classes, is refused.

    Raises:
        InputError: there is no such folder, it holds no images or not two classes, or images cannot be used.
    """
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise InputError(f"--data {where}: there is no such folder")
    if is_packed(folder):
        return read_packed(folder, bad_images)
    try:
        listed = list_folder(folder, labelled)
        kept = cache_folder() / _key(folder, listed)
    except OSError as error:
        raise InputError(f"--data: {error.filename} cannot be read ({error.strerror}): mend or remove it") from None
    if not is_packed(kept):
        _decode_into(kept, folder, listed, bad_images)
    _complain(folder, read_about(kept)["skipped"], len(listed), bad_images)
    return read_packed(kept)


def cache_folder() -> Path:
    """Where decoded folders and simulated sets are kept: `$DEEPLENSE_CACHE`, or the user's cache."""
    return Path(os.environ.get("DEEPLENSE_CACHE") or platformdirs.user_cache_dir("deeplense"))


def list_folder(folder: Path, labelled: bool) -> list[Listed]:
    """The images below `folder`, in order of path: in class folders, in those below train/ and val/, or flat."""
    inner = _subfolders(folder)
    if any(path.name == "train" for path in inner) and all(path.name in PART_FOLDERS for path in inner):
        listed = [
            Listed(f"{part.name}/{path}", name, PART_FOLDERS[part.name])
            for part in inner
            for path, name in _list_classes(part)
        ]
    elif inner:
        listed = [Listed(path, name, "") for path, name in _list_classes(folder)]
    elif labelled:
        raise InputError(f"--data {folder}: has no class folders: give a folder with one folder for each class")
    else:
        listed = [Listed(path.name, "", "") for path in _files(folder)]
        if not listed:
            raise InputError(f"--data {folder}: holds no images ({' '.join(SUFFIXES)})")
    names = sorted({item.name for item in listed})
    if labelled and len(names) < 2:
        raise InputError(f"--data {folder}: has one class ({names[0]}): two are needed to tell apart")
    return listed


def _list_classes(folder: Path) -> Iterator[tuple[str, str]]:
    for inner in _subfolders(folder):
        files = _files(inner)
        if not files:
            raise InputError(
                f"--data: the class folder {inner} holds no images ({' '.join(SUFFIXES)}): fill it or remove it"
            )
        yield from ((f"{inner.name}/{file.name}", inner.name) for file in files)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    # A suffix is enough to be meant as an image; what is in the file is decode's affair.
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _key(folder: Path, listed: list[Listed]) -> str:
    """Name of the cached set: changes with any file's name, size or times, without reading 10,000 files.

    The time of the last change of the inode cannot be set by hand, so even an edit that keeps size and
    modification time gets a new key.
    """
    digest = hashlib.sha256(f"version {CACHE_VERSION}\n".encode())
    for item in listed:
        status = (folder / item.path).stat()
        digest.update(f"{item.path}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n".encode())
    return f"folder-{digest.hexdigest()[:24]}"


def _decode_into(kept: Path, folder: Path, listed: list[Listed], bad_images: str) -> None:
    """Decode a folder into the packed set `kept`, which appears whole or not at all."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix="decoding-", dir=kept.parent))
    except OSError as error:
        raise _no_cache(kept.parent, error) from None
    try:
        images, skipped = _pack(aside, folder, listed)
        if bad_images == "error":
            _complain(folder, skipped, len(listed), bad_images)
        about = {
            "name": folder.name,
            "version": CACHE_VERSION,
            "made_of": str(folder.resolve()),
            "skipped": skipped,
        }
        write_packed(aside, images, about)
        aside.rename(kept)
    except OSError as error:
        if not is_packed(kept):  # else another process was faster
            raise _no_cache(kept.parent, error) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _pack(aside: Path, folder: Path, listed: list[Listed]) -> tuple[ImageSet, list[tuple[str, str]]]:
    """Decode to `aside/images.npy`, through a file of raw pixels, so that memory holds one image at a time."""
    kept: list[Listed] = []
    hashes: list[str] = []
    forms: list[tuple[str, tuple[int, ...]]] = []  # type and shape of each
    skipped: list[tuple[str, str]] = []  # path, reason
    raw = aside / "raw"
    with raw.open("wb") as file:
        for item, decoded in zip(listed, _decode_all(folder, listed), strict=True):
            if isinstance(decoded, str):
                skipped.append((item.path, decoded))
                continue
            image, sha256 = decoded
            kept.append(item)
            hashes.append(sha256)
            forms.append((image.dtype.name, image.shape))
            file.write(image.tobytes())
    if {item.name for item in kept} != {item.name for item in listed}:
        _complain(folder, skipped, len(listed), "error")  # a whole class gone is nothing to skip over
    _write_images(aside / "images.npy", raw, forms)
    raw.unlink()
    classes = ordered_classes(item.name for item in kept if item.name)
    images = ImageSet(
        pixels=np.load(aside / "images.npy", mmap_mode="r"),
        labels=np.array([classes.index(item.name) for item in kept], dtype=np.int64) if classes else None,
        classes=classes,
        paths=[item.path for item in kept],
        hashes=hashes,
        parts=[item.part for item in kept] if kept[0].part else None,
    )
    return images, skipped


def _write_images(target: Path, raw: Path, forms: list[tuple[str, tuple[int, ...]]]) -> None:
    """From raw pixels to one array. Images that differ are brought to one form.

    That is: the most frequent size, three channels if any has them, and the common type; integers among
    floats are first divided by their range.
    """
    kinds = {kind for kind, _ in forms}
    kind = kinds.pop() if len(kinds) == 1 else "float32"
    channels = max(shape[0] for _, shape in forms)
    size = Counter(shape[1:] for _, shape in forms).most_common(1)[0][0]
    images = np.lib.format.open_memmap(target, mode="w+", dtype=kind, shape=(len(forms), channels, *size))
    with raw.open("rb") as file:
        for index, (own_kind, shape) in enumerate(forms):
            length = int(np.prod(shape)) * np.dtype(own_kind).itemsize
            image = np.frombuffer(file.read(length), dtype=own_kind).reshape(shape)
            if shape[1:] != size:
                image = _resample(image, size)
            if own_kind != kind and own_kind != "float32":
                image = image / np.float32(np.iinfo(own_kind).max)
            images[index] = image
    images.flush()


def _resample(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """`image` (C, H, W) at another size, of the same type."""
    import torch  # here, since decoding processes import this module
    import torch.nn.functional as F

    resized = F.interpolate(
        torch.from_numpy(image.astype(np.float32))[None], size=size, mode="bilinear", antialias=True
    )[0].numpy()
    return resized if image.dtype == np.float32 else np.round(resized).astype(image.dtype)


def _decode_all(folder: Path, listed: list[Listed]) -> Iterator[tuple[np.ndarray, str] | str]:
    """Image and hash, or what is wrong, for each file in order, decoded on all cores."""
    paths = [folder / item.path for item in listed]
    bar = tqdm(total=len(paths), desc=f"decoding {folder.name}", unit="image", disable=None)
    cores = joblib.cpu_count()
    if cores == 1 or len(paths) < 500:  # processes take longer to start than that
        for path in paths:
            yield _decode_one(path)
            bar.update()
    else:
        # Not forked: torch's threads in the parent would leave locks behind that nobody releases.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(cores, mp_context=context) as pool:
            for decoded in pool.map(_decode_one, paths, chunksize=64):
                yield decoded
                bar.update()
    bar.close()


def _decode_one(path: Path) -> tuple[np.ndarray, str] | str:
    try:
        image = decode(path)
    except BadImage as error:
        return str(error)
    return image, content_hash(image)


def _complain(folder: Path, skipped: list, total: int, bad_images: str) -> None:
    """Stop at, or warn of, images that cannot be used."""
    if not skipped:
        return
    named = "; ".join(f"{folder / path} {reason}" for path, reason in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    if bad_images == "error":
        raise InputError(
            f"{len(skipped)} of {total} images cannot be used: {named}{more}: "
            "mend or remove them, or leave them out with --bad-images skip"
        )
    print(f"warning: left out {len(skipped)} of {total} images: {named}{more}", file=sys.stderr)


def _no_cache(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"the cache {folder} cannot be written ({error.strerror}): "
        "make room there, or set DEEPLENSE_CACHE to a folder that has it"
    )
