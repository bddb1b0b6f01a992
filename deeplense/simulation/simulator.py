"""Draw, render and photograph any images of a set, by their numbers: what stored sets and streams are made with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from deeplense.machine.compiling import compiled
from deeplense.simulation.camera import blur, photograph
from deeplense.simulation.counters import Words, key_of, philox
from deeplense.simulation.draw import Draws, draw
from deeplense.simulation.instruments import Telescope
from deeplense.simulation.render import render, render_lens_light
from deeplense.simulation.sets import KINDS, Classes, LensSet

_LABELS = 3
"""Second word of the random counter (`draw` and `camera` have the others)."""


class Simulator:
    """Makes images of one set and seed on one device. Image i of a class is the same whatever else is made with it."""

    def __init__(
        self,
        lens_set: LensSet,
        classes: Classes,
        seed: int,
        device: torch.device | str,
        purpose: Literal["stored", "stream", "sensitivity"] = "stored",
    ) -> None:
        """`purpose` is part of the random key: no image of one purpose is one of another, whatever the seeds."""
        self.lens_set = lens_set
        self.classes = classes
        self.device = torch.device(device)
        words = key_of(lens_set.name, lens_set.version, seed, purpose)
        self.key = torch.tensor(words, dtype=torch.int64, device=self.device)
        self._kinds = torch.tensor([KINDS.index(kind) for kind in classes.kinds], device=self.device)

    def random(self, counter: Words) -> Words:
        """Random words of this set and seed, see `counters.philox`."""
        return _generator(self.device.type)(self.key, torch.broadcast_tensors(*counter))

    @torch.no_grad()
    def draw(self, number: Tensor, label: Tensor | None = None) -> Draws:
        """The truth of images `number` of the classes `label`, both (B,) int64 on the simulator's device.

        Without labels the class is drawn as well, each as likely as another, and follows from the image's number.
        """
        if label is None:
            zero = torch.zeros_like(number)
            words = self.random((zero, zero + _LABELS, number & 0xFFFFFFFF, number >> 32 << 8))
            label = (words[0] * len(self.classes.kinds)) >> 32
        kinds = self._kinds[label]
        return draw(self.lens_set, self.classes.kinds, number, label, kinds, self.random, self._lensed_source)

    @torch.no_grad()
    def render(self, draws: Draws, band: int = 0) -> Tensor:
        """Noise-free flux in each pixel before the telescope, (B, H, W) float32."""
        return render(draws, self.lens_set, band)

    @torch.no_grad()
    def expose(self, draws: Draws) -> Tensor:
        """Counts with noise, (B, H, W) or (B, bands, H, W) float32, less the lens's light where the set wants that."""
        bands = range(self.lens_set.camera.bands)
        images = [
            photograph(render(draws, self.lens_set, band), draws, self.lens_set.camera, self.key, band)
            for band in bands
        ]
        if self.lens_set.subtraction is not None:
            model = self._model_of_the_lens(draws)
            images = [image - model for image in images]
        return images[0] if len(images) == 1 else torch.stack(images, 1)

    def _model_of_the_lens(self, draws: Draws) -> Tensor:
        """What a fit takes the lens's light for, (B, H, W), in the images' unit."""
        own, camera = draws.scalars, self.lens_set.camera
        assert isinstance(camera, Telescope)
        off = {}
        for name in self.lens_set.lights:
            if name != "source":
                for part in ("amplitude", "radius"):
                    off[f"{name}_{part}"] = own[f"{name}_{part}"] * (1.0 + own[f"off_{part}"])
                for part in ("axis_ratio", "angle", *(("x", "y") if name == "light" else ())):
                    off[f"{name}_{part}"] = own[f"{name}_{part}"] + own[f"off_{part}"]
                off[f"{name}_axis_ratio"] = off[f"{name}_axis_ratio"].clamp(max=1.0)
        model = replace(draws, scalars={**own, **off})
        return blur(render_lens_light(model, self.lens_set), camera) / camera.gain

    @torch.no_grad()
    def photograph(self, flux: Tensor, draws: Draws) -> Tensor:
        """Counts with noise, (B, H, W) float32."""
        return photograph(flux, draws, self.lens_set.camera, self.key)

    def _lensed_source(self, draws: Draws) -> Tensor:
        """What the telescope sees of the source alone, (B, H, W) flux; one point a pixel says where it is bright."""
        plain = replace(self.lens_set, lens_light=None, subtraction=None)
        if isinstance(plain.camera, Telescope):
            plain = replace(plain, camera=replace(plain.camera, oversample=1))
        size, count = piece(self.device.type, len(draws.number)), len(draws.number)
        parts = []
        for first in range(0, count, size):
            part = draws.take(torch.arange(first, first + size, device=self.device).clamp(max=count - 1))
            parts.append(blur(render(part, plain), plain.camera))
        return torch.cat(parts)[:count]

    def make(self, number: Tensor, label: Tensor | None = None) -> tuple[Tensor, Draws]:
        """Counts, see `expose`, and truth, see `draw`, of any number of images.

        The work is done in pieces of a few fixed sizes, the last one filled up: compiled code has one shape a size, and
        the vector and scalar code of a CPU, which round differently, meet the same pixels in every batch.
        """
        size = piece(self.device.type, len(number))
        images, truths = [], []
        for first in range(0, len(number), size):
            part = slice(first, first + size)
            wanted = len(number[part])
            draws = self.draw(_fill(number[part], size), None if label is None else _fill(label[part], size))
            images.append(self.expose(draws)[:wanted])
            truths.append(draws.first(wanted))
        return (images[0] if len(images) == 1 else torch.cat(images)), Draws.join(truths)


@functools.cache
def _generator(kind: str) -> Callable[[Tensor, Words], Words]:
    return compiled(philox, kind)


def piece(kind: str, wanted: int) -> int:
    """Images that are made at once: few enough for the caches of a CPU, enough to fill a GPU."""
    if kind == "cpu":
        return 32
    return 128 if wanted <= 512 else 1024


def _fill(values: Tensor, size: int) -> Tensor:
    """`values` (B,), B <= size, lengthened to `size` with zeros."""
    return torch.nn.functional.pad(values, (0, size - len(values)))
