"""Commits that a damaged write-ahead log hides (https://sqlite.org/walformat.html).

SQLite takes the first frame that is not valid for the torn end of a crash, and ignores all that is
behind it. What a crash tears is the last transaction, the one that was not synced; where more than
one commit lies behind the break, acknowledged transactions do. They cannot be applied over the
gap, but they are not to be lost in silence. With durability normal a loss of power leaves the same
trace: what was not synced may reach the disk in any order.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

from bytelyst_sync.storage.schema import Meta

__all__ = ["MARK", "keep_hidden_commits", "remember"]

MARK = "salvaged"
"""The name of the ``Meta`` row that tells, as JSON, what was lost of this file, and when."""

_HEADER_BYTES, _FRAME_BYTES = 32, 24
_MAGIC = b"\x37\x7f\x06"
_TORN = 1
_FULL = 2


def keep_hidden_commits(path: Path, writer: sqlite3.Connection) -> str | None:
    """Looks behind the readable part of the WAL that was found; keeps a copy of what is there.

    Under the write guard, right after opening. Returns what there is to say about it.
    """
    wal = path.with_name(path.name + "-wal")
    if not wal.exists() or wal.stat().st_size <= _HEADER_BYTES + _FRAME_BYTES:
        return None
    try:
        readable = int(writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    except sqlite3.OperationalError:
        return None  # a full disk, as an example: the store may still be read
    if readable < 0:
        return None  # another connection is at it: an earlier one, which has looked
    page_bytes = int(writer.execute("PRAGMA page_size").fetchone()[0])
    hidden = _commits_behind(wal, readable, _FRAME_BYTES + page_bytes)
    if hidden <= _TORN:
        return None
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    kept = aside.with_name(aside.name + "-wal")
    aside.touch(0o600, exist_ok=False)
    with closing(sqlite3.connect(aside)) as copy:
        writer.backup(copy)
    # only now: SQLite deletes a log that lies beside an empty file. The database's own file must
    # not be opened beside SQLite, for closing it would drop its locks
    kept.touch(0o600, exist_ok=False)
    shutil.copyfile(wal, kept)
    synced = int(writer.execute("PRAGMA synchronous").fetchone()[0]) >= _FULL
    cause = "" if synced else "; with durability normal a loss of power does that"
    return (
        f"the write-ahead log of {path} is damaged: {hidden} commits in it cannot be read; "
        f"it was copied to {kept}{cause}"
    )


def remember(writer: sqlite3.Connection, text: str) -> None:
    """Marks the database with it, for others that open it, and ends the damaged log."""
    mark = Meta(MARK, json.dumps({"text": text, "at": time.time()}))
    writer.execute("INSERT OR REPLACE INTO meta VALUES (?,?)", mark)
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _commits_behind(wal: Path, readable: int, step: int) -> int:
    """How many frames behind a break end a transaction of the same log; 0 if nothing is broken.

    Frames that are sound, and yet not read, are those of a log that begins anew or of a
    transaction whose end is missing: the break is behind them.
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
            # what is damaged may be the header: then the frames agree among themselves
            salts = frame[8:16]
        else:
            while len(frame) == step and frame[8:16] == salts:
                sums = _checksum(frame[:8] + frame[_FRAME_BYTES:], sums, order)
                if sums != struct.unpack(">II", frame[16:24]):
                    break
                place += step
                frame = file.read(step)
        found = 0
        while True:
            file.seek(place)
            frame = file.read(_FRAME_BYTES)
            if len(frame) < _FRAME_BYTES:
                return found
            found += frame[8:16] == salts and frame[4:8] != bytes(4)
            place += step


def _checksum(data: bytes, start: tuple[int, ...], order: str) -> tuple[int, int]:
    """The running checksum of the format, over pairs of words."""
    one, two = start
    words = struct.unpack(f"{'>' if order == 'big' else '<'}{len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) & 0xFFFFFFFF
        two = (two + odd + one) & 0xFFFFFFFF
    return one, two
