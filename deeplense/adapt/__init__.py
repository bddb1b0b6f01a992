"""A run made fit for other images, whose classes nobody knows: `python -m deeplense.adapt RUN --data UNLABELLED`.

`guess` says what unlabelled images probably are, `learn` lets a network learn from that, `write` keeps what came of it.
"""
