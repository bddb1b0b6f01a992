"""What folders are called: parts of a split, the class that is label 0, and other names for the same class."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from deeplense.errors import InputError

PART_WORDS = {
    word + more: part
    for part, words in {
        "train": ("train", "training"),
        "val": ("val", "valid", "validation"),
        "test": ("test", "testing"),
    }.items()
    for word in words
    for more in ("", "set", "data", "dataset", "images")
}
"""Also `Train_Set` and `test images`, as `fold` gives them."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "smooth": (
        "nosub", "no", "nosubs", "nosubstructure", "nosubstructures", "nosubhalo", "nosubhalos", "smooth",
        "withoutsubstructure", "withoutsub", "nosubstruct", "withoutsubhalo", "withoutsubhalos",
    ),
    "non-lens": (
        "nonlens", "nonlenses", "nolens", "nolenses", "notlens", "notlenses", "notalens", "unlensed", "nonlensed",
        "notlensed",
    ),
    "negative": ("negative", "negatives", "neg", "none"),
    "subhalo": (
        "sub", "subs", "cdm", "subhalo", "subhalos", "subhaloes", "sphere", "spheres", "spherical", "substructure",
        "withsubstructure", "withsub", "withsubhalo", "withsubhalos",
    ),
    "vortex": ("axion", "axions", "vortex", "vortices", "vort"),
    "lens": ("lens", "lenses", "lensed"),
    "positive": ("positive", "positives", "pos"),
}  # fmt: skip
"""Spellings of one thing in DeepLense's sets, courses and challenges, as `fold` gives them."""

_GROUP = {spelling: group for group, spellings in SYNONYMS.items() for spelling in spellings}
_NEGATIVE = ("smooth", "non-lens", "negative")
_PRESENT = ("lens", "positive")
_NEGATIONS = ("no", "non", "not", "without", "un")
_NUMBERED = re.compile(r"[\s_.-]+\d+$")
_CUT = re.compile(r"[\s_.-]+|(?<=[a-z])(?=[A-Z])")
"""Between the words of a name."""


def fold(name: str) -> str:
    """A name without case, spaces and signs: `No_Sub` and `no-sub` are `nosub`."""
    return "".join(sign for sign in unicodedata.normalize("NFKC", name).casefold() if sign.isalnum())


def is_known(name: str) -> bool:
    """Whether this is what classes are called in this field."""
    return fold(name) in _GROUP


def is_negative(name: str) -> bool:
    """Whether a class of this name is label 0: smooth lenses, or no lenses."""
    return _GROUP.get(fold(name)) in _NEGATIVE


def is_smooth(name: str) -> bool:
    """Whether a class of this name holds lenses without substructure."""
    return _GROUP.get(fold(name)) == "smooth"


def part_of(name: str) -> str:
    """`train`, `val` or `test`, if a folder's whole name says that; else empty."""
    return PART_WORDS.get(fold(name), "")


def part_and_class(name: str) -> tuple[str, str]:
    """What `train_lenses`, `lenses-test`, `trainLenses` or `lenses_train_1` say: part and class; the part is empty
    where none is said."""
    for meant in (name, _NUMBERED.sub("", name)):
        part, rest = _part_at_an_end(meant)
        if part:
            return part, rest
    return "", name


def _part_at_an_end(name: str) -> tuple[str, str]:
    if part_of(name):
        return part_of(name), ""
    cuts = list(_CUT.finditer(name))
    for cut in cuts[:1] + cuts[-1:]:
        for word, rest in ((name[: cut.start()], name[cut.end() :]), (name[cut.end() :], name[: cut.start()])):
            if rest and part_of(word):
                return part_of(word), rest
    return "", name


def ordered_classes(names: Iterable[str], positive: str | None = None) -> tuple[str, ...]:
    """Classes in the order of their labels: by name, that without substructure, a lens, or what the other is, first.

    Args:
        positive: of two classes, the one that is to be label 1.

    Raises:
        InputError: there is no such class, or there are not two.
    """
    own = set(names)
    classes = tuple(sorted(own, key=lambda name: (not (is_negative(name) or _is_without(name, own)), name)))
    if positive is None or not classes:
        return classes
    if positive not in classes:
        raise InputError(f"--positive {positive}: the classes are {', '.join(classes)}: give one of them")
    if len(classes) != 2:
        raise InputError(f"--positive {positive}: there are {len(classes)} classes, and it is for two: leave it out")
    return (*(name for name in classes if name != positive), positive)


def translated(names: Sequence[str], known: Sequence[str], given: dict[str, str]) -> dict[str, str | None]:
    """What a run calls the classes of a folder: by `given`, by the same name, or by a synonym that is clear.

    Args:
        names: of the folder.
        known: of the run.
        given: names of the folder to names of the run: `--class-map`.

    Returns:
        For each name the run's, or None if nothing says which.
    """
    found: dict[str, str | None] = {}
    for name in names:
        if name in given:
            found[name] = given[name]
        elif name in known:
            found[name] = name
        else:
            meant = [own for own in known if _same(name, own)]
            found[name] = meant[0] if len(meant) == 1 else None
    for name, own in found.items():
        # Two names for one class may be meant only where somebody says so.
        rivals = [other for other in found if found[other] == own and other != name]
        if own is not None and name != own and name not in given and rivals:
            return {**found, name: None}
    return found


def parse_class_map(pairs: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """`--class-map` as a dictionary. Raises `InputError` if a pair is no pair, or its right side no class."""
    given = {}
    for pair in pairs:
        name, sign, own = pair.partition("=")
        if not (name and sign and own):
            raise InputError(f"--class-map {pair}: give THEIRS=OURS, subhalo=cdm for one")
        if own not in known:
            raise InputError(f"--class-map {pair}: the classes of the run are {', '.join(known)}: give one of them")
        given[name] = own
    return given


def _is_without(name: str, names: set[str]) -> bool:
    """Whether a class is what another one is not: `no halo` beside `halo`, `mock_unlensed` beside `mock_lensed`;
    `galaxies` or `random` beside `lens`."""
    others = [fold(other) for other in names if other != name]
    if any(meant in others for meant in _without_negation(name)):
        return True
    return len(others) == 1 and _GROUP.get(others[0]) in _PRESENT and fold(name) not in _GROUP


def _without_negation(name: str) -> Iterator[str]:
    """What a name would be without the negation in one of its words; `without_halo` is also that of `with_halo`."""
    words = [fold(word) for word in _CUT.split(name)]
    for place, word in enumerate(words):
        for negation in (own for own in _NEGATIONS if word.startswith(own)):
            rest = word.removeprefix(negation)
            yield "".join([*words[:place], rest, *words[place + 1 :]])
            if negation == "without":
                yield "".join([*words[:place], "with", rest, *words[place + 1 :]])


def _same(name: str, other: str) -> bool:
    if fold(name) == fold(other):
        return True
    groups = _GROUP.get(fold(name)), _GROUP.get(fold(other))
    if None in groups:
        return False
    generic = {"negative": _NEGATIVE, "positive": ("lens", "subhalo", "vortex")}
    return groups[0] == groups[1] or any(
        one in generic and two in generic[one] for one, two in (groups, reversed(groups))
    )
