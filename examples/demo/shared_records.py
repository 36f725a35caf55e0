"""What Ana and Ben do to the same records, and what is to stand in the end, record by record.

Ana is the first to be back in coverage, so every conflict is met by Ben: what is "here" is his,
and what is "there" is hers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ORDERS, RATES, SIGNATURES, INVOICES = "orders", "rates", "signatures", "invoices"
STRATEGIES = {
    ORDERS: "merge",
    RATES: "server-wins",
    SIGNATURES: "client-wins",
    INVOICES: "manual",
}

Json = dict[str, Any]
DELETED = None
"""In place of fields: the whole record is deleted, or is not there."""


@dataclass(frozen=True)
class Story:
    """One record: what both pulled, what each of them does to it offline, and what is to stand.

    `ben_is_later` puts Ben's edit after Ana's has reached the server; the others come before.
    """

    entity: str
    id: str
    base: Json | None
    stands: Json | None
    ana: Json | None = field(default_factory=dict)
    ben: Json | None = field(default_factory=dict)
    ben_is_later: bool = False

    @property
    def one_sided(self) -> Json:
        """The fields that only one of them changed, however the other treated the record."""
        ana, ben = self.ana or {}, self.ben or {}
        return {
            name: value for name, value in {**ana, **ben}.items() if (name in ana) != (name in ben)
        }

    @property
    def contested(self) -> dict[str, tuple[Any, Any]]:
        """The fields that both changed: Ana's value and Ben's."""
        ana, ben = self.ana or {}, self.ben or {}
        return {name: (ana[name], ben[name]) for name in ana if name in ben}

    @property
    def is_conflict(self) -> bool:
        """Whether both of them did something to it."""
        return self.ana != {} and self.ben != {}


@dataclass(frozen=True)
class Edit:
    """One push."""

    entity: str
    operation: str
    data: Json


def _order(customer: str) -> Json:
    return {"customer": customer, "status": "open", "who": "-", "notes": "-"}


STORIES = (
    Story(
        ORDERS,
        "WO-1",
        _order("Café Müller"),
        ana={"status": "done"},
        ben={"notes": "ring twice"},
        stands={**_order("Café Müller"), "status": "done", "notes": "ring twice"},
    ),
    Story(
        ORDERS,
        "WO-2",
        _order("Pizzeria Núñez"),
        ana={"who": "Ana", "notes": "no parking"},
        ben={"who": "Ben", "status": "done"},
        stands={
            **_order("Pizzeria Núñez"),
            "who": "Ana",
            "notes": "no parking",
            "status": "done",
        },
    ),
    Story(
        ORDERS,
        "WO-3",
        _order("O'Brien & Søn"),
        ana={"who": "Ana"},
        ben={"who": "Ben"},
        ben_is_later=True,
        stands={**_order("O'Brien & Søn"), "who": "Ben"},
    ),
    Story(
        ORDERS,
        "WO-4",
        _order("Bäckerei Weiß"),
        ana=DELETED,
        ben={"notes": "new gasket"},
        stands={**_order("Bäckerei Weiß"), "notes": "new gasket"},
    ),
    Story(
        ORDERS,
        "WO-5",
        _order("Кафе «Чайка»"),
        ana={"status": "done"},
        ben=DELETED,
        stands={**_order("Кафе «Чайка»"), "status": "done"},
    ),
    Story(
        ORDERS,
        "WO-6",
        _order("Żółta Cukiernia"),
        ana=DELETED,
        stands=DELETED,
    ),
    Story(
        ORDERS,
        "WO-7",
        DELETED,
        ben=_order("Weingut Roth"),
        stands=_order("Weingut Roth"),
    ),
    Story(
        RATES,
        "hour",
        {"euro": 80},
        ana={"euro": 85},
        ben={"euro": 90},
        stands={"euro": 85},
    ),
    Story(
        SIGNATURES,
        "WO-1",
        {"name": "-"},
        ana={"name": "A. Kurz"},
        ben={"name": "B. Lang"},
        stands={"name": "B. Lang"},
    ),
    Story(
        INVOICES,
        "2026-9",
        {"euro": 120},
        ana={"euro": 130},
        ben={"euro": 150},
        stands={"euro": 140},
    ),
)


def at_first() -> Iterator[Edit]:
    """The records as both of them pull them."""
    for story in STORIES:
        if story.base is not None:
            yield Edit(story.entity, "create", {"id": story.id, **story.base})


def by_ana() -> Iterator[Edit]:
    """What Ana does offline."""
    return (edit for story in STORIES for edit in _edit(story, story.ana))


def by_ben(*, later: bool) -> Iterator[Edit]:
    """What Ben does offline, before or after Ana is back."""
    chosen = (story for story in STORIES if story.ben_is_later == later)
    return (edit for story in chosen for edit in _edit(story, story.ben))


def _edit(story: Story, change: Json | None) -> Iterator[Edit]:
    if change is None:
        yield Edit(story.entity, "delete", {"id": story.id})
    elif change:
        operation = "create" if story.base is None else "update"
        yield Edit(story.entity, operation, {"id": story.id, **change})
