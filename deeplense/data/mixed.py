"""Images of several sizes and types in one buffer, each as it was stored."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

Form = tuple[str, tuple[int, int, int]]
"""Type, and channels, height and width."""


@dataclasses.dataclass(frozen=True)
class Mixed:
    """Stands where an array (N, C, H, W) stands for images of one form."""

    buffer: np.ndarray
    """(bytes,) uint8, usually a memory map."""
    starts: np.ndarray
    """(N,) int64: where each image begins."""
    form_of: np.ndarray
    """(N,) int64: places in `forms`."""
    forms: tuple[Form, ...]

    @classmethod
    def of(cls, buffer: np.ndarray, forms: list[Form]) -> Mixed:
        """Images that lie in `buffer` one behind the other, with their forms."""
        lengths = [length_of(form) for form in forms]
        distinct = sorted(set(forms))
        place = {form: index for index, form in enumerate(distinct)}
        starts = np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(np.int64) if forms else np.zeros(0, np.int64)
        return cls(buffer, starts, np.array([place[form] for form in forms], dtype=np.int64), tuple(distinct))

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, which: int | np.integer | slice | list[int] | np.ndarray) -> np.ndarray | Mixed:
        if isinstance(which, int | np.integer):
            kind, shape = self.forms[self.form_of[which]]
            start = self.starts[which]
            return self.buffer[start : start + length_of((kind, shape))].view(kind).reshape(shape)
        return dataclasses.replace(self, starts=self.starts[which], form_of=self.form_of[which])

    def stacked(self, rows: np.ndarray) -> np.ndarray:
        """The images `rows` (n,), which have one form, as an array (n, C, H, W) in memory."""
        kind, shape = self.forms[self.form_of[rows[0]]]
        out = np.empty((len(rows), *shape), kind)
        for place, row in enumerate(rows):
            out[place] = self[int(row)]
        return out

    @property
    def nbytes(self) -> int:
        """Of the images, without what else is in the buffer."""
        counts = np.bincount(self.form_of, minlength=len(self.forms)).tolist()
        return sum(count * length_of(form) for count, form in zip(counts, self.forms, strict=True))

    @property
    def usual(self) -> Form:
        """The most frequent form."""
        return self.forms[Counter(self.form_of.tolist()).most_common(1)[0][0]]

    @property
    def usual_rows(self) -> np.ndarray:
        """The images of the most frequent form."""
        return np.flatnonzero(self.form_of == self.forms.index(self.usual))


def length_of(form: Form) -> int:
    """Bytes of an image."""
    kind, shape = form
    return int(np.prod(shape)) * np.dtype(kind).itemsize


def one_form(pixels: np.ndarray | Mixed) -> np.ndarray:
    """The pixels as an array: of a mixed set, the images of its most frequent form."""
    if not isinstance(pixels, Mixed):
        return pixels
    return pixels.stacked(pixels.usual_rows)


def describe(pixels: np.ndarray | Mixed) -> str:
    """Size and channels, for a reader."""
    if not isinstance(pixels, Mixed):
        _, channels, height, width = pixels.shape
        return f"{height} x {width} px, {channels} channel(s)"
    _, (channels, height, width) = pixels.usual
    return f"{len(pixels.forms)} sizes or types, most of {height} x {width} px with {channels} channel(s)"


def chunks(pixels: np.ndarray | Mixed, most: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All images in pieces of one form and at most `most`: rows (n,) and pixels (n, C, H, W)."""
    if not isinstance(pixels, Mixed):
        for start in range(0, len(pixels), most):
            yield np.arange(start, min(start + most, len(pixels))), pixels[start : start + most]
        return
    for form in range(len(pixels.forms)):
        rows = np.flatnonzero(pixels.form_of == form)
        for start in range(0, len(rows), most):
            some = rows[start : start + most]
            yield some, pixels.stacked(some)
