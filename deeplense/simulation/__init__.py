"""Simulated strong lenses with their truth: priors and sets, draws, rendering, camera, and what is written.

Data moves one way: `sets` (what may be drawn) -> `draw` (a batch of parameters, the truth) -> `render` (noise-free
flux) -> `camera` (counts) -> `simulator` (all of it, for any image numbers on any device) -> `stream`
(images for training, without end) or `write` (files). The package imports nothing heavy by itself.
"""
