"""Scores, calibration and their intervals, from plain arrays. Nothing here knows of networks, files or lenses."""
