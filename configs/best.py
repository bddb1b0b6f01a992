"""Highest AUC, for lenses of any orientation: 30 epochs, all angles, one answer for all views of an image.

A lens has no up, and a survey's images have no common one. The images are turned by any angle in training (the crop
keeps the dark outside), and the network is shown, of each image's eight views (turned by quarters, mirrored), the one
whose light lies to the right (`--orient`): what it says of the eight is one and the same, at no cost, in training and
afterwards. The rest is from `upright`, with a cosine after a short warm-up in place of one cycle.

MEASURED
"""

from dataclasses import replace

from configs import upright

CONFIG = replace(
    upright.CONFIG,
    preset="best",
    data=replace(upright.CONFIG.data, standardize=True),
    augment=replace(upright.CONFIG.augment, rotation=180.0),
    model=replace(upright.CONFIG.model, orient=True),
    optimization=replace(upright.CONFIG.optimization, schedule="cosine", warmup_epochs=0.5, epochs=30),
)
