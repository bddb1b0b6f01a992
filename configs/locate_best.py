"""Where a subhalo is in what Hubble would see: `hst_subhalo`, 240,000 lenses.

One truncated NFW subhalo or none, on the arcs of clumpy sources behind power-law lenses with multipoles. The
network sees the middle 56 of the 80 px: of 2,000 subhalos three lay farther out.

Not measured. The simulation alone, 4 x 4 points a pixel, takes a core of an AMD EPYC (Zen 3) 15 ms an image, and the
network 50.
"""

from dataclasses import replace

from configs import locate

CONFIG = replace(
    locate.CONFIG,
    preset="locate-best",
    data=replace(locate.CONFIG.data, data="hst_subhalo"),
    simulation=replace(locate.CONFIG.simulation, count=20_000, epoch_images=12_000),
    optimization=replace(locate.CONFIG.optimization, epochs=20),
)
