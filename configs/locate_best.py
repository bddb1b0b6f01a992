"""Where a subhalo is in what Hubble would see: `hst_subhalo`, 240,000 lenses.

One truncated NFW subhalo or none, on the arcs of clumpy sources behind power-law lenses with multipoles. The
network sees the middle 56 of the 80 px: of 2,000 subhalos three lay farther out.

Start it from a network that knows point masses (`--init runs/LOCATE`, of `train.py locate`): from random weights
24,000 images taught it nothing. After as few as 12,000 of `one_subhalo` and 39,000 of `hst_subhalo_varied`, of this set
67 and 85 % are found of 10^9.5 to 10^10 and to 10^10.5 Msun, at a false-positive rate of 10 %. All 240,000 were not
tried: two cores of an AMD EPYC (Zen 3) train 20 images/s, of whose time the simulation, 4 x 4 points a pixel, takes a
quarter. More in `deeplense/localisation/README.md`.
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
