"""Shares of a set that are made apart, on the nodes of a cluster say, and joined: the same images as in one go.

Share K of N is a packed set by itself, in DIR/part-K-of-N: images (K-1) count/N to K count/N, with the indices that
they have in the whole. Joining moves the first share's files to DIR and appends the others' to them: what need not be
copied is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deeplense.errors import InputError


@dataclass(frozen=True)
class Part:
    """Share `place` of `of`, counted from 1."""

    place: int
    of: int

    @staticmethod
    def parse(text: str) -> Part:
        """From `K/N`; an `InputError` says what is wanted."""
        place, slash, of = text.partition("/")
        if slash and place.isascii() and place.isdecimal() and of.isascii() and of.isdecimal():
            part = Part(int(place), int(of))
            if 1 <= part.place <= part.of:
                return part
        raise InputError(f"--part {text}: give K/N for the K-th of N shares, 1/8 to 8/8 say")

    def folder(self, directory: Path) -> Path:
        """Where the share is made."""
        return directory / f"part-{self.place}-of-{self.of}"

    def span(self, count: int) -> tuple[int, int]:
        """The first image of `count` that is in the share, and the first that is no more."""
        if count < self.of:
            raise InputError(f"--part {self.place}/{self.of}: --count {count} is too few for {self.of} shares")
        return (self.place - 1) * count // self.of, self.place * count // self.of
