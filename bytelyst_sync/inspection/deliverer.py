"""Finds the process that delivers, from another process: nothing is locked or written."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import attrs

from bytelyst_sync.delivery.leadership import DELIVERER, may_live, parse_holder
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META

__all__ = ["Deliverer", "find_deliverer"]

_LOCKS = Path("/proc/locks")


@attrs.frozen
class Deliverer:
    """The process that last acquired the delivery lock."""

    name: str
    pid: int
    lives: bool
    delivers: bool
    """Whether it still holds the lock, as far as the system shows."""
    silent: bool
    """Whether it delivers, but wrote no heartbeat for half of ``takeover_after``."""


def find_deliverer(tx: Reader, store: Path, takeover_after_s: float) -> Deliverer | None:
    """The last process that delivered, if any did."""
    holder = parse_holder(tx.get(META, DELIVERER))
    if holder is None or not holder.pid:
        return None
    lives = may_live(holder)
    status = None
    with suppress(OSError):
        status = store.with_name(store.name + ".deliver").stat()
    delivers = lives and status is not None and _is_locked(status)
    age_s = 0.0 if status is None else time.time() - status.st_mtime
    silent = delivers and age_s > takeover_after_s / 2
    return Deliverer(str(holder), holder.pid, lives, delivers, silent)


def _is_locked(status: os.stat_result) -> bool:
    """Whether a process has locked this file; true if the system does not show it."""
    try:
        lines = _LOCKS.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return True
    return any(
        fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(status.st_ino)
        for fields in map(str.split, lines)
        if len(fields) > 5
    )
