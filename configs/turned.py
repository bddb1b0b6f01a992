"""Lenses of any orientation: as `best`, shown at all angles, and the same answer for an image turned or mirrored.

A lens has no up, and a survey's images have no common one. The images are turned by any angle in training (the crop
keeps the dark outside), and the network is shown, of each image's eight views (turned by quarters, mirrored), the one
whose light lies to the right (`--orient`): what it says of the eight is one and the same, at no cost, in training and
afterwards.

Measured on the real images, one run, its own 1,600 test images turned at random (`evaluate.py RUN --turn-test`), with
the best weights of the first 30 of the 60 epochs: AUC 0.99997 [0.99993, 1], 4 wrong; and the same upright, with
probabilities that agree to 3e-6 (`best`, on images so turned: 0.937). All 60, and other seeds, were not run: at the 315
images/s of `best` on two cores with bf16 they would take 18 minutes, without bf16 50.
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
