"""Least time to a good AUC: 4 epochs of `best`, in one cycle from random weights.

On two cores of an AMD EPYC (Zen 4), torch 2.14, bf16, one run on the real images: validation AUC 0.9997, test AUC
0.9991 [0.9985, 0.9997], accuracy 0.981, 1 min 42 s from launch to the end.
"""

from dataclasses import replace

from configs import best

CONFIG = replace(best.CONFIG, preset="fast", optimization=replace(best.CONFIG.optimization, epochs=4))
