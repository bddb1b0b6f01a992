"""The sets that a test goes over: those that are rendered by the same code as another one only with `-m slow`."""

import pytest

from deeplense.simulation.sets import SETS

_LIKE_ANOTHER = (
    *("model_ii", "model_ii_published", "model_iii", "morphology_2019_varied", "hst", "jwst"),
    *("one_subhalo_multipoles", "one_subhalo_bump", "few_subhalos"),
    *("hst_subhalo_sersic", "hst_subhalo_varied", "hst_subhalo_c15"),
)

EVERY_SET = [pytest.param(name, marks=pytest.mark.slow) if name in _LIKE_ANOTHER else name for name in SETS]
