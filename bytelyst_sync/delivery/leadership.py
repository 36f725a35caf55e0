"""Leader election: one process at a time has the right to deliver, also when the leader hangs or is
frozen.

A row of the store names the leader and its *epoch*. Every commit that claims or settles checks that
the epoch is still its own. The system's lock on a file beside the store only reports sooner that a
process has died.

The leader has a thread of its own that touches that file, six times in ``takeover_after_s``. A
process that sees no touch for that long, by its own monotonic clock and in six checks, takes the
right by raising the epoch. The former leader notices this before its next request and at its next
commit; a request that it has begun by then may still arrive.

Who owns what: the worker's thread acquires and releases, sender threads call ``may_send``, and the
heartbeat's thread touches the file. Each reads fields that another thread assigns whole. ``_wake``
ends the heartbeat's waits.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.delivery.right import ReplacedError, SendGroup
from bytelyst_sync.errors import SyncError
from bytelyst_sync.http.transport import Transport
from bytelyst_sync.protocol.responses import UNSENT
from bytelyst_sync.queue.outcome import ClaimGroup, Outcome
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.storage.base import DeliveryLock, Reader, Storage, Transaction
from bytelyst_sync.storage.schema import META, Meta

__all__ = ["DELIVERER", "Holder", "Leadership", "may_live", "parse_holder"]

logger = SafeLogger("bytelyst_sync.deliverer")

DELIVERER = "deliverer"
"""The name of the meta row that names the leader."""

_LOOKS = _TOUCHES = 6
_AWAY_S = 2.0
"""The shortest gap between two checks from which this process concludes that it was suspended
itself. The worker checks at least every 0.4 s on a machine that is not busy.
"""


class Holder(NamedTuple):
    """The leader: the content of the row."""

    epoch: int
    host: str
    pid: int
    boot: str
    token: str
    """Distinguishes engines of one process."""
    held_from: float
    locked: bool
    """Whether it holds the system's lock, which is then free once it has died or released the
    right.
    """

    def __str__(self) -> str:
        since = as_datetime(self.held_from).isoformat(timespec="seconds")
        return f"process {self.pid} on {self.host} since {since}"


class Leadership:
    """One engine's part in the election."""

    is_shared = False
    recovery_wait_s: float | None = None

    def __init__(self, storage: Storage, clock: Clock, takeover_after_s: float) -> None:
        self._storage = storage
        self._clock = clock
        self._takeover_after_s = takeover_after_s
        self._lock: DeliveryLock | None = None
        self._token = uuid.uuid4().hex
        self._value: str | None = None
        """The row as this engine last wrote it."""
        self._own: Holder | None = None
        """This engine, while it has the right."""
        self._touched_at = 0.0
        self._touches = 0
        self._seen: tuple[int, str | None] | None = None
        """The leader's epoch and last touch as last seen, since when, in how many checks, and when
        it was last checked.
        """
        self._seen_since = self._looked_at = 0.0
        self._looks = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self.deliverer: str | None = None
        """The process that delivers, if it is another one."""
        self.stale = False
        """Whether that process has not touched the file for half of the time."""

    @property
    def held(self) -> bool:
        """Whether this engine has the right, as far as it knows."""
        return self._own is not None

    @property
    def recovery_due(self) -> bool:
        """Whether the right is still to be taken: that recovers what its last holder left."""
        return self._own is None

    def look_again_in(self, wait_s: float | None) -> None:
        """See ``DeliveryRight``: it looks whenever it has not the right."""

    def acquire(self) -> bool:
        """Takes the right without waiting, if it is free or its holder is silent; true if it has it
        now.
        """
        if self.held:
            return True
        if self._lock is None:
            self._lock = self._storage.delivery_right()
        locked = self._lock.acquire()
        try:
            self._take(locked)
        finally:
            if locked and not self.held:
                self._lock.release()
        if self.held:
            self._touch()
            self._beat()
        return self.held

    def _take(self, locked: bool) -> None:
        row = self._storage.read(lambda tx: tx.get(META, DELIVERER))
        holder = parse_holder(row)
        if locked and row is not None and row.value == self._value and holder and holder.locked:
            self._own = holder  # nobody had it meanwhile
            return
        if holder is not None and not self._is_free(holder, locked):
            self.deliverer = str(holder)
            return
        epoch = 1 if holder is None else holder.epoch + 1
        now = self._clock.wall()
        own = Holder(epoch, socket.gethostname(), os.getpid(), _boot(), self._token, now, locked)
        value = json.dumps(own)

        def write(tx: Transaction) -> bool:
            if tx.get(META, DELIVERER) != row:
                return False  # somebody was quicker
            _put(tx, value)
            return True

        if self._storage.write(write):
            self._value, self._own = value, own
            self.deliverer, self.stale = None, False

    def _is_free(self, holder: Holder, locked: bool) -> bool:
        if locked and holder.locked:
            return True  # it died, or gave the right back
        if holder.token == self._token or not may_live(holder):
            return True
        return self._is_silent(holder)

    def _is_silent(self, holder: Holder) -> bool:
        """Whether the leader has been silent for long enough."""
        now, step_s = self._clock.monotonic(), self._takeover_after_s / _LOOKS
        seen = (holder.epoch, self._read_touch(holder.epoch))
        away = now - self._looked_at > max(self._takeover_after_s / 2, _AWAY_S)
        if seen != self._seen or away:
            self._seen, self._seen_since, self._looks, self._looked_at = seen, now, 0, now
        elif now - self._looked_at >= step_s / 2:
            self._looks, self._looked_at = self._looks + 1, now
        silent_s = now - self._seen_since
        self.stale = silent_s >= self._takeover_after_s / 2
        return silent_s >= self._takeover_after_s and self._looks >= _LOOKS

    def _read_touch(self, epoch: int) -> str | None:
        read = getattr(self._lock, "last_touch", None)
        touch: str | None = None if read is None else read()
        return touch if touch is not None and touch.startswith(f"{epoch} ") else None

    # --- while this engine is the leader

    def check(self, tx: Reader) -> bool:
        """In a commit that claims or settles: raises ``ReplacedError`` if another process
        delivers.
        """
        if self._lock is not None:
            row = tx.get(META, DELIVERER)
            if row is None or row.value != self._value:
                raise ReplacedError(
                    f"{parse_holder(row) or 'another process'} has taken over delivery, because"
                    " this one gave no sign of life; answers that came meanwhile are dropped"
                )
        return True

    def send(self, group: ClaimGroup, send: SendGroup) -> Outcome:
        """Sends, unless another process may have taken over.

        What is not sent goes back into the queue as it was, and is no error: the next commit finds
        out whether this engine still delivers.
        """
        if self.may_send():
            return send(group)
        item = group[0].item
        logger.info(
            "%s/%s and %d other item(s) were not sent: another process may deliver them now;"
            " they stay queued",
            item.entity,
            item.record,
            len(group) - 1,
        )
        return Outcome([(claim, UNSENT) for claim in group])

    def guarded(self, transport: Transport) -> Transport:
        """The transport itself: an attempt is checked before its first request alone."""
        return transport

    def may_send(self) -> bool:
        """Right before a request: false if another process may have taken over."""
        if not self.held:
            return False
        if self._clock.monotonic() - self._touched_at < self._takeover_after_s / 3:
            return True
        try:
            self._storage.read(self.check)
        except SyncError:
            return False
        self._touch()
        return True

    def wake_others(self) -> None:
        """Does nothing: no other process may send them."""

    def lose(self) -> None:
        """Gives up the right, because another process has it."""
        own, self._own = self._own, None
        if self._lock is not None and own is not None:
            self._lock.release()

    def release(self) -> None:
        """Releases the right, if this engine has it."""
        own, self._own = self._own, None
        if self._lock is None:
            return
        if own is not None and not own.locked:
            with suppress(SyncError):
                self._storage.write(self._clear)
        self._lock.release()

    def _clear(self, tx: Transaction) -> None:
        self.check(tx)
        _put(tx, json.dumps(Holder(self._epoch() + 1, "", 0, "", "", 0.0, True)))

    def _epoch(self) -> int:
        return 0 if self._value is None else Holder(*json.loads(self._value)).epoch

    def close(self) -> None:
        """Releases the right and ends the heartbeat."""
        self.release()
        thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None:
            thread.join(1.0)
        if self._lock is not None:
            self._lock.release()  # a last touch may have opened the file again

    # --- the heartbeat

    def _beat(self) -> None:
        if self._thread is None and getattr(self._lock, "touch", None) is not None:
            self._wake = threading.Event()
            thread = threading.Thread(
                target=self._run, args=(self._wake,), name="bytelyst-sync-heartbeat", daemon=True
            )
            with suppress(RuntimeError):  # there may be too many threads
                thread.start()
                self._thread = thread

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(self._takeover_after_s / _TOUCHES):
            with suppress(Exception):  # no touch is what it leads to
                self._touch()
                self._lock_late()

    def _touch(self) -> None:
        own, touch = self._own, getattr(self._lock, "touch", None)
        if own is None:
            return
        now = self._clock.monotonic()
        if touch is not None:
            self._touches += 1
            try:
                touch(f"{own.epoch} {self._touches} {own.pid}")
            except OSError:  # the disk may be full: others may take over, and commits say why
                return
        self._touched_at = now

    def _lock_late(self) -> None:
        """Takes the system's lock once a frozen former leader has ended."""
        own = self._own
        if own is None or own.locked or self._lock is None or not self._lock.acquire():
            return
        value = json.dumps(own._replace(locked=True))

        def write(tx: Transaction) -> None:
            self.check(tx)
            _put(tx, value)
            self._value = value

        self._storage.write(write)
        self._own = own._replace(locked=True)


def _put(tx: Transaction, value: str) -> None:
    row = tx.get(META, DELIVERER)
    if row is None:
        tx.insert(META, Meta(DELIVERER, value))
    else:
        tx.replace(META, row, Meta(DELIVERER, value))


def parse_holder(row: Meta | None) -> Holder | None:
    """The content of the row; ``None`` if no process has delivered yet, or it cannot be read."""
    if row is None:
        return None
    try:
        return Holder(*json.loads(row.value))
    except (TypeError, ValueError):
        return None


def may_live(holder: Holder) -> bool:
    """Whether the process may still be running; one of another machine or boot may be."""
    if os.name != "posix" or (holder.host, holder.boot) != (socket.gethostname(), _boot()):
        return True
    return _exists(holder.pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _has_ended(pid)


def _has_ended(pid: int) -> bool:
    """Whether it is a zombie: its parent has not collected its exit status."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return False  # not every system tells
    return state[:1] in (["Z"], ["X"])


def _boot() -> str:
    """An identifier of this boot of the machine, if the system has one."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    return ""
