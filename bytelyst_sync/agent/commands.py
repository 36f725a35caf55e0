"""Carries out remote commands: each once, logged, and acknowledged in the command's record.

The id of a command and its effect are committed together, and the id is kept for seven days after
the command has expired. So a command is not carried out twice, also if the program ends in
between. A record that somebody stores again has a known id, or has expired.

A clock that was set back does not make a command valid again: the time is the server's, as the
``Date`` headers of the answers that brought the command say, and never earlier than the latest
time that was seen before, which is stored.

Who owns what: the agent's thread owns it; any thread may set ``has_new``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs

from bytelyst_sync.agent.device import ThisDevice
from bytelyst_sync.agent.record_writer import Known, RecordWriter
from bytelyst_sync.agent.rows import read_value, write_value
from bytelyst_sync.clock import as_datetime
from bytelyst_sync.config.entity import Entity
from bytelyst_sync.config.remote_commands import RemoteCommands
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.queue.control import QueueControl
from bytelyst_sync.rules.classify import Verdict
from bytelyst_sync.rules.device_keys import DeviceKey
from bytelyst_sync.rules.json_text import loads
from bytelyst_sync.rules.remote_commands import (
    LONGEST_S,
    Command,
    acknowledgement,
    is_acknowledged,
    parse_command,
    refusal,
)
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import META, RECORDS

__all__ = ["COMMAND_COUNTS", "CommandRunner", "CommandedQueue"]

logger = SafeLogger("bytelyst_sync.agent")
Json = dict[str, Any]
COMMAND_COUNTS = "device/commands"
"""How many commands were carried out and refused, and the latest time that was seen."""
_COMMAND = "device/command/"
_PAGE = 500
_OUTCOME = ("outcome", "reason", "count", "at")
"""The fields of a row of the ledger that are written into the command's record."""
_ACKNOWLEDGED_AT_ONCE = 20
_MOST_REMEMBERED = 10_000


@attrs.frozen(kw_only=True)
class CommandedQueue:
    """The queue that commands act on. ``write`` runs a rule as a call of the program would,
    ``begin_flush`` does not wait for the flush, ``pull`` pulls commands and says whether it worked.
    """

    control: QueueControl
    read: Callable[[Callable[[Reader], Any]], Any]
    write: Callable[[Callable[[UnitOfWork], Any]], Any]
    begin_flush: Callable[[], FlushRequest]
    pull: Callable[[], bool]


