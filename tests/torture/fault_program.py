"""Pushes while ``strace`` makes one of its writes fail, once for each of many places.

``fault_program.py FOLDER CALL OF PLACE...``: ``strace`` is told to let the OF-th CALL of a thread
fail. For each PLACE a forked child makes calls to no effect first, so that this is its PLACE-th,
pushes to ``FOLDER/PLACE.db``, and writes a line for each push to ``FOLDER/PLACE.txt``: its number,
and ``ok`` or the kind of the error, or ``unexplained``: SQLite could not enlarge the memory that
processes share, and does not say whether the disk is full. Children of odd places end as if killed.
"""

import os
import sys
import time
from pathlib import Path

from bytelyst_sync import EntityConfig, StorageError, create_sync_engine
from bytelyst_sync.storage.sqlite import opening
from bytelyst_sync.storage.sqlite.wal_file import WAL_PAGES

PUSHES = 14
PAGES_TO_CHECKPOINT = 12
ENTITIES = {"events": EntityConfig("/events", dedup="none")}
BETWEEN = "/dev/null"
UNEXPLAINED = "SQLITE_IOERR_SHMSIZE"


def kind_of(error: StorageError) -> str:
    """Its class, or ``unexplained``; Python 3.10 knows the error of SQLite by its text only."""
    cause = error.__cause__
    name = getattr(cause, "sqlite_errorname", UNEXPLAINED)
    if type(error) is StorageError and name == UNEXPLAINED and str(cause) == "disk I/O error":
        return "unexplained"
    return type(error).__name__


def burn(call: str, times: int) -> None:
    """So many calls that change nothing."""
    descriptor = os.open(BETWEEN, os.O_RDWR)
    for _ in range(times):
        if call == "pwrite64":
            os.pwrite(descriptor, b"", 0)
        else:
            try:
                os.fdatasync(descriptor)
            except OSError:
                continue
    os.close(descriptor)


def push_all(folder: Path, place: int, reported: int) -> None:
    """Pushes, whatever comes of it."""
    engine = create_sync_engine(
        base_url="http://127.0.0.1:9",
        entities=ENTITIES,
        storage=folder / f"{place}.db",
        auto_flush=False,
        exit_timeout=0,
    )
    for number in range(PUSHES):
        began = time.monotonic()
        try:
            engine.push("events", {"id": str(number), "text": "x" * 2000})
            found = "ok"
        except StorageError as error:
            found = kind_of(error)
        except BaseException as error:  # noqa: BLE001 - it is told, and the scenario judges
            found = f"!{type(error).__name__}: {error}"
        os.write(reported, f"{number} {time.monotonic() - began:.3f} {found}\n".encode())
    if place % 2 == 0:
        try:
            engine.close()
            found = "ok"
        except BaseException as error:  # noqa: BLE001 - it is told, and the scenario judges
            found = f"!{type(error).__name__}: {error}"
        os.write(reported, f"close 0 {found}\n".encode())


def main() -> None:
    """Reads the arguments."""
    folder, call, of, *places = sys.argv[1:]
    assert WAL_PAGES > PAGES_TO_CHECKPOINT
    opening.WAL_PAGES = PAGES_TO_CHECKPOINT  # type: ignore[attr-defined]  # it imports that
    for place in map(int, places):
        child = os.fork()
        if not child:
            reported = os.open(
                f"{folder}/{place}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
            )
            burn(call, int(of) - place)
            push_all(Path(folder), place, reported)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
