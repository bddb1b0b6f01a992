"""One file a band: `lens7_g.fits` and `lens7_r.fits`, or `g/lens7.fits` and `r/lens7.fits`, as one image."""

from __future__ import annotations

import re
from collections import defaultdict

from deeplense.data.decode import stem_of

FILTERS = ("u", "g", "r", "i", "vis", "z", "y", "j", "h", "k", "ks")
"""From blue to red; those of HST and JWST are known by their form."""


def joined(paths: list[str], bands: tuple[str, ...]) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str]]]:
    """Files of one image, brought together.

    Args:
        paths: of all files.
        bands: names, in the order in which they are wanted.

    Returns:
        For the path of the first band those of the others; and what is left over, with the reason.
    """
    images: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    left: list[tuple[str, str]] = []
    for path in paths:
        band, key = _band_of(path, bands)
        if not band:
            left.append((path, f"is of none of the bands {' '.join(bands)}"))
        elif band in images[key]:
            left.append((path, f"is the second one of band {band} beside {images[key][band]}"))
        else:
            images[key][band] = path
    found = {}
    for own in images.values():
        missing = [band for band in bands if band not in own]
        if missing:
            left.extend((path, f"has no band {missing[0]} beside it") for path in own.values())
        else:
            first, *others = (own[band] for band in bands)
            found[first] = tuple(others)
    return found, left


def _band_of(path: str, bands: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The band that a path names, and the path without it."""
    *folders, name = path.split("/")
    stem = stem_of(name)
    for band in sorted(bands, key=len, reverse=True):
        if band in folders:
            place = folders.index(band)
            return band, (*folders[:place], *folders[place + 1 :], stem)
        parts = re.split(rf"(?:^|[_\-. ]){re.escape(band)}(?=$|[_\-. ])", stem, maxsplit=1)
        if len(parts) == 2:
            return band, (*folders, *parts)
    return "", ()


def is_filter(name: str) -> bool:
    """Whether a filter of a survey or a space telescope is called so."""
    return name.casefold() in FILTERS or re.fullmatch(r"f\d{3,4}[wmnlp]+", name.casefold()) is not None


def bands_in_names(paths: list[str]) -> tuple[str, ...]:
    """The filters that files are called after, from blue to red, if all are, and each image has several."""
    images: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path in paths:
        base, _, band = stem_of(path).replace("-", "_").replace(".", "_").rpartition("_")
        if not is_filter(band):
            return ()
        images[path.rpartition("/")[0], base].add(band)
    if not images or min(len(own) for own in images.values()) < 2:
        return ()
    bands = {band for own in images.values() for band in own}
    places = {name: place for place, name in enumerate(FILTERS)}
    return tuple(sorted(bands, key=lambda band: (places.get(band.casefold(), len(FILTERS)), band)))


def base_of(path: str, bands: tuple[str, ...]) -> str:
    """The name of an image, as its files have it apart from band and suffix."""
    band, key = _band_of(path, bands)
    if not band:
        return stem_of(path)
    return "".join(key[path.count("/") :]) if band not in path.split("/")[:-1] else key[-1]
