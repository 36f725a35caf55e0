"""The tables of the queue, the local view and the conflicts.

Times are seconds since the epoch (wall clock). Data and states are JSON text. A *number* comes from
the store's single sequence, which orders all changes in the store.
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
    "EXPERIMENT_ROWS",
    "FORMER_COLUMNS",
    "INDEXED_UPTO",
    "INDEXES",
    "INDEX_ENTRIES",
    "ITEMS",
    "KEYS",
    "LINKS",
    "META",
    "OPEN",
    "OWNER",
    "RECORDS",
    "SALVAGED",
    "SCHEMA_VERSION",
    "SEALED",
    "SEALED_PREFIX",
    "SETTLED",
    "SET_ASIDE",
    "TABLES",
    "UNLISTED",
    "Alias",
    "ConflictRow",
    "ExperimentRow",
    "IndexEntry",
    "Item",
    "KeyRow",
    "Lane",
    "Link",
    "Meta",
    "Record",
    "SetAside",
]

SCHEMA_VERSION = 4

OWNER = "account"
"""The name of the meta row that names the account that the store belongs to, and its epoch."""

SEALED = "sealed"
"""The name of the meta row that marks an encrypted store and its key."""

SEALED_PREFIX = "sealed:"
"""The prefix of an encrypted value."""

SALVAGED = "salvaged"
"""The name of the meta row with the report of a salvage, as JSON. The store writes it itself, so it
is not encrypted.
"""

INDEXES = "indexes"
"""The name of the meta row that lists the indexed fields."""

INDEXED_UPTO = "indexed upto"
"""The name of the meta row with the ``seq`` of the last item that is indexed."""

CURSOR_PREFIX = "pull/"
"""The prefix of the names of meta rows that hold the pull cursor of an entity."""

UNLISTED = -1
"""``Record.listed_by`` of a record that a listing lacked and that stayed for its queued operations.
"""

OPEN, ASKED, SETTLED = 0, 1, 2
"""The stages of a conflict."""


class Lane(IntEnum):
    """The state of an item in the queue.

    ``READY``: may be sent now. ``DELAYED``: waits for its due time. ``BLOCKED``: waits for another
    item to leave the queue. ``SENDING``: claimed by a dispatcher. ``FAILED``: needs a decision.
    ``PARKED``: has an open conflict. ``ASKING``: has a conflict that a callback decides now.
    """

    READY = 0
    DELAYED = 1
    BLOCKED = 2
    SENDING = 3
    FAILED = 4
    PARKED = 5
    ASKING = 6


class Item(NamedTuple):
    """One queued operation. ``seq`` never changes; ``id`` changes with the content."""

    seq: int
    id: str
    entity: str
    record: str
    operation: str
    data: str
    time: float
    lane: int = int(Lane.READY)
    position: int = 0
    """Its order among ready items: ``seq``, or a later number after it was moved to the end."""
    due: float | None = None
    delay: float | None = None
    """How long it waits until ``due``, in seconds; bounds the wait if the clock is set back."""
    retries: int = 0
    error: str | None = None
    frozen: int = 0
    """1: the server may have processed an earlier attempt. A ``SENDING`` item is frozen too."""
    version: str | int | None = None
    """The version of the record that the change is based on."""
    blocker: int | None = None
    """The ``seq`` of the item that this one waits for."""
    digest: str | None = None
    """A hash by which equal content is found (``dedup="content"``)."""
    in_progress_retries: int = 0
    """How many answers in a row made it wait for an attempt, its own or of another item, that the
    server may still process.
    """
    resolve_attempts: int = 0
    """How many conflicts in a row were resolved for this change."""
    lease: float | None = None
    """Where several processes deliver at once: the time at which its claim ends, or at which the
    callback that decides its conflict is given up.
    """
    conflict: int | None = None
    """The number of its open conflict."""
    key: str | None = None
    """The caller's own idempotency key. An item with one is never merged."""
    expires: float | None = None
    """When it may no longer be sent. Negative: minus that time, which passed while the item was
    failed or in conflict.
    """
    schema_version: int | None = None
    """The version of the program that pushed its data; ``None``: 1."""
    was_create: int | None = None
    """1: pushed as a create, and an update because the server is known to hold the record."""
    expired: int | None = None
    """1: it expired unsent, and nothing waits for it."""
    decimals: str | None = None
    """A JSON list of the fields that hold decimal numbers."""
    boot: int | None = None
    """The system's boot in which it was pushed, where its time decides conflicts."""
    booted: float | None = None
    """The time of that boot by the wall clock at the push: shows by how much the clock was set
    afterwards.
    """
    first_attempt: float | None = None
    """The time of the first attempt that may have been processed."""
    attempted: int | None = None
    """The store's number when its last attempt ended without a real answer of the server."""
    outage_began: float | None = None
    """The entity's ``Health.outage_s`` when such an attempt ended first."""
    outage: int = 0
    """1: it failed because of an outage, and is requeued when the server works again. 2: it was
    requeued.
    """
    unclear: int | None = None
    """1: a create that the server accepted, with an answer that could not be understood."""
    lookup_at: float | None = None
    """The time from which a lookup may search for the record of a create with unknown outcome."""
    lookups: int = 0
    """How many lookups since its last attempt found nothing."""
    claim: int | None = None
    """The number of its last claim, where several processes deliver at once: the fencing token."""


