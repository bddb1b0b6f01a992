"""Where a subhalo is in what Hubble would see: `hst_subhalo`, some 75 minutes on two cores.

One truncated NFW subhalo or none, on the arcs of clumpy sources behind power-law lenses with multipoles. 60,000 lenses
that are simulated as they are needed: the first fifth of them those of `one_subhalo`, without which 24,000 taught it
nothing; four subhalos in the mean in each image of the first four fifths. The network sees the middle 56 of the 80 px:
of 2,000 subhalos three lay farther out.

Measured, one run: at a false-positive rate of 10 %, 37 / 72 / 89 / 96 % found for 10^9 to 10^9.5, to 10^10, to 10^10.5,
to 10^11 Msun, at 1 % 16 / 50 / 78 / 90 %, these all but a few within 0.16"; median error of the place 0.020". Two cores
of an AMD EPYC (Zen 3) trained for 58 minutes, one scored for 19, most of that for the limit. More in
`deeplense/localisation/README.md`.
"""

from dataclasses import replace

from configs import locate
from deeplense.config import SplitConfig

CONFIG = replace(
    locate.CONFIG,
    preset="locate-best",
    data=replace(locate.CONFIG.data, data="hst_subhalo"),
    simulation=replace(
        locate.CONFIG.simulation,
        count=8_000,
        epoch_images=6_000,
        crowd_part=0.8,
        first_set="one_subhalo",
    ),
    split=SplitConfig(val_fraction=0.2, test_fraction=0.75),
    optimization=replace(locate.CONFIG.optimization, epochs=10),
)
