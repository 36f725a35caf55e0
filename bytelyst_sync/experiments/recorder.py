"""Queues the events of experiments, numbered in the order of this device."""

from __future__ import annotations

import uuid
from typing import Any

from bytelyst_sync.experiments.events import REPORT, report_id, time_text
from bytelyst_sync.experiments.store_ledger import StoreLedger
from bytelyst_sync.queue.push_request import PushRequest
from bytelyst_sync.runtime import Runtime
from bytelyst_sync.state.unit_of_work import UnitOfWork

__all__ = ["Recorder"]

Json = Any
_DAY_S = 86_400
_NEW: dict[str, Json] = {"number": 0, "reported": -1}


class Recorder:
    """Has no state: the device's id and the number of its events are in the store."""

    def __init__(self, entity: str) -> None:
        self._entity = entity

    def device(self, ledger: StoreLedger) -> str:
        """The id of this store."""
        return str(self._self(ledger)["id"])

    def last_report(self, ledger: StoreLedger) -> int:
        """The day of the last report, in days since the epoch."""
        return int(self._self(ledger)["reported"])

    def _self(self, ledger: StoreLedger) -> dict[str, Json]:
        found: dict[str, Json] | None = ledger.get("self", "", "")
        if found is None:
            found = {"id": uuid.uuid4().hex, **_NEW}
            ledger.put("self", "", "", found)
        return found

    def push(
        self, work: UnitOfWork, runtime: Runtime, ledger: StoreLedger, record: dict[str, Json]
    ) -> None:
        """Queues an event in this transaction. Adds to the record the device, its sequence, the
        number among its events, and the time.
        """
        own = self._self(ledger)
        number = own["number"] + 1
        ledger.put("self", "", "", {**own, "number": number})
        record |= {"device": own["id"], "number": number}
        self._queue(work, runtime, record)

    def report(self, work: UnitOfWork, runtime: Runtime, ledger: StoreLedger) -> None:
        """Queues a report of how many events there were until now."""
        own = self._self(ledger)
        ledger.put("self", "", "", {**own, "reported": int(work.now // _DAY_S)})
        record = {"type": REPORT, "device": own["id"], "number": own["number"]}
        record["complete"] = time_text(work.now)
        self._queue(work, runtime, record)

    def _queue(self, work: UnitOfWork, runtime: Runtime, record: dict[str, Json]) -> None:
        seq = work.tx.next_number()
        record |= {"seq": seq, "at": time_text(work.now)}
        if record["type"] == REPORT:
            record["id"] = report_id(record["device"], seq)
        entity = work.entities.named(self._entity)
        runtime.outbox.push(work, [PushRequest.of(entity, "create", record, work.now)])
