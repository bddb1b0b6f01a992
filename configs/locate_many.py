"""Where the subhalos of a population are: `hst`, as many as their mass function gives.

Truncated NFW subhalos from 10^8 to 10^10 Msun, with 0.1 to 5 % of the lens's mass between them, in lenses as the SLACS
survey took them, with the lens's own light. Most of them are too light or too far out to be seen: the density says so.

500,000 lenses, meant for a GPU and not measured there. One core of an AMD EPYC (Zen 3) has 2.5 images/s, the simulator
not compiled: 4,000 images in 26 minutes, from a network of `hst_subhalo_varied`, taught it their number (5.0 an image
where there are 5.4) and little of their places (ROC AUC of any 0.55).
"""

from dataclasses import replace

from configs import locate

CONFIG = replace(
    locate.CONFIG,
    preset="locate-many",
    data=replace(locate.CONFIG.data, data="hst", image_size=100, crop=1.0),
    # There are many subhalos already.
    simulation=replace(locate.CONFIG.simulation, count=20_000, crowd=0.0, epoch_images=25_000),
    optimization=replace(locate.CONFIG.optimization, epochs=20),
)
