"""The tables: what the queue, the local view and the conflicts are made of.

Times are seconds since the epoch (wall clock). Data and states are JSON text. A *number* is one
of the store's single sequence, and orders everything that happened in it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from bytelyst_sync.storage.base import Table

__all__ = [
    "ALIASES",
    "ASKED",
    "CONFLICTS",
    "CURSOR_PREFIX",
    "ITEMS",
    "LINKS",
    "META",
    "OPEN",
    "RECORDS",
    "SCHEMA_VERSION",
    "SEALED",
    "SETTLED",
    "TABLES",
    "Alias",
    "ConflictRow",
    "Item",
    "Lane",
    "Link",
    "Meta",
    "Record",
]

SCHEMA_VERSION = 1

SEALED = "sealed"
"""The name of the meta row that says which key an encrypted store is sealed with."""

CURSOR_PREFIX = "pull/"
"""What the names of the meta rows begin with that say how far an entity has been pulled."""

OPEN, ASKED, SETTLED = 0, 1, 2
"""The stages of a conflict."""


class Lane(IntEnum):
    """Where an item stands; every item is in exactly one lane.

    ``READY`` may be sent now. ``DELAYED`` waits for its due time. ``BLOCKED`` waits for another
    item to leave the queue. ``SENDING`` is claimed by a deliverer. ``FAILED`` needs a decision.
    ``PARKED`` is in an open conflict, ``ASKING`` in one that a callback is deciding right now.
    """

    READY = 0
    DELAYED = 1
    BLOCKED = 2
    SENDING = 3
    FAILED = 4
    PARKED = 5
    ASKING = 6


class Item(NamedTuple):
    """One queued operation. Its place ``seq`` stays; its ``id`` is new whenever its content is."""

    seq: int
    id: str
    entity: str
    record: str
    operation: str
    data: str
    time: float
    lane: int = int(Lane.READY)
    turn: int = 0
    """Its order among the ready ones: ``seq``, or a later number when it was sent to the back."""
    due: float | None = None
    delay: float | None = None
    """How long before ``due`` it was put to wait: bounds the wait when the clock is set back."""
    retries: int = 0
    error: str | None = None
    frozen: int = 0
    """1: an earlier attempt may have been processed. An item that is ``SENDING`` is frozen too."""
    version: str | int | None = None
    """The server's version that the change is based on."""
    blocker: int | None = None
    """The ``seq`` of the item that this one waits for."""
    digest: str | None = None
    """What equal content is found by (``dedup="content"``)."""
    stalls: int = 0
    """How often in a row the server said that the first try may still be running."""
    rounds: int = 0
    """How many conflicts in a row this change has been resolved against."""
    lease: float | None = None
    """Until when a claim holds, where several deliver at once."""
    conflict: int | None = None
    """The open conflict that it is parked in."""


class Link(NamedTuple):
    """A queued item's field refers to a record whose create is queued before it."""

    seq: int
    field: str
    entity: str
    record: str


class Record(NamedTuple):
    """What is known of one record at the server."""

    entity: str
    record: str
    state: str | None
    """Its last known state there; ``None``: it was deleted."""
    version: str | int | None
    stamp: int
    """The number at which ``state`` last changed here."""
    seen: int
    """The number of the pull that last brought it."""
    beside: str | None = None
    """A newer state, pulled while an operation's outcome was unknown; ``"null"``: deleted."""
    beside_version: str | int | None = None
    stale: int | None = None
    """Set: the server's state must be read again."""


class Alias(NamedTuple):
    """A local id and the id that the server gave to its record."""

    entity: str
    local: str
    record: str
    given: str
    """The server's id as JSON, so that data keeps its type."""


class ConflictRow(NamedTuple):
    """A conflict, open or settled."""

    number: int
    entity: str
    record: str
    operation: str
    local: str | None
    remote: str | None
    base: str | None
    version: str | int | None
    """The version of ``remote``."""
    local_time: float
    remote_time: float | None
    fields: str
    """A JSON list of the names of the fields in real conflict."""
    open: int | None
    """``number``, while it is open."""
    stage: int
    """``OPEN``, ``ASKED`` (a callback is deciding) or ``SETTLED``."""
    resolution: str | None = None
    closed: int | None = None
    """The number at which it was settled."""
    closed_time: float | None = None


class Meta(NamedTuple):
    """A named value: a cursor, a pause, what the deliverer says of itself."""

    name: str
    value: str


ITEMS: Table[Item] = Table(
    "items",
    Item,
    key=("seq",),
    indexes={
        "record": ("entity", "record", "seq"),
        "lane": ("lane", "entity", "turn"),
        "due": ("due",),
        "blocker": ("blocker",),
        "digest": ("entity", "digest"),
    },
    counted=("lane", "entity"),
    numbered=True,
)
LINKS: Table[Link] = Table(
    "links",
    Link,
    key=("seq", "field", "entity", "record"),
    indexes={"parent": ("entity", "record", "seq")},
)
RECORDS: Table[Record] = Table(
    "records",
    Record,
    key=("entity", "record"),
    indexes={"stale": ("entity", "stale")},
)
ALIASES: Table[Alias] = Table("aliases", Alias, key=("entity", "local"))
CONFLICTS: Table[ConflictRow] = Table(
    "conflicts",
    ConflictRow,
    key=("number",),
    indexes={
        "open": ("open",),
        "closed": ("closed",),
        "record": ("entity", "record", "open"),
    },
    counted=("stage",),
)
META: Table[Meta] = Table("meta", Meta, key=("name",))

TABLES = (ITEMS, LINKS, RECORDS, ALIASES, CONFLICTS, META)
