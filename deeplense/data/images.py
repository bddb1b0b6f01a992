"""From WHERE, as the user wrote it, to an `ImageSet`: folders of images, packed sets, files of a whole set."""

from __future__ import annotations

import json
from pathlib import Path

from deeplense.data.cache import cache_folder, complain, decode_into, key_of
from deeplense.data.decode import suffix_of
from deeplense.data.imageset import ImageSet
from deeplense.data.labels import labelled_files
from deeplense.data.layout import Layout, understand
from deeplense.data.opening import Opening, tell, tell_mended
from deeplense.data.packed import DESCRIPTION, IMAGES, is_packed, read_about, read_packed
from deeplense.data.setfile import SET_SUFFIXES, read_set_file
from deeplense.errors import InputError

NO_CHOICES = Opening()

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")


def load_images(where: str, bad_images: str = "error", labelled: bool = True, how: Opening = NO_CHOICES) -> ImageSet:
    """Open the images at `where`: a packed set, or a folder or file, which is decoded once and kept in the cache.

    Args:
        where: the folder, or an HDF5 or `.npz` file with `images` and `labels`.
        bad_images: `error` or `skip`, for images that cannot be used and for files that are none.
        labelled: whether a flat folder of images, without classes, is refused.
        how: what to do where there is a choice.

    Raises:
        InputError: there is no such folder, it holds no images or not two classes, or images cannot be used.
    """
    place = Path(where).expanduser()
    if place.is_file():
        return _load_file(where, place, bad_images, labelled, how)
    if not place.is_dir():
        raise InputError(f"--data {where}: there is no such folder")
    if is_packed(place) and how.labels is None:
        return read_packed(place, bad_images, how.positive, how.bad_pixels)
    try:
        layout = _understood(place, labelled, how)
        complain_of_unused(place, layout, bad_images)
        listed = layout.listed
        kept = cache_folder() / key_of(place, listed, how.reading)
    except OSError as error:
        raise InputError(f"--data: {error.filename} cannot be read ({error.strerror}): mend or remove it") from None
    if not is_packed(kept):
        decode_into(kept, place, listed, how.reading, bad_images)
    about = read_about(kept)
    found = read_packed(kept, positive=how.positive)
    complain(place, about["skipped"], len(found) + len(about["skipped"]), bad_images)
    pixels, images = about["mended"]
    tell_mended(pixels, images, how.bad_pixels)
    return found


def complain_of_unused(folder: Path, layout: Layout, bad_images: str) -> None:
    """Stop at, or warn of, files that lie among the images and are not used."""
    if not layout.unused:
        return
    named = "; ".join(f"{folder / path} {reason}" for path, reason in layout.unused[:5])
    more = f"; and {len(layout.unused) - 5} more" if len(layout.unused) > 5 else ""
    what = f"{len(layout.unused)} files beside {len(layout.listed)} images are not used: {named}{more}"
    if bad_images == "error":
        raise InputError(f"--data {folder}: {what}: move them away, or leave them out with --bad-images skip")
    tell(what, "warning")


def _understood(folder: Path, labelled: bool, how: Opening) -> Layout:
    """What the folder holds; said aloud where it could have been otherwise."""
    if how.labels is not None:
        layout = labelled_files(folder, Path(how.labels).expanduser(), how.bands)
    else:
        if _was_packed(folder):
            read_packed(folder)  # says what is missing
        layout = understand(folder, labelled, how.layout, how.bands)
    for note in layout.notes:
        tell(note)
    return layout


def _was_packed(folder: Path) -> bool:
    """Whether this is a packed set that has lost a file, and not a folder with somebody else's `dataset.json`."""
    file = folder / DESCRIPTION
    if not file.is_file() or any(path.is_dir() for path in folder.iterdir()):
        return False
    try:
        about = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return not any(suffix_of(path.name) and path.name != IMAGES for path in folder.iterdir())
    return isinstance(about, dict) and "classes" in about


def _load_file(where: str, file: Path, bad_images: str, labelled: bool, how: Opening) -> ImageSet:
    name = file.name.lower()
    if name.endswith(SET_SUFFIXES):
        return read_set_file(file, bad_images, how, labelled)
    if name.endswith(ARCHIVES):
        raise InputError(f"--data {where}: is an archive: unpack it, and give the folder")
    raise InputError(
        f"--data {where}: is a file: give the folder that it lies in, or a set in {' or '.join(SET_SUFFIXES)}"
    )
