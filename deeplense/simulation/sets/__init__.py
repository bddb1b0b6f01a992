"""The sets that can be simulated, each a function that returns its priors. Nothing here imports torch.

Whoever adds a set writes such a function and names it in `_MAKERS`; the first line of its docstring is what `--list`
prints. Whoever changes what a set draws raises its `version`: the version is part of every random key and of every
cache.
"""

from __future__ import annotations

from deeplense.errors import InputError
from deeplense.simulation.sets.deeplensesim import model_i, model_ii, model_ii_published, model_iii, model_iv
from deeplense.simulation.sets.lensset import KINDS, Classes, Kind, LensSet, find_classes
from deeplense.simulation.sets.localisation import (
    few_subhalos,
    hst_subhalo,
    hst_subhalo_c15,
    hst_subhalo_sersic,
    hst_subhalo_varied,
    one_subhalo,
)
from deeplense.simulation.sets.morphology import morphology_2019, morphology_2019_varied
from deeplense.simulation.sets.surveys import euclid, hst, jwst
from deeplense.simulation.sets.unlike import hst_subhalo_bump, one_subhalo_bump, one_subhalo_multipoles

__all__ = ["KINDS", "OF_GALAXIES", "SETS", "SUMMARIES", "Classes", "Kind", "LensSet", "find_classes", "find_set"]

_MAKERS = (
    *(model_i, model_ii, model_ii_published, model_iii),
    *(morphology_2019, morphology_2019_varied),
    *(one_subhalo, few_subhalos),
    *(hst_subhalo, hst_subhalo_sersic, hst_subhalo_varied, hst_subhalo_c15),
    *(one_subhalo_multipoles, one_subhalo_bump, hst_subhalo_bump),
    *(euclid, hst, jwst),
)

SETS: dict[str, LensSet] = {maker.__name__: maker() for maker in _MAKERS}
OF_GALAXIES = {"model_iv": model_iv}
"""Those whose sources are real galaxies, and which are not without a gallery of them."""
SUMMARIES: dict[str, str] = {
    maker.__name__: (maker.__doc__ or "").splitlines()[0] for maker in (*_MAKERS, *OF_GALAXIES.values())
}
"""A line on each set."""


def find_set(name: str) -> LensSet:
    """The set called `name`; an `InputError` lists the known ones."""
    if name in OF_GALAXIES:
        raise InputError(
            f"{name}: its sources are real galaxies: make it by `python -m deeplense.simulation {name} "
            "--sources FOLDER` (of Galaxy10 DECals, say)"
        )
    if name not in SETS:
        raise InputError(f"{name}: no simulated set has this name; there are {', '.join((*SETS, *OF_GALAXIES))}")
    return SETS[name]
