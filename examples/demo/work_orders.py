"""A technician's day: the work orders and time entries, and every change made to them, in order.

The day is the same in every process that asks for it, so that what a client acknowledged can be
compared with what it was to push.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

ORDERS = "work_orders"
TIMES = "time_entries"

CUSTOMERS = (
    "Café Müller",
    "Żółta Cukiernia",
    "東京冷機サービス",
    "O'Brien & Søn",
    "Εργαστήριο Νίκος",
    "Pizzeria Núñez 🍕",
    "Кафе «Чайка»",
    "Bäckerei Weiß",
)
TASKS = (
    "Cold room does not hold −18 °C",
    "Replace door gasket",
    "Yearly inspection",
    "Compressor trips the breaker",
    "Calibrate thermometer, ±0.1 °C",
)
NOTES = (
    "Key at the neighbour's, ring twice.",
    "Part ordered:\n  1 × relay “K2”\n  2 × fuse 6 A",
    "Customer asks for a quote – call back after 14:00",
    "ok",
)
MORNING = datetime(2026, 3, 2, 7, 30, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Change:
    """One push of the day; ``rev`` is its number and, but for deletes, a field of its data."""

    rev: int
    entity: str
    operation: str
    data: dict[str, Any]

    @property
    def record(self) -> tuple[str, str]:
        """What it changes."""
        return self.entity, self.data["id"]


@dataclass(frozen=True)
class Day:
    """All changes, oldest first, and where its parts begin and end."""

    changes: tuple[Change, ...]
    morning: range
    offline: range
    afternoon: range


def plan(*, seed: int = 20260302) -> Day:
    """Plan the day: some orders at the depot, 300 changes out of coverage, some on the way back."""
    writer = _Writer(random.Random(seed))
    for _ in range(40):
        writer.new_order()
    morning = len(writer.changes)
    for _ in range(300):
        writer.any_change()
    offline = len(writer.changes)
    for _ in range(80):
        writer.any_change()
    return Day(
        changes=tuple(writer.changes),
        morning=range(morning),
        offline=range(morning, offline),
        afternoon=range(offline, len(writer.changes)),
    )


class _Writer:
    """Writes the day, change by change; a deleted record is never touched again."""

    def __init__(self, chance: random.Random) -> None:
        self.changes: list[Change] = []
        self._chance = chance
        self._orders: list[str] = []
        self._times: list[str] = []
        self._names = 0

    def any_change(self) -> None:
        """One change, as a day brings them."""
        write = self._chance.choices(
            (self.new_order, self.edit_order, self.delete_order, self.new_time, self.edit_time),
            weights=(22, 40, 8, 20, 10),
        )[0]
        write()

    def new_order(self) -> None:
        """A customer called."""
        self._orders.append(self._name("WO"))
        self._write(
            ORDERS,
            "create",
            id=self._orders[-1],
            customer=self._chance.choice(CUSTOMERS),
            task=self._chance.choice(TASKS),
            due=date(2026, 3, 2) + timedelta(days=self._chance.randrange(30)),
            quote=self._price(),
            status="open",
            urgent=self._chance.random() < 0.2,
            notes="",
        )

    def edit_order(self) -> None:
        """Work was done, or a note taken."""
        order = self._chance.choice(self._orders)
        if self._chance.random() < 0.5:
            self._write(ORDERS, "update", id=order, notes=self._chance.choice(NOTES))
        else:
            self._write(
                ORDERS,
                "update",
                id=order,
                status="done",
                finished_at=self._now(),
                parts=[
                    {"sku": f"K-{self._chance.randrange(100, 999)}", "price": self._price()}
                    for _ in range(self._chance.randrange(3))
                ],
            )

    def delete_order(self) -> None:
        """The customer called it off."""
        order = self._orders.pop(self._chance.randrange(len(self._orders)))
        self.changes.append(Change(len(self.changes), ORDERS, "delete", {"id": order}))

    def new_time(self) -> None:
        """The clock started on an order."""
        self._times.append(self._name("TE"))
        self._write(
            TIMES,
            "create",
            id=self._times[-1],
            work_order=self._chance.choice(self._orders),
            started_at=self._now(),
            minutes=None,
        )

    def edit_time(self) -> None:
        """The clock stopped, or was corrected."""
        if not self._times:
            return self.new_time()
        time = self._chance.choice(self._times)
        return self._write(TIMES, "update", id=time, minutes=self._chance.randrange(5, 180))

    def _write(self, entity: str, operation: str, **data: Any) -> None:
        rev = len(self.changes)
        self.changes.append(Change(rev, entity, operation, {**data, "rev": rev}))

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}-{self._names:04}"

    def _now(self) -> datetime:
        return MORNING + timedelta(minutes=len(self.changes))

    def _price(self) -> Decimal:
        return Decimal(self._chance.randrange(990, 250_000)) / 100
