"""The verbs that use the network: flush, pull, sync."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import attrs
import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import ENTITY, CliContext
from bytelyst_sync.cli.progress import run_with_progress
from bytelyst_sync.cli.session import Wire, sending_engine
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.inspection.text import count_of, duration, moment
from bytelyst_sync.model import SyncResult, SyncStatusInfo

__all__: list[str] = []

_timeout = click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
    help="Stop waiting after so long; what is queued stays queued.",
)  # fmt: skip


@verb(root, name="flush", short_help="Deliver what is queued, and wait for it.")
@_timeout
def _flush(context: CliContext, timeout: float | None) -> int:
    """Deliver what is queued. If another program delivers, wait until either has."""
    return _run(context, lambda engine: engine.flush(timeout), pushes=True)


@verb(root, name="pull")
@click.argument("entity", type=ENTITY, required=False)
@click.option("--full", is_flag=True, help="List everything anew; what is gone there goes here.")
@click.option("--accept", is_flag=True, help="With --full: also if so many are gone (max_vanish).")
@_timeout
def _pull(
    context: CliContext, entity: str | None, full: bool, accept: bool, timeout: float | None
) -> int:
    """Fetch what others changed, of one entity or of all."""
    if accept and not full:
        raise click.UsageError("--accept says what a full listing may remove: give --full with it")

    def call(engine: SyncEngine) -> SyncResult:
        if not full:
            return engine.pull(entity, timeout)
        names = [entity] if entity else list(engine.config.entities)
        return reduce(_joined, (engine.reconcile(name, accept) for name in names))

    return _run(context, call, pulls=True)


@verb(root, name="sync")
@_timeout
def _sync(context: CliContext, timeout: float | None) -> int:
    """Deliver, fetch, and deliver what came of it."""
    return _run(context, lambda engine: engine.full_sync(timeout), pushes=True, pulls=True)


def _joined(first: SyncResult, then: SyncResult) -> SyncResult:
    return attrs.evolve(
        then,
        success=first.success and then.success,
        pulled=first.pulled + then.pulled,
        conflicts=first.conflicts + then.conflicts,
        errors=first.errors + then.errors,
        duration=first.duration + then.duration,
        offline=first.offline or then.offline,
    )


def _run(
    context: CliContext,
    call: Callable[[SyncEngine], SyncResult],
    *,
    pushes: bool = False,
    pulls: bool = False,
) -> int:
    settings, screen = context.settings(), context.screen
    with sending_engine(settings) as (engine, wire):
        before = engine.queue_length if pushes else 0
        result = run_with_progress(
            engine, wire, screen, lambda: call(engine), pushes=pushes, pulls=pulls
        )
        info = engine.status
    code = _code(result, wire)
    error = None if code is ExitCode.OK else info.last_error
    if screen.json:
        screen.document(_result_json(result, info, error))
        return code
    screen.say(_summary(result, before, pulls=pulls), None if result.success else "yellow")
    for text in _why(result, info, code):
        screen.warn(text)
    for text in _decisions(info):
        screen.note(text)
    return code


def _code(result: SyncResult, wire: Wire) -> ExitCode:
    if result.success:
        return ExitCode.OK
    if wire.refused:
        return ExitCode.CREDENTIALS
    return ExitCode.OFFLINE if result.offline else ExitCode.FAILED


def _result_json(result: SyncResult, info: SyncStatusInfo, error: str | None) -> dict[str, Any]:
    shape = attrs.asdict(result, recurse=False)
    shape["timestamp"] = result.timestamp.isoformat()
    return {
        **shape,
        "failed": info.failed,
        "open_conflicts": info.conflicts,
        "last_error": error,
        "reason": info.reason,
    }


def _summary(result: SyncResult, before: int, *, pulls: bool) -> str:
    """The summary of a run; ``before``: how many items waited at the start."""
    parts = []
    settled = result.pushed + result.conflicts + result.errors
    if before - result.remaining > settled:
        here = f"{result.pushed} delivered here, the rest" if result.pushed else "delivered"
        parts.append(f"{here} by another program")
    elif result.pushed or before:
        parts.append(f"{result.pushed} delivered")
    elif not pulls:
        parts.append("nothing waited")
    if pulls:
        parts.append(f"{result.pulled} fetched")
    if result.conflicts:
        parts.append(count_of(result.conflicts, "conflict"))
    if result.errors:
        parts.append(count_of(result.errors, "error"))
    if result.remaining:
        parts.append(f"{result.remaining} still waiting")
    return f"{', '.join(parts)} ({duration(result.duration)})"


def _why(result: SyncResult, info: SyncStatusInfo, code: ExitCode) -> list[str]:
    """Why it was no success, and what to do next."""
    if code is ExitCode.OK:
        return []
    lines = [info.last_error] if info.last_error else []
    if code is ExitCode.OFFLINE:
        lines.append("offline: what is queued stays queued; `bytelyst-sync doctor` looks for why")
    if code is ExitCode.CREDENTIALS:
        lines.append("check BYTELYST_SYNC_AUTH, or the variable that auth_env names")
    if info.next_retry is not None and code is ExitCode.FAILED:
        lines.append(f"the next try is due {moment(info.next_retry)}")
    if result.remaining and code is ExitCode.FAILED:
        lines.append("`bytelyst-sync queue` shows what waits and until when")
    return lines


def _decisions(info: SyncStatusInfo) -> list[str]:
    """What waits for a decision."""
    lines = []
    if info.failed:
        lines.append(f"{count_of(info.failed, 'item')} failed: `bytelyst-sync failed list`")
    if info.conflicts:
        lines.append(f"{count_of(info.conflicts, 'conflict')} open: `bytelyst-sync conflicts list`")
    return lines
