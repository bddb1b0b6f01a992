"""What W&B's own files in a run folder hold: which entries an earlier session of the run really left there.

W&B writes behind: what a killed process had logged in its last seconds is in no file. And what is in one may come after
the checkpoint that the run goes on from. So neither the log nor the checkpoint tells what W&B has; its files do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

BLOCK = 32768
HEADER = struct.Struct("<IHB")  # checksum, length, kind
WHOLE, LAST = 1, 4
MAGIC = b":W&B"


def entries_of(folder: Path) -> int:
    """Entries (W&B's steps, from 0) in the files of all sessions below `folder`; what was cut off does not count."""
    steps = [
        record.history.step.num
        for file in folder.glob("*run-*/*.wandb")
        for record in records(file.read_bytes())
        if record.HasField("history")
    ]
    return max(steps, default=-1) + 1


def records(content: bytes) -> Iterator[Record]:
    """The whole records of a `.wandb` file: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    if not content.startswith(MAGIC):
        return
    place, parts = HEADER.size, []
    while place + HEADER.size <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER.size:  # too little for another header: filled with zeros
            place += left
            continue
        _, length, kind = HEADER.unpack_from(content, place)
        end = place + HEADER.size + length
        if end > len(content):
            return
        parts.append(content[place + HEADER.size : end])
        place = end
        if kind in (WHOLE, LAST):
            try:
                yield Record.FromString(b"".join(parts))
            except DecodeError:
                return
            parts = []
