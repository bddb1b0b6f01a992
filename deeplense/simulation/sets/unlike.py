"""Lenses that are not quite of the family that a network has learned: does it take what it does not know for subhalos?

Train on `one_subhalo` or `hst_subhalo`, and score on these with `evaluate.py RUN --data NAME`: the smooth images are
what to look at.
"""

from __future__ import annotations

from dataclasses import replace

from deeplense.simulation.lenses import ANY_ANGLE, Multipole, PowerLawHalo
from deeplense.simulation.lights import Clumps, Sersic
from deeplense.simulation.priors import Fixed, Uniform
from deeplense.simulation.sets.lensset import LensSet
from deeplense.simulation.sets.localisation import hst_subhalo, one_subhalo


def one_subhalo_multipoles() -> LensSet:
    """`one_subhalo` in lenses with multipoles of 3 %, which that set has not: m = 3 and 4, at any angle."""
    return replace(
        one_subhalo(),
        name="one_subhalo_multipoles",
        halo=PowerLawHalo(
            einstein_radius=Uniform(1.0, 1.6),
            slope=Fixed(2.0),
            ellipse=(Uniform(0.6, 1.0), ANY_ANGLE),
            shear=(Uniform(-0.07, 0.07), Uniform(-0.07, 0.07)),
            # 3 % of the mean Einstein radius.
            multipoles=(Multipole(3, Fixed(0.039)), Multipole(4, Fixed(0.039))),
        ),
    )


def one_subhalo_bump() -> LensSet:
    """`one_subhalo` behind which a tenth of the source's light is in a bump, which that set has not."""
    plain = one_subhalo()
    assert isinstance(plain.source, Sersic)
    return replace(plain, name="one_subhalo_bump", source=_with_bump(plain.source))


def hst_subhalo_bump() -> LensSet:
    """`hst_subhalo` with a single bump in the source, as in `one_subhalo_bump`, where that set has eight clumps."""
    clumpy = hst_subhalo()
    assert isinstance(clumpy.source, Clumps)
    return replace(clumpy, name="hst_subhalo_bump", version=1, source=_with_bump(clumpy.source.body))


def _with_bump(body: Sersic) -> Clumps:
    return Clumps(body=body, number=1, share=Fixed(0.1), radius=Fixed(0.3))
