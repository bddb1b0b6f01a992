"""Stopping when asked: by the scheduler (SIGTERM, SIGUSR1) or by hand (Ctrl-C)."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

SAME_REQUEST = 1.0
"""Seconds in which signals are one request: SLURM preempts with two SIGTERM, 20 ms apart, and means to wait for us."""


class StopRequest:
    """Notes the first signal, for the loop to act on between two steps; a later one ends the process at once."""

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0

    def listen(self) -> None:
        """Take over the signals, from here to the end of the process."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self.requested, self._since = True, time.monotonic()
        elif time.monotonic() - self._since > SAME_REQUEST:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
