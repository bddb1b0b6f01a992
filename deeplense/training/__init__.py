"""From a task, images and settings to weights: any number of processes, stoppable at any moment.

In: batches of the device. Out: the run folder: checkpoints, the best weights, the log. Knows a *task* (`task.py`), and
none by name.
"""
