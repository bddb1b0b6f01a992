"""Where the subhalos of a population are: `hst`, as many as their mass function gives.

Truncated NFW subhalos from 10^8 to 10^10 Msun, with 0.1 to 5 % of the lens's mass between them, in lenses as the SLACS
survey took them, with the lens's own light. Most of them are too light or too far out to be seen: the density says so.

Not measured: meant for a GPU. One core of an AMD EPYC (Zen 3) has 2.4 images/s, the simulator not compiled.
"""

from dataclasses import replace

from configs import locate_best

CONFIG = replace(
    locate_best.CONFIG,
    preset="locate-many",
    data=replace(locate_best.CONFIG.data, data="hst", image_size=100, crop=1.0),
    # There are many subhalos already, and none of the easier sets has so many pixels.
    simulation=replace(locate_best.CONFIG.simulation, crowd=0.0, first_set=None, epoch_images=25_000),
)
