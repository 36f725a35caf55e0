"""The additional tables of a store that many machines share: see ``queue/inbox.py``."""

from __future__ import annotations

from typing import NamedTuple

from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.schema import TABLES

__all__ = ["INBOX", "RECEIPTS", "SHARED_TABLES", "InboxRow", "Receipt"]


class InboxRow(NamedTuple):
    """A push that is not queued yet, in a store that many machines share."""

    number: int
    """Assigned by the database. It orders the pushes of one process, not their commits."""
    handle: int
    """The ``seq`` of the ``SyncItem`` that ``push`` returned."""
    entity: str
    record: str
    operation: str
    data: str
    time: float
    options: str
    """The other arguments of the push, as JSON."""


class Receipt(NamedTuple):
    """The outcome of a push, which other processes find by its handle."""

    handle: int
    seq: int
    """Its item, or that of the push it was merged into. 0: it cancelled a queued create."""
    state: str | None = None
    """The final state of that item."""
    settled_time: float | None = None


INBOX: Table[InboxRow] = Table(
    "inbox",
    InboxRow,
    key=("number",),
    indexes={"entity": ("entity", "number"), "handle": ("handle",)},
    private=("data", "options"),
)
RECEIPTS: Table[Receipt] = Table(
    "receipts",
    Receipt,
    key=("handle",),
    indexes={"seq": ("seq",), "settled": ("settled_time",)},
)

SHARED_TABLES = (*TABLES, INBOX, RECEIPTS)
"""All tables of a store that many machines share."""
