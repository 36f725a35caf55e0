"""What a status badge says, for any toolkit."""

from __future__ import annotations

import attrs

from bytelyst_sync.model import SyncStatus, SyncStatusInfo

__all__ = ["AMBER", "GREEN", "RED", "StatusText", "status_text"]

GREEN, AMBER, RED = "#1a7f37", "#b35900", "#b42318"
"""Colours that white text can be read on."""


@attrs.frozen
class StatusText:
    """The text and the background of a badge; ``detail`` is the last error, for a tooltip."""

    text: str
    colour: str
    detail: str = ""


def status_text(info: SyncStatusInfo) -> StatusText:
    """Red: somebody has to decide something. Amber: it will go on by itself. Green: all is well."""
    waiting = f", {info.queue_length} waiting" if info.queue_length else ""
    word, colour = _word(info)
    return StatusText(f"{word}{waiting}", colour, info.last_error or "")


def _word(info: SyncStatusInfo) -> tuple[str, str]:
    if info.status is SyncStatus.CLOSED:
        return "closed", AMBER
    where = "online" if info.online else "offline"
    if info.failed:
        return f"{where}, {info.failed} refused", RED
    if info.conflicts:
        return f"{where}, {info.conflicts} in conflict", RED
    if info.paused:
        return "paused", AMBER
    if info.online and info.status is SyncStatus.ERROR:
        return "trouble", RED
    return where, GREEN if info.online else AMBER
