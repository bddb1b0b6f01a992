"""`metrics.jsonl`: every number of a run, in its folder. On the first process only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class MetricsLog:
    """`metrics.jsonl`: one object a line. A resumed run cuts off what came after its checkpoint."""

    def __init__(self, file: Path, length: int = 0) -> None:
        """Open `file` for writing after its first `length` bytes."""
        self.file = file.open("ab", buffering=0)
        self.file.truncate(length)

    def write(self, values: dict[str, Any]) -> None:
        try:
            self.file.write(json.dumps(values).encode() + b"\n")
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.file.name) from None  # a write alone does not say where

    def length(self) -> int:
        """Bytes so far, all of them safely on disk."""
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size
