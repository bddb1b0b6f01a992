"""Train, score and trust classifiers of strong-lens images."""

__version__ = "0.1.0"
