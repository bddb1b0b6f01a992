"""What a set of simulated images is, and which classes it may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from deeplense.errors import InputError
from deeplense.simulation.cosmology import Cosmology
from deeplense.simulation.gallery import Pictures
from deeplense.simulation.instruments import Camera, Telescope
from deeplense.simulation.lenses import Halo, PowerLawHalo
from deeplense.simulation.lights import Clumps, DoubleSersic, Field, Magnitude, Neighbours, Sersic, Subtraction, body
from deeplense.simulation.priors import Prior
from deeplense.simulation.substructure import LATER, Subhalos, Vortex

Kind = Literal["no_sub", "cdm", "axion"]
KINDS: tuple[Kind, ...] = ("no_sub", "cdm", "axion")
"""The kinds of substructure. The place in this tuple is part of an image's random counter: append only."""


@dataclass(frozen=True)
class LensSet:
    """A set of simulated images: everything that may be drawn, and from what."""

    name: str
    version: int
    cosmology: Cosmology
    z_lens: Prior
    z_source: Prior
    halo: Halo | PowerLawHalo
    source: Sersic | Clumps | Field | Pictures
    lens_light: Sersic | DoubleSersic | None
    subhalos: Subhalos
    vortex: Vortex
    camera: Camera | Telescope
    neighbours: Neighbours | None = field(default=None, metadata=LATER)
    subtraction: Subtraction | None = field(default=None, metadata=LATER)
    """None: the lens's light is in the images."""

    def __post_init__(self) -> None:
        lights = self.lights.values()
        if isinstance(self.camera, Camera) and any(isinstance(light.amplitude, Magnitude) for light in lights):
            raise InputError(f"{self.name}: magnitudes need a telescope, whose zero point says what they are in counts")
        if self.subtraction is not None and (self.lens_light is None or isinstance(self.camera, Camera)):
            raise InputError(f"{self.name}: has no lens light that a telescope sees: there is none to subtract")

    @property
    def lights(self) -> dict[str, Sersic]:
        """The Sersic profiles by the beginning of their scalars' names."""
        lights = {"source": body(self.source)}
        if isinstance(self.lens_light, DoubleSersic):
            return lights | {"light": self.lens_light.inner, "outer": self.lens_light.outer}
        return lights if self.lens_light is None else lights | {"light": self.lens_light}


@dataclass(frozen=True)
class Classes:
    """The classes of a set of images, in the order of their labels."""

    names: tuple[str, ...]
    """As they are written: `cdm` is `sub` where there are two classes."""
    kinds: tuple[Kind, ...]
    """What each one is."""


def find_classes(wanted: Sequence[str] = ("no_sub", "cdm")) -> Classes:
    """Classes by name (`sub` means `cdm`): `no_sub` is label 0, the others follow in order of name."""
    kinds: list[Kind] = []
    for name in wanted:
        kind = "cdm" if name == "sub" else name
        if kind not in KINDS:
            raise InputError(f"--classes {name}: unknown; there are {', '.join(KINDS)}")
        if kind in kinds:
            raise InputError(f"--classes {name}: named twice; name each class once")
        kinds.append(kind)
    if not kinds:
        raise InputError(f"--classes: none given; there are {', '.join(KINDS)}")
    written = {kind: "sub" if kind == "cdm" and len(kinds) == 2 else kind for kind in kinds}
    kinds.sort(key=lambda kind: (kind != "no_sub", written[kind]))
    return Classes(tuple(written[kind] for kind in kinds), tuple(kinds))
