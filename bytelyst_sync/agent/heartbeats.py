"""Heartbeats: one record of this device at the server, which says how its queue is doing.

The heartbeat that is to be sent is one row of the store. A newer one replaces it, so an outage of
any length leaves one. If several processes use the store, the one whose turn comes first reports
for all. Owned by the agent's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bytelyst_sync.agent.device import ThisDevice
from bytelyst_sync.agent.record_writer import Known, RecordWriter
from bytelyst_sync.agent.rows import HEARTBEAT, read_value, write_value
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.protocol.responses import AttemptResult
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.heartbeat import heartbeat_of, with_signature
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork

__all__ = ["Heartbeats"]

logger = SafeLogger("bytelyst_sync.agent")
Json = dict[str, Any]
_RECENT = 0.8
"""A report of another process within this part of the interval is enough."""


class Heartbeats:
    """Composes, keeps and sends the heartbeats of one device."""

    def __init__(
        self,
        state: StateStore,
        entity: Entity,
        writer: RecordWriter,
        interval_s: float,
        *,
        describe: Callable[[], Json],
        device: ThisDevice,
    ) -> None:
        self._state = state
        self._entity = entity
        self._writer = writer
        self._interval_s = interval_s
        self._describe = describe
        self._device = device
        self._failing = False

    def others_report_s(self, now: float) -> float:
        """Seconds until this process need not wait any more for the report that another one sent.

        ``now`` is the wall clock. 0 if it was set back since.
        """
        sent = self._state.read(lambda tx: read_value(tx, HEARTBEAT)).get("sent")
        age_s = -1.0 if sent is None else now - sent
        return max(0.0, _RECENT * self._interval_s - age_s) if age_s >= 0 else 0.0

    def keep(self) -> tuple[Json, Known, float]:
        """Composes the heartbeat and puts it in place of the one that was to be sent. Returns it,
        what is known of the record at the server, and the wall clock's time.
        """
        described, key = self._describe(), self._device.key()
        device, install = self._device.identity()

        def put(work: UnitOfWork) -> tuple[Json, Known, float]:
            row = read_value(work.tx, HEARTBEAT)
            # it increases also if the store was restored from a backup
            beat = max(row.get("beat", 0) + 1, int(work.now))
            values = {**described, "install": install, "beat": beat, "interval": self._interval_s}
            record = heartbeat_of(self._entity.config.id_field, device, values)
            if key is not None:
                record = with_signature(key, record, self._entity.config.id_field)
            write_value(work, HEARTBEAT, {**row, "beat": beat, "record": record})
            return record, Known(*row.get("known", ())), work.now

        return self._state.write(put)

    def send(self) -> float | None:
        """Sends a fresh heartbeat; ``None`` if the server took it, else the seconds that it asked
        to wait (0: none).
        """
        record, known, composed = self.keep()
        device, beat = str(record[self._entity.config.id_field]), record["beat"]
        key = f"{device}-{beat}"
        answer, known = self._writer.put(self._entity.name, device, record, key, known)
        taken = answer.meaning is Verdict.DELIVERED

        def note(work: UnitOfWork) -> None:
            row = read_value(work.tx, HEARTBEAT)
            row["known"] = list(known)
            if taken:
                row["sent"] = composed  # so the next one is due at its time, however long this took
                if row.get("beat") == beat:
                    row.pop("record", None)
            write_value(work, HEARTBEAT, row)

        self._state.write(note)
        self._report(answer, taken=taken)
        return None if taken else answer.retry_after or 0.0

    def _report(self, answer: AttemptResult, *, taken: bool) -> None:
        """Logs a failure unless the one before it failed too. The answer's body is not logged."""
        if not taken and not self._failing:
            logger.warning(
                "the server did not accept this device's heartbeat (%s%s); the next one is sent at"
                " its regular time",
                answer.meaning.value,
                "" if answer.status is None else f", HTTP {answer.status}",
            )
        self._failing = not taken
