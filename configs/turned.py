"""Lenses of any orientation: as `best`, shown at all angles, and the same answer for an image turned or mirrored.

A lens has no up, and a survey's images have no common one. The images are turned by any angle in training (the crop
keeps the dark outside), and the network is shown, of each image's eight views (turned by quarters, mirrored), the one
whose light lies to the right (`--orient`): what it says of the eight is one and the same, at no cost, in training and
afterwards.
"""

from dataclasses import replace

from configs import best

CONFIG = replace(
    best.CONFIG,
    preset="turned",
    data=replace(best.CONFIG.data, standardize=True),
    augment=replace(best.CONFIG.augment, rotation=180.0),
    model=replace(best.CONFIG.model, orient=True),
    optimization=replace(best.CONFIG.optimization, schedule="cosine", warmup_epochs=0.5, epochs=60),
)
