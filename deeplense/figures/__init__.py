"""Figures, from plain arrays. Each function writes one file and nothing else."""
