"""The sets that a test goes over: those that are rendered by the same code as another one only with `-m slow`."""

from collections.abc import Iterable

import pytest

from deeplense.simulation.sets import SETS

_LIKE_ANOTHER = (
    *("model_ii", "model_ii_published", "model_iii", "morphology_2019_varied", "hst", "jwst"),
    *("one_subhalo_multipoles", "one_subhalo_bump", "few_subhalos"),
    *("hst_subhalo_sersic", "hst_subhalo_varied", "hst_subhalo_c15", "hst_subhalo_bump"),
)


def _slow(names: Iterable[str]) -> list[object]:
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


EVERY_SET = [*(name for name in SETS if name not in _LIKE_ANOTHER), *_slow(_LIKE_ANOTHER)]

ONE_SET = ["model_i", *_slow(name for name in SETS if name not in (*_LIKE_ANOTHER, "model_i"))]
"""For what takes long, such as compiling, which is half a minute a set."""
