"""Detects commits after a damaged frame of a WAL (https://sqlite.org/walformat.html).

SQLite takes the first invalid frame for the end of a log that a crash cut off, and ignores the
frames after it. A crash damages the last transaction only, which was not synced. If several commits
follow the damaged frame, some of them were acknowledged. They cannot be applied, because frames
before them are missing, but the loss is reported and the WAL is kept. With durability normal a loss
of power can have the same effect: pages that were not synced reach the disk in any order.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from bytelyst_sync.storage.damaged_files import salvage_mark

__all__ = ["keep_hidden_commits", "remember"]

_HEADER_BYTES, _FRAME_BYTES = 32, 24
_MAGIC = b"\x37\x7f\x06"
_TORN = 1
_FULL = 2


def keep_hidden_commits(path: Path, writer: sqlite3.Connection) -> str | None:
    """Searches for commits after the readable part of the WAL; copies the WAL if there are any.

    The caller holds the write lock, and has just opened the database. Returns a report or ``None``.
    """
    wal = path.with_name(path.name + "-wal")
    if not wal.exists() or wal.stat().st_size <= _HEADER_BYTES + _FRAME_BYTES:
        return None
    try:
        readable = int(writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    except sqlite3.OperationalError:
        return None  # for example on a full disk: the store can still be read
    if readable < 0:
        return None  # an earlier connection is checkpointing, and has made this check
    page_bytes = int(writer.execute("PRAGMA page_size").fetchone()[0])
    hidden = _commits_behind(wal, readable, _FRAME_BYTES + page_bytes)
    if hidden <= _TORN:
        return None
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.name}.damaged-{moment}")
    kept = aside.with_name(aside.name + "-wal")
    aside.touch(0o600, exist_ok=False)
    with closing(sqlite3.connect(aside)) as copy:
        writer.backup(copy)
    # not before: SQLite deletes a WAL beside an empty file. (The database itself is copied by
    # SQLite, because closing any other descriptor of it would drop SQLite's locks.)
    kept.touch(0o600, exist_ok=False)
    shutil.copyfile(wal, kept)
    synced = int(writer.execute("PRAGMA synchronous").fetchone()[0]) >= _FULL
    cause = "" if synced else "; with durability normal a loss of power does that"
    return (
        f"the write-ahead log of {path} is damaged: {hidden} commits in it cannot be read; "
        f"it was copied to {kept}{cause}"
    )


def remember(writer: sqlite3.Connection, text: str) -> None:
    """Stores the report for other processes, and empties the damaged WAL."""
    writer.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", salvage_mark(text))
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _commits_behind(wal: Path, readable: int, step: int) -> int:
    """The number of commit frames after the first invalid frame of this log; 0 if all are valid.

    Valid frames that SQLite did not read belong to a transaction without its commit frame; the
    invalid frame comes after them.
    """
    with wal.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        order = "big" if header[3] & 1 else "little"
        sums = struct.unpack(">II", header[24:32])
        sound_header = header[:3] == _MAGIC and _checksum(header[:24], (0, 0), order) == sums
        salts = header[16:24]
        place = _HEADER_BYTES + readable * step
        if readable:
            file.seek(place - step)
            sums = struct.unpack(">II", file.read(_FRAME_BYTES)[16:24])
        file.seek(place)
        frame = file.read(step)
        if not sound_header and not readable:
            # the header may be damaged: then take the salts of the first frame
            salts = frame[8:16]
        else:
            while len(frame) == step and frame[8:16] == salts:
                sums = _checksum(frame[:8] + frame[_FRAME_BYTES:], sums, order)
                if sums != struct.unpack(">II", frame[16:24]):
                    break
                place += step
                frame = file.read(step)
        commits = 0
        while True:
            file.seek(place)
            frame = file.read(_FRAME_BYTES)
            if len(frame) < _FRAME_BYTES:
                return commits
            commits += frame[8:16] == salts and frame[4:8] != bytes(4)
            place += step


def _checksum(data: bytes, start: tuple[int, ...], order: str) -> tuple[int, int]:
    """The cumulative checksum of the WAL format, over pairs of words."""
    one, two = start
    words = struct.unpack(f"{'>' if order == 'big' else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
