"""A wall clock that can be set while a program runs: libfaketime, by a file that it reads."""

import os
from pathlib import Path

__all__ = ["FakeClock", "missing"]

PLACES = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")
NAME = "libfaketimeMT.so.1"


def library() -> Path | None:
    """Where it is installed."""
    for place in PLACES:
        for found in sorted(Path("/").glob(f"{place[1:]}/{NAME}")):
            return found
    return None


def missing() -> str | None:
    """Why the clock cannot be set here."""
    if library() is None:
        return f"the clock is set by {NAME}, which is not installed (Debian: libfaketime)"
    return None


class FakeClock:
    """The clock of the programs that are started with ``environment``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset_s = 0
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """For the program; waits stay those of the real, monotonic clock.

        Without the last setting, threads that wait for the interpreter's lock spin on a condition
        whose time is over at once, and the program takes a hundred times as long.
        """
        return {
            **os.environ,
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, offset_s: int) -> None:
        """From now on the programs' clock is off by so many seconds."""
        part = self._file.with_suffix(".part")
        part.write_text(f"{offset_s:+d}s\n")
        part.rename(self._file)
        self.offset_s = offset_s
