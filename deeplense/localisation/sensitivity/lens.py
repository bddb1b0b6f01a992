"""The smooth lens of an image: given, drawn, or fitted."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch

from deeplense.data.imageset import ImageSet
from deeplense.errors import InputError
from deeplense.localisation.limit import draws_of
from deeplense.localisation.refit.smooth import fit_smooth
from deeplense.localisation.refit.stage import raw_pixels, stage_of
from deeplense.simulation.draw import Draws
from deeplense.simulation.sets import LensSet, find_classes
from deeplense.simulation.simulator import Simulator
from deeplense.task import Trained


def lens_of(
    trained: Trained, lens_set: LensSet, images: ImageSet, index: int, given: str | None, device: torch.device
) -> tuple[Draws, str]:
    """The lens of image `index`, and where it is from. `given` is the file of `--lens`.

    Raises:
        InputError: it is not known, and cannot be fitted; or the file is none.
    """
    own = draws_of(images, np.array([index]))
    if given is not None:
        # What is not given is what a set has in the middle of its priors.
        drawn = Simulator(lens_set, find_classes(["no_sub"]), 0, "cpu").draw(torch.zeros(1, dtype=torch.int64))
        drawn = dataclasses.replace(drawn, scalars=drawn.scalars | _read_lens(given, drawn))
        return drawn.bare().to(device), "given"
    if own is not None:
        return own.bare().to(device), "its own, as it was drawn"
    stage = stage_of(trained)
    family = stage.refit.family
    counts = torch.from_numpy(raw_pixels(images, np.array([index]), family)).to(device)
    _, fitted = fit_smooth(family, stage.refit.network, stage.refit.errors, counts)
    chi2 = float(fitted.chi2[0]) / counts[0].numel()
    return family.draws(fitted.vectors), f"fitted, with a reduced chi^2 of {chi2:.3f}"


def _read_lens(file: str, draws: Draws) -> dict[str, torch.Tensor]:
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
        values = {str(name): torch.tensor([float(value)]) for name, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"--lens {file}: cannot be read ({error}): give JSON of numbers by name") from None
    known = [name for name in draws.scalars if not name.startswith(("vortex", "axion", "subhalos", "share"))]
    unknown = [name for name in values if name not in known]
    missing = [name for name in known if name not in values and not name.startswith(("z_", "exposure"))]
    if unknown or not values:
        raise InputError(f"--lens {file}: {', '.join(unknown) or 'nothing in it'} is no parameter: {', '.join(known)}")
    varied = [name for name in missing if name not in ("source_amplitude", "clump_share")]
    if varied:
        raise InputError(f"--lens {file}: has no {', '.join(varied)}: give all of the lens and its source")
    return values
