"""A disk with a volatile write cache, whose plug can be pulled.

It is a file in a small FUSE file system of this process, with a loop device on top of it. All that
the kernel writes and every flush is logged, and so is what the scenario notes between them. From
that ``power_losses`` tells, for any instant, what a disk that lost its power there may have kept:
all that was flushed by then, and of what was written since, any or none. The kernel talks to it on
``/dev/fuse``, in the protocol of ``linux/fuse.h``.

Who owns what: one thread answers the kernel. One lock guards the blocks and the log.
"""

import errno
import os
import random
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from tests.torture.mounts import mount, unmount

__all__ = ["BLOCK_BYTES", "Disk", "Flush", "Note", "write_image"]

BLOCK_BYTES = 4096
_NAME = b"disk"
_ROOT, _FILE = 1, 2
_MOST_WRITTEN = 1 << 17
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_LOOKUP, _FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS = 1, 2, 3, 4, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _BATCH_FORGET = 18, 20, 25, 26, 36, 42
_LONG_S = 3600


@attrs.frozen
class Flush:
    """In the log: all that is before it is on the disk."""


@attrs.frozen
class Note:
    """In the log: what the scenario noted."""

    what: Any


class Disk:
    """``path`` is the file that stands for the disk; of the given size, empty at first."""

    def __init__(self, place: Path, size_bytes: int) -> None:
        self.path = place / _NAME.decode()
        self.log: list[tuple[int, bytes] | Flush | Note] = []
        self._size = size_bytes
        self._place = place
        self._now: dict[int, bytes] = {}
        self._lock = threading.Lock()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0"
        mount("torture", place, "fuse", options=options)
        self._thread = threading.Thread(target=self._serve, name="disk", daemon=True)
        self._thread.start()

    def note(self, what: Callable[[], object]) -> None:
        """Puts what the call gives into the log: it was so when this was written by now."""
        with self._lock:
            self.log.append(Note(what()))

    def power_losses(
        self, places: Iterable[int], chance: random.Random
    ) -> Iterator[tuple[int, dict[int, bytes], int]]:
        """For each place in the log, in ascending order: what the disk has if it loses power there.

        With it, the number of blocks that it had still to flush.
        """
        kept: dict[int, bytes] = {}
        cached: list[tuple[int, bytes]] = []
        wanted = sorted(places)
        for place, event in enumerate([*self.log, Flush()]):
            while wanted and wanted[0] == place:
                share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
                lucky = dict(write for write in cached if chance.random() < share)
                yield wanted.pop(0), {**kept, **lucky}, len(cached)
            if isinstance(event, Flush):
                kept.update(cached)
                cached.clear()
            elif not isinstance(event, Note):
                cached.append(event)

    def close(self) -> None:
        """Unmounts it; nothing must be mounted from it any more."""
        unmount(self._place)
        self._thread.join(10)
        os.close(self._device)

    # --- what the kernel asks for

    def _serve(self) -> None:
        answers: dict[int, Callable[[int, bytes], bytes | None]] = {
            _INIT: self._init,
            _LOOKUP: self._lookup,
            _GETATTR: lambda node, _: struct.pack("=QII", _LONG_S, 0, 0) + self._attributes(node),
            _SETATTR: lambda node, _: struct.pack("=QII", _LONG_S, 0, 0) + self._attributes(node),
            _OPEN: lambda *_: bytes(16),
            _READ: self._read,
            _WRITE: self._write,
            _FSYNC: self._flush,
            _FLUSH: lambda *_: b"",
            _RELEASE: lambda *_: b"",
            _STATFS: lambda *_: struct.pack("=5Q3I28x", 0, 0, 0, 2, 0, BLOCK_BYTES, 255, 512),
        }
        while True:
            try:
                asked = os.read(self._device, _MOST_WRITTEN + BLOCK_BYTES)
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EAGAIN):  # taken back, or none after all
                    continue
                return  # unmounted
            _, code, unique, node = struct.unpack_from("=IIQQ", asked)
            if code in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            respond = answers.get(code)
            answer = None if respond is None else respond(node, asked[40:])
            status = -errno.ENOSYS if answer is None else 0
            answer = answer or b""
            os.write(self._device, struct.pack("=IiQ", 16 + len(answer), status, unique) + answer)

    def _init(self, _: int, asked: bytes) -> bytes:
        minor = struct.unpack_from("=II", asked)[1]
        flags = _BIG_WRITES | _MAX_PAGES
        pages = _MOST_WRITTEN // BLOCK_BYTES
        head = (7, min(minor, 31), 1 << 17, flags, 16, 12, _MOST_WRITTEN, 1, pages)
        return struct.pack("=IIIIHHIIH34x", *head)

    def _lookup(self, _: int, asked: bytes) -> bytes | None:
        if asked.rstrip(b"\0") != _NAME:
            return None
        return struct.pack("=QQQQII", _FILE, 0, _LONG_S, _LONG_S, 0, 0) + self._attributes(_FILE)

    def _attributes(self, node: int) -> bytes:
        mode = 0o40700 if node == _ROOT else 0o100600
        numbers = (node, self._size, self._size // 512, 0, 0, 0, 0, 0, 0)
        return struct.pack("=6Q10I", *numbers, mode, 1, 0, 0, 0, BLOCK_BYTES, 0)

    def _read(self, _: int, asked: bytes) -> bytes:
        offset, size = struct.unpack_from("=8xQI", asked)
        end = min(offset + size, self._size)
        with self._lock:
            blocks = range(offset // BLOCK_BYTES, -(-end // BLOCK_BYTES))
            data = b"".join(self._now.get(number, bytes(BLOCK_BYTES)) for number in blocks)
        skipped = offset % BLOCK_BYTES
        return data[skipped : skipped + end - offset]

    def _write(self, _: int, asked: bytes) -> bytes:
        offset, size = struct.unpack_from("=8xQI", asked)
        data = asked[40 : 40 + size]
        with self._lock:
            first = offset // BLOCK_BYTES
            before = offset % BLOCK_BYTES
            if before:
                data = self._now.get(first, bytes(BLOCK_BYTES))[:before] + data
            after = -len(data) % BLOCK_BYTES
            if after:
                last = first + len(data) // BLOCK_BYTES
                data += self._now.get(last, bytes(BLOCK_BYTES))[-after:]
            for place in range(0, len(data), BLOCK_BYTES):
                block = (first + place // BLOCK_BYTES, data[place : place + BLOCK_BYTES])
                self._now[block[0]] = block[1]
                self.log.append(block)
        return struct.pack("=II", size, 0)

    def _flush(self, *_: object) -> bytes:
        with self._lock:
            self.log.append(Flush())
        return b""


def write_image(blocks: dict[int, bytes], path: Path, size_bytes: int) -> None:
    """Puts them into a file, for a mount to take from."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.ftruncate(descriptor, size_bytes)
        for number, block in blocks.items():
            os.pwrite(descriptor, block, number * BLOCK_BYTES)
    finally:
        os.close(descriptor)