class Link(NamedTuple):
    """A reference from a queued item's record, or from its last known state, to a record."""

    seq: int
    field: str
    entity: str
    record: str


class Record(NamedTuple):
    """The last known state of one record at the server."""

    entity: str
    record: str
    state: str | None
    """``None``: the record was deleted."""
    version: str | int | None
    changed_seq: int
    """The number of the last change of ``state`` here."""
    listed_by: int
    """The number of the last pull that listed it; ``UNLISTED``: the last one lacked it."""
    deferred_state: str | None = None
    """A newer state, pulled while an operation's outcome was unknown. ``"null"``: deleted."""
    deferred_version: str | int | None = None
    needs_refresh: int | None = None
    """Not ``None``: the server's state must be read again."""
    lost_state: str | None = None
    """The last state of a record that is gone from the server without a tombstone."""
    lost_seq: int | None = None
    """The number at which the answer to a write said so."""
    folded: str | None = None
    """Its id in lower case and in one normal form of Unicode; ``None``: that is the id itself."""


class Alias(NamedTuple):
    """A local id and the id that the server assigned to the record."""

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
    """``number`` while the conflict is open."""
    stage: int
    """``OPEN``, ``ASKED`` (a callback is deciding) or ``SETTLED``."""
    resolution: str | None = None
    closed: int | None = None
    """The number at which it was settled."""
    closed_time: float | None = None


class KeyRow(NamedTuple):
    """A caller's idempotency key and the item that it names."""

    key: str
    seq: int
    entity: str
    record: str
    content: str
    """A digest by which the operation and its data are compared."""
    time: float
    settled_time: float | None = None
    """When its item left the queue."""


class Meta(NamedTuple):
    """A named value: a cursor, a pause, the heartbeat of the dispatcher."""

    name: str
    value: str


class IndexEntry(NamedTuple):
    """A record may have this value in an indexed field of its local view."""

    number: int
    """The number of the index."""
    value: str
    record: str
    source: int
    """The ``seq`` of the queued item with this value, or 0 for the server's state."""


class ExperimentRow(NamedTuple):
    """A row of the ledger of experiments: an exposure, an event, a sum of units, a verdict."""

    kind: str
    scope: str
    """What it belongs to, such as an experiment and its phase, or a unit."""
    name: str
    value: str
    """JSON."""


class SetAside(NamedTuple):
    """An altered or damaged row that was removed from its table."""

    number: int
    source: str
    """The name of its table."""
    row: str
    """Its columns as a JSON object, with ``str`` of values that JSON cannot hold."""
    reason: str
    time: float


ITEMS: Table[Item] = Table(
    "items",
    Item,
    key=("seq",),
    indexes={
        "record": ("entity", "record", "seq"),
        "lane": ("lane", "entity", "position"),
        "due": ("due",),
        "blocker": ("blocker",),
        "digest": ("entity", "digest"),
        "expires": ("expires",),
    },
    counted=("lane", "entity"),
    numbered=True,
    private=("data", "error"),
    bound=("id", "entity", "record", "operation"),
    matched={"digest": ("entity",)},
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
    indexes={
        "needs_refresh": ("entity", "needs_refresh"),
        "lost": ("entity", "lost_seq"),
        "folded": ("entity", "folded"),
    },
    private=("state", "deferred_state", "lost_state"),
)
ALIASES: Table[Alias] = Table(
    "aliases", Alias, key=("entity", "local"), indexes={"record": ("entity", "record")}
)
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
    private=("local", "remote", "base", "fields"),
    bound=("entity", "record", "operation"),
)
INDEX_ENTRIES: Table[IndexEntry] = Table(
    "index_entries", IndexEntry, key=("number", "value", "record", "source")
)
KEYS: Table[KeyRow] = Table(
    "keys",
    KeyRow,
    key=("key",),
    indexes={"settled": ("settled_time",)},
    private=("content",),
    bound=("entity", "record"),
)
META: Table[Meta] = Table("meta", Meta, key=("name",), private=("value",))
SET_ASIDE: Table[SetAside] = Table("set_aside", SetAside, key=("number",))
EXPERIMENT_ROWS: Table[ExperimentRow] = Table(
    "experiment_rows", ExperimentRow, key=("kind", "scope", "name"), private=("value",)
)

TABLES = (
    ITEMS,
    LINKS,
    RECORDS,
    ALIASES,
    CONFLICTS,
    KEYS,
    META,
    SET_ASIDE,
    INDEX_ENTRIES,
    EXPERIMENT_ROWS,
)

FORMER_COLUMNS = {
    "items": {"turn": "position", "stalls": "in_progress_retries", "rounds": "resolve_attempts"},
    "records": {
        "stamp": "changed_seq",
        "seen": "listed_by",
        "beside": "deferred_state",
        "beside_version": "deferred_version",
        "stale": "needs_refresh",
    },
}
"""By table: the names of columns in version 1, and their names since version 2."""
