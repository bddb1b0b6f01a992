"""The task "where is it, and how heavy": the place, mass and probability of each subhalo, with their uncertainties.

In: images of lenses with the truth about their subhalos. Out: a network that gives a density of subhalos over place and
mass, what of it is calibrated on validation images, and what `evaluate.py` writes: detections, scores, figures, the
limit.
"""
