"""Point-spread functions, noise maps and masks that lie beside the image of a lens, and are no lenses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from deeplense.data.decode import stem_of
from deeplense.data.decode.pixels import SIDE_PLANES
from deeplense.data.names import fold

COMPANIONS = (*SIDE_PLANES, "positions")
"""With or without `map` behind them."""
ONE_OF_SEVERAL = ("psf", "mask")
"""`psf_kernel.fits`, `mask_extra_galaxies.fits` beside `data.fits`: what comes behind these says which of them."""
MAIN = ("data", "image", "img", "sci", "lens", "cutout")
"""`psf.fits` beside `data.fits`; `lens7_noise_map.fits` and `lens7.weight.fits` beside `lens7.fits` or
`lens7_data.fits`; `psf_7.fits` beside `image_7.fits`."""


def companions_among(paths: Iterable[str]) -> list[str]:
    """The paths of those that belong to an image in the same folder, in the order given."""
    paths = list(paths)
    beside: dict[str, set[str]] = defaultdict(set)
    for path in paths:
        beside[_folder(path)].add(_joined(_words(path)))
    return [path for path in paths if _is_companion(_words(path), beside[_folder(path)])]


def _is_companion(words: list[str], beside: set[str]) -> bool:
    if (_says_companion(words) or words[0] in ONE_OF_SEVERAL) and any(main in beside for main in MAIN):
        return True
    for count in (1, 2):  # `psf`, `noise_map`
        for said, rest in ((words[-count:], words[:-count]), (words[:count], words[count:])):
            base = _joined(rest)
            if base and _says_companion(said):
                others = {base, *(f"{base}_{main}" for main in MAIN), *(f"{main}_{base}" for main in MAIN)}
                if others & beside:
                    return True
    return False


def _says_companion(words: list[str]) -> bool:
    name = fold("".join(words))
    return name in COMPANIONS or name.removesuffix("map") in COMPANIONS


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _words(path: str) -> list[str]:
    return re.split(r"[_.-]", stem_of(path).casefold())


def _joined(words: list[str]) -> str:
    return "_".join(words)
