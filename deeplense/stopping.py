"""Stopping when asked: by the scheduler (SIGTERM, SIGUSR1) or by hand (Ctrl-C)."""

from __future__ import annotations

import signal
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Notes the first signal, for the loop to act on between two steps; a second one ends the process at once."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Take over the signals, from here to the end of the process."""
        for number in SIGNALS:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        for known in SIGNALS:
            signal.signal(known, signal.SIG_DFL)
