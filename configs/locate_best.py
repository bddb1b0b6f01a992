"""Where a subhalo is in what Hubble would see: `hst_subhalo`, half a million lenses, minutes on a GPU.

One truncated NFW subhalo or none, on the arcs of clumpy sources behind power-law lenses with multipoles. The
network sees all of the 80 x 80 px: subhalos lie where the arcs are, and these may be off the centre.

Not measured yet.
"""

from dataclasses import replace

from configs import locate

CONFIG = replace(
    locate.CONFIG,
    preset="locate-best",
    data=replace(locate.CONFIG.data, data="hst_subhalo", image_size=80, crop=1.0),
    simulation=replace(locate.CONFIG.simulation, count=20_000, epoch_images=25_000),
    optimization=replace(locate.CONFIG.optimization, batch_size=64, epochs=20, ema_decay=0.999),
)
