"""Makes the agent of an engine from the engine's parts, if its settings ask for one."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from bytelyst_sync.agent.commands import COMMAND_COUNTS, CommandedQueue, CommandRunner
from bytelyst_sync.agent.device import ThisDevice
from bytelyst_sync.agent.heartbeats import Heartbeats
from bytelyst_sync.agent.presence import Presence
from bytelyst_sync.agent.record_writer import BorrowedCredentials, RecordWriter
from bytelyst_sync.agent.rows import read_value
from bytelyst_sync.agent.thread import DeviceAgent, Duties
from bytelyst_sync.clock import Clock, as_datetime
from bytelyst_sync.config.entity import Entities
from bytelyst_sync.config.settings import SyncConfig, token_provider
from bytelyst_sync.delivery.auth import Credentials
from bytelyst_sync.delivery.exchange import Exchange
from bytelyst_sync.delivery.flush_requests import FlushRequest
from bytelyst_sync.delivery.send_permission import SendPermission
from bytelyst_sync.delivery.throttle import Throttle
from bytelyst_sync.delivery.worker import Worker
from bytelyst_sync.events.status import StatusBoard
from bytelyst_sync.http.transport import Transport
from bytelyst_sync.protocol.codec import EntityCodec
from bytelyst_sync.pull.puller import Puller
from bytelyst_sync.queue.control import QueueControl
from bytelyst_sync.state.unit_of_work import StateStore, UnitOfWork
from bytelyst_sync.storage.base import Reader
from bytelyst_sync.storage.schema import ITEMS
from bytelyst_sync.version import __version__
from bytelyst_sync.wiring import retry_policy

__all__ = ["agent_of"]

T = TypeVar("T")
Json = dict[str, Any]
_PULL_S = 60.0


class _EngineParts(Protocol):
    """What an agent needs of its engine, which connects these parts."""

    @property
    def config(self) -> SyncConfig: ...
    @property
    def entities(self) -> Entities: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def board(self) -> StatusBoard: ...
    @property
    def state(self) -> StateStore: ...
    @property
    def inbox(self) -> object: ...
    @property
    def control(self) -> QueueControl: ...
    @property
    def transport(self) -> Transport: ...
    @property
    def credentials(self) -> Credentials: ...
    @property
    def throttle(self) -> Throttle: ...
    @property
    def puller(self) -> Puller: ...
    @property
    def send_permission(self) -> SendPermission: ...
    @property
    def worker(self) -> Worker: ...

    def begin_flush(self) -> FlushRequest:
        """Requests a flush of what is queued now, without waiting."""
        ...

    def fold_inbox(self) -> None:
        """Queues what waits to be queued, in a shared store."""
        ...

    def wake_after_push(self) -> None:
        """Something was queued."""
        ...


def agent_of(parts: _EngineParts, codecs: Mapping[str, EntityCodec]) -> DeviceAgent | None:
    """The agent; ``None`` if the settings ask for no heartbeats and no remote commands, and this is
    no worker of a store that many machines share.
    """
    config = parts.config
    shares = parts.inbox is not None and config.auto_flush
    if config.heartbeat is None and config.remote_commands is None and not shares:
        return None
    credentials = BorrowedCredentials(parts.credentials, token_provider(config.auth))
    # answers to the agent's requests delay the agent only, not the delivery
    throttle = Throttle(parts.clock, retry_policy(config))
    exchange = Exchange(parts.transport, credentials, parts.clock, throttle)
    writer = RecordWriter(codecs, exchange, parts.clock.wall)
    device = ThisDevice(parts.state, config.account or "", config.remote_commands, parts.board)
    agent = DeviceAgent(
        Duties(
            _heartbeats(parts, writer, device),
            _commands(parts, writer, device),
            _presence(parts) if shares else None,
        ),
        clock=parts.clock,
        interval_s=config.heartbeat_interval,
        may_send=parts.send_permission.may_fetch,
        random=random.random,
    )
    parts.worker.on_start = agent.start
    subscribe = getattr(parts.clock, "subscribe", None)
    if subscribe is not None:
        # under a clock that is moved by hand, no wait ends by itself
        subscribe(agent.wake)
    return agent


def _presence(parts: _EngineParts) -> Presence:
    def describe() -> tuple[str, int]:
        return parts.board.status.value, parts.board.recorder.stats(0, 0, 0).delivered

    return Presence(parts.state, parts.config.schema_version, describe)


def _heartbeats(parts: _EngineParts, writer: RecordWriter, device: ThisDevice) -> Heartbeats | None:
    name = parts.config.heartbeat
    if name is None:
        return None
    return Heartbeats(
        parts.state,
        parts.entities[name],
        writer,
        parts.config.heartbeat_interval,
        describe=partial(_described, parts),
        device=device,
    )


def _commands(
    parts: _EngineParts, writer: RecordWriter, device: ThisDevice
) -> CommandRunner | None:
    settings = parts.config.remote_commands
    if settings is None:
        return None
    queue = CommandedQueue(
        control=parts.control,
        read=parts.state.read,
        write=partial(_write, parts),
        begin_flush=parts.begin_flush,
        pull=partial(_pulled, parts, settings.entity),
    )
    return CommandRunner(
        settings,
        parts.entities[settings.entity],
        writer,
        queue,
        device=device,
        server_offset_s=lambda: parts.throttle.offset.seconds,
    )


def _pulled(parts: _EngineParts, entity: str) -> bool:
    result = parts.puller.pull([entity], _PULL_S, background=True)
    return not (result.errors or result.offline or result.remaining)


def _write(parts: _EngineParts, rule: Callable[[UnitOfWork], T]) -> T:
    """Runs a rule as a call of the program would."""
    parts.fold_inbox()
    result = parts.state.write(rule)
    parts.wake_after_push()
    return result


def _described(parts: _EngineParts) -> Json:
    """How the queue is doing, in codes, counts and times."""
    info = parts.board.info()

    def read(tx: Reader) -> tuple[float | None, Json]:
        oldest = next(tx.scan(ITEMS, limit=1), None)
        return None if oldest is None else oldest.time, read_value(tx, COMMAND_COUNTS)

    oldest, commands = parts.state.read(read)
    now = parts.clock.wall()
    # times are by the server's clock: by a wrong clock of its own, a device would look silent
    offset_s = parts.throttle.offset.seconds
    last_sync = None if info.last_sync is None else info.last_sync.timestamp() + offset_s
    return {
        "sent_at": as_datetime(now + offset_s).isoformat(timespec="seconds"),
        "package": __version__,
        "schema_version": parts.config.schema_version,
        "status": info.status.value,
        "reason": info.reason,
        "queued": info.queue_length,
        "failed": info.failed,
        "conflicts": info.conflicts,
        "oldest": 0 if oldest is None else max(0, int(now - oldest)),
        "paused": info.paused,
        "last_sync": (
            None if last_sync is None else as_datetime(last_sync).isoformat(timespec="seconds")
        ),
        "commands_done": commands.get("done", 0),
        "commands_refused": commands.get("refused", 0),
    }
