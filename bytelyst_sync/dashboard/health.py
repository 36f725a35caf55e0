"""The state of delivery in words: a headline, and facts that explain it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs
from markupsafe import Markup

from bytelyst_sync.dashboard.components.parts import Tone
from bytelyst_sync.dashboard.components.text import count_of, moment, value
from bytelyst_sync.inspection.snapshot import Snapshot
from bytelyst_sync.model import StatusReason, SyncStatus, SyncStatusInfo

__all__ = ["Health", "health"]

_REASONS: Mapping[StatusReason, str] = {
    "outage": "The server answers with errors; deliveries are retried until it is well.",
    "credentials": "The server refuses the credentials: renew them, then resume the engine.",
    "portal": "A login page of the network answers in the server's place: log in to the network.",
    "vanished": "Too many records are gone at the server at once, so its listing was not applied:"
    " reconcile(…, accept=True) takes it.",
    "blocked": 'An item waits for a decision, and nothing overtakes it (order="strict").',
    "deliverer": "The process that delivers gives no sign of life; another one takes over if it"
    " stays so.",
    "mapping": "The server's answers do not fit the dialect: run the doctor.",
}


@attrs.frozen
class Health:
    """``tone`` colours the headline; the facts are pairs of a name and a value."""

    tone: Tone
    icon: str
    title: str
    text: str
    facts: tuple[tuple[str, Markup], ...]


def health(snapshot: Snapshot, info: SyncStatusInfo | None) -> Health:
    """``info`` is the status of this process's engine; without it only the store is known."""
    reason = snapshot.reason if info is None else info.reason
    tone, icon, title, text = _headline(snapshot, info, reason)
    return Health(tone, icon, title, text, tuple(_facts(snapshot, info)))


def _headline(
    snapshot: Snapshot, info: SyncStatusInfo | None, reason: StatusReason | None
) -> tuple[Tone, str, str, str]:
    total = snapshot.total
    waiting = f"{count_of(total.waiting, 'change')} {'waits' if total.waiting == 1 else 'wait'}"
    decisions = total.failed + snapshot.conflicts
    why = "" if reason is None else _REASONS[reason]
    if info is not None and info.status is SyncStatus.OFFLINE:
        text = why or "The server cannot be reached. Changes are kept and sent when it can be."
        return "warn", "cloud-off", f"Offline, {waiting}", text
    if info is not None and info.paused:
        return "warn", "circle-pause", f"Paused, {waiting}", "The program has paused its engine."
    if reason is not None:
        return "bad", "circle-alert", f"Held up, {waiting}", why
    if decisions:
        needs = "needs" if decisions == 1 else "need"
        return (
            "bad",
            "triangle-alert",
            f"{count_of(decisions, 'change')} {needs} a decision",
            "Later changes of the same records wait for it. All others are delivered.",
        )
    if info is not None and info.status is SyncStatus.ERROR:
        return "bad", "circle-alert", f"Held up, {waiting}", info.last_error or ""
    if total.sending or (info is not None and info.status is SyncStatus.SYNCING):
        return "info", "send", f"Sending, {waiting}", "Changes are on their way to the server."
    if total.waiting:
        text = "They are sent in the order in which they were made."
        if info is None and snapshot.deliverer is None:
            text = "No process is delivering: start the program, or run “bytelyst-sync flush”."
        return "info", "clock", waiting, text
    return "good", "circle-check", "Everything is delivered", "Nothing waits, nothing failed."


def _facts(snapshot: Snapshot, info: SyncStatusInfo | None) -> Iterator[tuple[str, Markup]]:
    if snapshot.oldest is not None:
        yield "Oldest waiting change", moment(snapshot.oldest)
    retry = snapshot.next_retry if info is None else info.next_retry
    if retry is not None:
        yield "Next retry", moment(retry, due=True)
    if info is not None and info.last_sync is not None:
        yield "Last contact with the server", moment(info.last_sync)
    error = info.last_error if info is not None else None
    if error is None and snapshot.trouble is not None:
        error = snapshot.trouble.error
    if error is not None:
        yield "Last error", value(error)
    deliverer = snapshot.deliverer
    if info is not None and info.deliverer is None:
        yield "Delivered by", Markup("this process")
    elif deliverer is not None or (info is not None and info.deliverer is not None):
        yield "Delivered by", value(deliverer or (info.deliverer if info is not None else ""))
    else:
        yield "Delivered by", Markup("no process, as far as the store tells")
