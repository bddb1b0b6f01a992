"""What using the weights of a run takes, whatever it was trained for.

In: a run folder and images. Out: its weights and their card, the images that it may be scored on, and its outputs.
"""
