"""Weights for use elsewhere: a file from raw pixels to probabilities, checked, with a card beside it."""
