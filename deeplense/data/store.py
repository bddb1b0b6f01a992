"""The pixels of a set in [0, 1], on the device or, where they do not fit, mapped on the host."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import torch

from deeplense.config import DataConfig
from deeplense.data.augment import resample, to_unit
from deeplense.data.imageset import ImageSet
from deeplense.data.mixed import Mixed, chunks
from deeplense.data.opening import band_numbers
from deeplense.data.scale import Scale, settle, units_of, whites
from deeplense.errors import InputError

UPLOAD = 2048
"""Images that are converted at a time on their way to the device."""


@dataclasses.dataclass(frozen=True)
class Several:
    """Pixels of a batch whose images differ in size."""

    parts: list[tuple[torch.Tensor, torch.Tensor]]
    """Rows (b,) of the batch on the device, and their pixels (b, channels, h, w)."""
    count: int
    """Images in the batch."""


Pixels = torch.Tensor | Several
"""(B, channels, H, W) as `augment.to_unit` gives them, or of several sizes."""


Read = tuple[np.ndarray, list[tuple[np.ndarray, torch.Tensor]]]
"""Images of the set, and, size by size, which of them and their pixels as they are stored, on the host."""


class PixelStore:
    """Both places give the same pixels bit for bit: the conversion runs on the device either way."""

    def __init__(self, images: ImageSet, config: DataConfig, device: torch.device, scale: Scale | None = None) -> None:
        """
        Args:
            scale: what 0 and 1 stand for; None: what the set itself says.

        Raises:
            InputError: numbers outside [0, 1] where `--normalize range` promises them, or bands that are not there.
        """
        self.config = config
        self.device = device
        self.scale = settle(images, config.normalize) if scale is None else scale
        self.bands = band_numbers(config.bands)
        self.host = images.pixels  # (N, C, H, W), as stored
        self.on_device: list[torch.Tensor] | None = None  # (n, channels, h, w) of each size
        self._units = units_of(images)
        white = whites(images, self.scale)
        rgb = _rgb(images)
        self._white: float | np.ndarray = float(white[0]) if len(np.unique(white)) == 1 else white
        self._rgb: bool | np.ndarray = bool(rgb[0]) if len(np.unique(rgb)) == 1 else rgb
        self._check_bands()
        if self.scale.by == "type":
            self._refuse_other_ranges()
        if self._placement() == "device":
            self._upload()

    @property
    def usual(self) -> dict[str, Any]:
        """Type, unit, kind of channels and shape of most of the images."""
        pixels = self.host
        kind, shape = pixels.usual if isinstance(pixels, Mixed) else (pixels.dtype.name, pixels.shape[1:])
        unit = Counter(self._units.tolist()).most_common(1)[0][0]
        rgb = self._rgb if isinstance(self._rgb, bool) else bool(self._rgb.mean() > 0.5)
        return {"stored": "float32" if kind == "float16" else kind, "unit": unit, "rgb": rgb, "shape": shape}

    def batches(self, index: np.ndarray, places: Iterable[slice]) -> Iterator[Pixels]:
        """For each of `places` in `index` (n,), the pixels (B, channels, H, W) as `augment.to_unit` gives them."""
        if self.on_device is None:
            for rows, stored in _ahead(self._read, (index[place] for place in places)):
                parts = [self._convert(rows[own], some) for own, some in stored]
                if len(parts) == 1:
                    yield parts[0]  # where its images are in the batch need not be known, and is not copied
                else:
                    own_rows = [torch.from_numpy(own).to(self.device) for own, _ in stored]
                    yield Several(list(zip(own_rows, parts, strict=True)), len(rows))
        elif len(self.on_device) == 1:
            there = torch.from_numpy(index).to(self.device)  # once, and not a copy for each batch
            for place in places:
                yield self.on_device[0][there[place]]
        else:
            for place in places:
                yield self._gather(index[place])

    def to_unit(self, stored: torch.Tensor) -> torch.Tensor:
        """Pixels of a kind with the set's, (B, C, H, W) on the device, as the network is to see them."""
        white = self._white if isinstance(self._white, float) else float("nan")
        return to_unit(stored, self.config.channels, white, self._rgb is True, self.bands)

    def resample(self, pixels: Pixels, maps: torch.Tensor | None = None) -> torch.Tensor:
        """What the network sees of pixels in [0, 1], turned and mirrored by `maps` if any: `augment.resample`."""
        how = self.config

        def one(some: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
            return resample(some, own, how.image_size, how.stretch, how.crop, how.standardize, how.fit)

        return _each(pixels, one, maps)

    def light(self, pixels: Pixels) -> torch.Tensor:
        """The same without stretch and augmentation: the light itself, (B, channels, size, size)."""
        how = self.config
        return _each(pixels, lambda some, _: resample(some, None, how.image_size, crop=how.crop, fit=how.fit), None)

    def _check_bands(self) -> None:
        counts = {shape[0] for _, shape in self.host.forms} if isinstance(self.host, Mixed) else {self.host.shape[1]}
        for count in counts:
            if self.bands and max(self.bands) >= count:
                raise InputError(
                    f"--bands {' '.join(self.config.bands)}: an image has {count} bands, 0 to {count - 1}: give others"
                )
            taken = len(self.bands) or count
            if taken not in (1, self.config.channels) and self.config.channels != 1:
                raise InputError(
                    f"--channels {self.config.channels}: an image has {taken} bands: give --channels {taken}, or 1, "
                    "or say which with --bands"
                )

    def _refuse_other_ranges(self) -> None:
        for rows, some in chunks(self.host, UPLOAD):
            if some.dtype.kind != "f":
                continue
            low, high = float(some.min()), float(some.max())
            if low < 0 or high > 1:
                raise InputError(
                    f"--normalize range: images {rows[0]} to {rows[-1] + 1} have values from {low:g} to {high:g}, "
                    "and all but unsigned integers of 8 or 16 bits must be in [0, 1]: give --normalize minmax"
                )

    def _placement(self) -> str:
        if self.config.placement != "auto":
            return self.config.placement
        whole = isinstance(self._white, float) and self._white == 255
        if isinstance(self.host, Mixed):
            places = sum(
                int((self.host.form_of == form).sum()) * shape[1] * shape[2] * (1 if whole and kind == "uint8" else 2)
                for form, (kind, shape) in enumerate(self.host.forms)
            )
        else:
            count, _, height, width = self.host.shape
            places = count * height * width * (1 if whole and self.host.dtype == np.uint8 else 2)
        cuda = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if cuda else psutil.virtual_memory().available
        return "device" if places * self.config.channels < free / 2 else "host"

    def _upload(self) -> None:
        """All pixels to the device; and where each image is, if there are several sizes."""
        if not isinstance(self.host, Mixed):
            whole: torch.Tensor | None = None
            for rows, some in chunks(self.host, UPLOAD):
                part = self._convert(rows, torch.from_numpy(np.array(some)))  # copied, as a map is read-only
                # Filled in place: the parts and the whole at once would need the memory twice.
                whole = part.new_empty(len(self.host), *part.shape[1:]) if whole is None else whole
                whole[torch.from_numpy(rows).to(self.device)] = part
            self.on_device = [] if whole is None else [whole]
            return
        self.on_device = []
        self._tensor_of, self._place_of = np.zeros((2, len(self.host)), np.int64)
        for rows, some in chunks(self.host, UPLOAD):
            self._tensor_of[rows] = len(self.on_device)
            self._place_of[rows] = np.arange(len(rows))
            self.on_device.append(self._convert(rows, torch.from_numpy(some)))

    def _gather(self, index: np.ndarray) -> Pixels:
        assert self.on_device is not None
        parts = []
        for number in np.unique(self._tensor_of[index]):
            rows = np.flatnonzero(self._tensor_of[index] == number)
            there = torch.from_numpy(self._place_of[index[rows]]).to(self.device)
            parts.append((torch.from_numpy(rows).to(self.device), self.on_device[number][there]))
        return parts[0][1] if len(parts) == 1 else Several(parts, len(index))

    def _read(self, index: np.ndarray) -> Read:
        """Off the disk; pinned, so that the copy to a GPU runs beside the arithmetic."""

        def pinned(stored: np.ndarray) -> torch.Tensor:
            tensor = torch.from_numpy(stored)
            return tensor.pin_memory() if self.device.type == "cuda" else tensor

        if not isinstance(self.host, Mixed):
            return index, [(np.arange(len(index)), pinned(self.host[index]))]
        forms = self.host.form_of[index]
        rows = [np.flatnonzero(forms == form) for form in np.unique(forms)]
        return index, [(own, pinned(self.host.stacked(index[own]))) for own in rows]

    def _convert(self, rows: np.ndarray, stored: torch.Tensor) -> torch.Tensor:
        """`augment.to_unit` on the device of images `rows` of the set."""
        stored = stored.to(self.device, non_blocking=True)
        white, rgb = self._of(self._white, rows), self._of(self._rgb, rows)
        return to_unit(stored, self.config.channels, white, rgb, self.bands)

    def _of(self, values: float | np.ndarray, rows: np.ndarray) -> Any:
        """One value for some images, or their own; one again, if these are equal."""
        if not isinstance(values, np.ndarray):
            return values
        own = np.unique(values[rows])
        return own[0].item() if len(own) == 1 else torch.from_numpy(values[rows]).to(self.device)


def _each(
    pixels: Pixels,
    what: Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor],
    maps: torch.Tensor | None,
) -> torch.Tensor:
    """`what` of all images of a batch, size by size."""
    if isinstance(pixels, torch.Tensor):
        return what(pixels, maps)
    done = [(rows, what(some, None if maps is None else maps[rows])) for rows, some in pixels.parts]
    out = done[0][1].new_empty(pixels.count, *done[0][1].shape[1:])
    for rows, images in done:
        out[rows] = images
    return out


def _rgb(images: ImageSet) -> np.ndarray:
    """(N,) bool: whether three channels are colours for the eye; 8 bits are, where nobody has looked."""
    if images.light is not None:
        return images.light.rgb
    return np.full(len(images), isinstance(images.pixels, np.ndarray) and images.pixels.dtype == np.uint8)


def _ahead(read: Callable[[np.ndarray], Read], indices: Iterable[np.ndarray], depth: int = 3) -> Iterator[Read]:
    """`map(read, indices)`, in a thread that is up to `depth` batches ahead."""
    with ThreadPoolExecutor(1) as reader:
        waiting = []
        for index in indices:
            waiting.append(reader.submit(read, index))
            if len(waiting) > depth:
                yield waiting.pop(0).result()
        for last in waiting:
            yield last.result()
