"""The right to deliver what a store holds: one process at a time has it (``leadership.py``), or
every process, and then each claim is a lease (``claim_leases.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from bytelyst_sync.errors import StorageError
from bytelyst_sync.http.transport import Transport
from bytelyst_sync.queue.outcome import ClaimGroup, Outcome
from bytelyst_sync.storage.base import Reader

__all__ = ["DeliveryRight", "ReplacedError", "SendGroup"]

SendGroup = Callable[[ClaimGroup], Outcome]


class ReplacedError(StorageError):
    """Another process delivers now, and settles what was under way here."""


class DeliveryRight(Protocol):
    """One engine's part in it. The worker's thread calls everything but ``send``."""

    deliverer: str | None
    """The process that delivers, if only one does, and it is another one."""
    stale: bool
    """Whether that process gave no sign of life for half of the time after which it is replaced."""

    @property
    def held(self) -> bool:
        """Whether this engine has the right, as far as it knows."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes may have it at the same time."""
        ...

    @property
    def recovery_due(self) -> bool:
        """Whether to look for items that a process which died was sending."""
        ...

    def look_again_in(self, wait_s: float | None) -> None:
        """The next such item can be recovered in so many seconds, as far as is known now."""
        ...

    @property
    def recovery_wait_s(self) -> float | None:
        """Seconds until ``recovery_due`` is true by itself; ``None``: never."""
        ...

    def acquire(self) -> bool:
        """Tries to take the right, without waiting; true if this engine has it now."""
        ...

    def check(self, tx: Reader) -> bool:
        """In each commit that claims or settles: raises ``ReplacedError`` if another process has
        the right. False if nothing more may be claimed now.
        """
        ...

    def wake_others(self) -> None:
        """Some items became ready which this engine does not send now: other processes may."""
        ...

    def send(self, group: ClaimGroup, send: SendGroup) -> Outcome:
        """Sends, if that is still this engine's to do. From any sender thread."""
        ...

    def guarded(self, transport: Transport) -> Transport:
        """The transport for everything that ``send`` sends."""
        ...

    def lose(self) -> None:
        """Gives up the right, because another process has it."""
        ...

    def release(self) -> None:
        """Releases the right, if this engine has it."""
        ...

    def close(self) -> None:
        """Releases the right for good, and ends what threads it has."""
        ...
