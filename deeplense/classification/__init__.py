"""The task "is there substructure, and of which kind".

In: images of lenses with their classes. Out: a network with a logit for it, its card (temperature, threshold), and what
`evaluate.py` writes: scores, figures, comparison of runs, sensitivity, attribution.
"""
