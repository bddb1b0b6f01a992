"""Measurements that anyone can repeat: `python -m deeplense.benchmark --help`."""
