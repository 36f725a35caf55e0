"""Renames a damaged file and puts a new one with its readable rows in its place.

The caller holds the write lock: one process does this while no other one writes or opens the file.
Other processes notice that the path names another file, and run their transactions again on it.

If the process is killed between two steps, nothing is lost: (1) an empty placeholder ``….salvage``
is created; (2) the file is renamed, after which no commit to it is acknowledged, and then the files
beside it; (3) the placeholder is filled and renamed to the path. A process that finds such a
placeholder and no file at the path continues with step 3.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from glob import escape
from pathlib import Path

from bytelyst_sync.errors import StorageCorruptError
from bytelyst_sync.storage.files import sibling, sync_file
from bytelyst_sync.storage.schema import SALVAGED, Meta

__all__ = ["GAP", "Replacement", "recent_report", "report_of", "salvage_mark"]

GAP = 1_000_000
"""How far the sequence jumps beyond every known number, so that none is used twice."""

_NOTICE_S = 86_400.0


class Replacement:
    """How one kind of store replaces a damaged file.

    ``fill(fresh, aside)`` fills the new, empty file with the readable rows of the renamed one, and
    returns a report. The files with these suffixes are renamed with the store.
    """

    def __init__(
        self, path: Path, suffixes: tuple[str, ...], fill: Callable[[Path, Path], str]
    ) -> None:
        self._path = path
        self._suffixes = suffixes
        self._fill = fill

    def set_aside(self) -> str:
        """Replaces the file; returns a report.

        Raises ``StorageCorruptError`` if it cannot be renamed.
        """
        path = self._path
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
        aside = sibling(path, f".damaged-{moment}")
        number = 1
        while aside.exists() or sibling(aside, ".salvage").exists():
            number += 1
            aside = sibling(path, f".damaged-{moment}-{number}")
        placeholder = sibling(aside, ".salvage")
        try:
            placeholder.touch(0o600, exist_ok=False)
            path.rename(aside)
        except OSError as error:
            placeholder.unlink(missing_ok=True)
            raise StorageCorruptError(
                f"{path} is damaged and cannot be set aside ({error.strerror or error}): close the"
                " programs that use it, check the owner of its directory, or move it away by hand"
            ) from error
        return self._replace(aside, placeholder)

    def finish(self) -> str | None:
        """Continues a replacement that was cut off; returns a report, or ``None``."""
        if self._path.exists():
            return None
        pattern = f"{escape(self._path.name)}.damaged-*.salvage"
        placeholders = sorted(self._path.parent.glob(pattern))
        if not placeholders:
            return None
        placeholder = placeholders[-1]
        aside = placeholder.with_name(placeholder.name.removesuffix(".salvage"))
        if not aside.exists():
            placeholder.unlink(missing_ok=True)
            return None
        return self._replace(aside, placeholder)

    def _replace(self, aside: Path, placeholder: Path) -> str:
        for suffix in self._suffixes:
            leftover = sibling(self._path, suffix)
            if leftover.exists():
                leftover.rename(sibling(aside, suffix))
        placeholder.unlink(missing_ok=True)
        placeholder.touch(0o600, exist_ok=False)
        report = self._fill(placeholder, aside)
        sync_file(placeholder)
        placeholder.rename(self._path)
        if os.name == "posix":
            sync_file(self._path.parent)
        return report


def report_of(aside: Path, carried: Mapping[str, int], incomplete: list[str]) -> str:
    """The report of a salvage: the number of rows kept, by table, and the incomplete tables."""
    rows = ", ".join(f"{number} {name}" for name, number in carried.items() if number)
    text = f"a damaged database was set aside as {aside}; rows kept: {rows or 'none'}"
    if incomplete:
        text += f"; some rows could not be read in: {', '.join(incomplete)}"
    return text


def salvage_mark(text: str, **more: object) -> Meta:
    """The meta row that tells other processes, and later runs, about a salvage."""
    return Meta(SALVAGED, json.dumps({"text": text, "at": time.time(), **more}))


def recent_report(value: str | None) -> str | None:
    """The report in the value of that row, if it is of the last 24 hours."""
    if value is None:
        return None
    try:
        mark = json.loads(value)
        return str(mark["text"]) if abs(time.time() - mark["at"]) < _NOTICE_S else None
    except (ValueError, TypeError, KeyError):
        return None
