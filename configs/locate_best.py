"""Where a subhalo is in what Hubble would see: `hst_subhalo`, some 65 minutes on two cores.

One truncated NFW subhalo or none, on the arcs of clumpy sources behind power-law lenses with multipoles. 60,000 lenses
that are simulated as they are needed: the first fifth of them those of `one_subhalo`, without which 24,000 taught it
nothing; four subhalos in the mean in each image of the first four fifths. The network sees the middle 56 of the 80 px:
of 2,000 subhalos three lay farther out.
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