class CommandRunner:
    """Carries out the commands among the records of an entity."""

    def __init__(
        self,
        settings: RemoteCommands,
        entity: Entity,
        writer: RecordWriter,
        queue: CommandedQueue,
        *,
        device: ThisDevice,
        server_offset_s: Callable[[], float],
    ) -> None:
        self._allowed = settings.allow
        self._entity = entity
        self._writer = writer
        self._queue = queue
        self._device = device
        self._server_offset_s = server_offset_s
        self._flushes: dict[str, FlushRequest] = {}
        self._refused: set[tuple[str, str]] = set()
        """Commands that were not signed for this device, which are logged once."""
        self.has_new = True
        """Whether there may be commands that were not examined yet."""

    @property
    def flushing(self) -> bool:
        """Whether the flush of a command is under way."""
        return bool(self._flushes)

    def pull(self) -> bool:
        """Pulls commands; true if that succeeded."""
        return self._queue.pull()

    def run_new(self) -> None:
        """Carries out the commands that were pulled and not examined yet."""
        key = self._device.key()
        if key is None:
            return
        self.has_new = False
        for command, state in self._commands(key):
            if not is_acknowledged(key, command.id, state.get("acknowledged")):
                self._run(key, command)
        self._continue_flushes()

    def _commands(self, key: DeviceKey) -> Iterator[tuple[Command, Json]]:
        """The commands for this device that are not in the ledger."""
        after: tuple[str, ...] | None = None
        id_field = self._entity.config.id_field
        while True:

            def page(tx: Reader, start: tuple[str, ...] | None = after) -> tuple[list[Any], Any]:
                rows = list(tx.scan(RECORDS, None, (self._entity.name,), after=start, limit=_PAGE))
                found = []
                for row in rows:
                    state = None if row.state is None else loads(row.state)
                    command = None if state is None else parse_command(state, id_field)
                    if command is None or command.device != key.device:
                        continue
                    if not read_value(tx, _COMMAND + command.id):
                        found.append((command, state))
                return found, (rows[-1].record,) if len(rows) == _PAGE else None

            commands, after = self._queue.read(page)
            yield from commands
            if after is None:
                return

    # --- one command

    def _run(self, key: DeviceKey, command: Command) -> None:
        if (command.id, command.signature) in self._refused:
            return
        row: Json | None = self._queue.write(lambda work: self._decide(work, key, command))
        if row is None:  # another process has carried it out
            return
        if row["outcome"] == "refused":
            logger.warning(
                "the remote command %s (%a) was refused: %s",
                command.id,
                command.name[:32],
                row["reason"],
            )
            if row["reason"] == "signature":
                if len(self._refused) >= _MOST_REMEMBERED:
                    self._refused.clear()
                self._refused.add((command.id, command.signature))
        elif row["outcome"] == "done":
            logger.info(
                "the remote command %s was carried out: %s queued %d failed change(s) again",
                command.id,
                command.name,
                row["count"],
            )
        else:
            logger.info("the remote command %s is being carried out: %s", command.id, command.name)

    def _decide(self, work: UnitOfWork, key: DeviceKey, command: Command) -> Json | None:
        """Carries the command out or refuses it, in one transaction with its id; ``None``: that was
        done before.
        """
        if read_value(work.tx, _COMMAND + command.id):
            return None
        counts = read_value(work.tx, COMMAND_COUNTS)
        latest = max(counts.get("latest", 0.0), work.now + self._server_offset_s())
        why = refusal(command, key, self._allowed, latest)
        if why != "signature":
            # the server, which signed the command, wrote its time into it
            latest = max(latest, float(command.issued))
        counts["latest"] = latest
        row: Json = {"expires": command.expires, "acknowledged": False}
        if why is not None:
            counts["refused"] = counts.get("refused", 0) + 1
            row.update(outcome="refused", reason=why)
        elif command.name == "retry":
            counts["done"] = counts.get("done", 0) + 1
            count = self._queue.control.reprocess(work, command.arguments.get("ids"))
            row.update(outcome="done", count=count)
        else:
            counts["done"] = counts.get("done", 0) + 1
            row.update(outcome="begun")
        row["at"] = as_datetime(work.now).isoformat(timespec="seconds")
        write_value(work, COMMAND_COUNTS, counts)
        if why != "signature":
            write_value(work, _COMMAND + command.id, row)
        return row

    # --- flushes

    def _continue_flushes(self) -> None:
        """Begins the flushes of commands, also those that an earlier run did not finish."""
        for name, row in self._ledger():
            if row["outcome"] == "begun" and name not in self._flushes:
                self._flushes[name] = self._queue.begin_flush()

    def finish_flushes(self) -> None:
        """Stores the outcome of the flushes that have ended."""
        for command_id, request in list(self._flushes.items()):
            if request.wait(0.0):
                del self._flushes[command_id]
                self._queue.write(partial(_finished, command_id=command_id, pushed=request.pushed))

    # --- the ledger

    def _ledger(self) -> list[tuple[str, Json]]:
        def rows(tx: Reader) -> list[tuple[str, Json]]:
            found = tx.scan(META, None, (), after=(_COMMAND,), upto=(_COMMAND + "\x7f",))
            return [(row.name.removeprefix(_COMMAND), loads(row.value)) for row in found]

        ledger: list[tuple[str, Json]] = self._queue.read(rows)
        return ledger

    def acknowledge(self) -> bool:
        """Writes outcomes into the records of their commands; whether all are acknowledged."""
        key, all_taken = self._device.key(), True
        ledger = self._ledger() if key is not None else []
        waiting = [
            (command_id, row)
            for command_id, row in ledger
            if not row["acknowledged"] and row["outcome"] != "begun"
        ]
        for command_id, row in waiting[:_ACKNOWLEDGED_AT_ONCE]:
            outcome = {name: row[name] for name in _OUTCOME if name in row}
            signed = {} if key is None else acknowledgement(key, command_id, outcome)
            all_taken &= self._write_outcome(command_id, signed)
        self._forget(ledger)
        return all_taken and len(waiting) <= _ACKNOWLEDGED_AT_ONCE

    def _write_outcome(self, command_id: str, outcome: Json) -> bool:
        record = self._queue.read(lambda tx: tx.get(RECORDS, self._entity.name, command_id))
        data = {self._entity.config.id_field: command_id, "acknowledged": outcome}
        state = {} if record is None or record.state is None else loads(record.state)
        key, known = f"{command_id}-done", Known(True, None if record is None else record.version)
        answer, _ = self._writer.put(self._entity.name, command_id, data, key, known, state=state)
        taken = answer.meaning in (Verdict.DELIVERED, Verdict.GONE)
        if taken:
            self._queue.write(lambda work: _acknowledged(work, command_id))
        return taken

    def note_time(self) -> None:
        """Stores the time, which the server said just now, and from which no clock goes back."""

        def note(work: UnitOfWork) -> None:
            counts = read_value(work.tx, COMMAND_COUNTS)
            latest = work.now + self._server_offset_s()
            write_value(
                work, COMMAND_COUNTS, {**counts, "latest": max(counts.get("latest", 0.0), latest)}
            )

        self._queue.write(note)

    def _forget(self, ledger: list[tuple[str, Json]]) -> None:
        """Deletes rows of commands that expired long ago."""
        latest = self._queue.read(lambda tx: read_value(tx, COMMAND_COUNTS)).get("latest", 0.0)
        old = [name for name, row in ledger if row["expires"] + LONGEST_S < latest]

        def prune(work: UnitOfWork) -> None:
            rows = (work.tx.get(META, _COMMAND + name) for name in old)
            work.tx.delete(META, *[row for row in rows if row is not None])

        if old:
            self._queue.write(prune)


def _finished(work: UnitOfWork, command_id: str, pushed: int) -> None:
    row = read_value(work.tx, _COMMAND + command_id)
    if row.get("outcome") == "begun":
        row.update(outcome="done", count=pushed)
        write_value(work, _COMMAND + command_id, row)


def _acknowledged(work: UnitOfWork, command_id: str) -> None:
    row = read_value(work.tx, _COMMAND + command_id)
    if row:
        write_value(work, _COMMAND + command_id, {**row, "acknowledged": True})
