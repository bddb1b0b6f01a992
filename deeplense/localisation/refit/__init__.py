"""The second stage: what a network has found, fitted again together with the lens and the source.

Images as they are stored and the network's word on them come in; places, masses, their errors and probabilities go out.
`stage` is the way in, `refit` the story of a batch.
"""
