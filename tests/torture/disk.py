"""Disks that are full, read-only, or have their file taken away, under a running engine."""

import errno
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import attrs

from bytelyst_sync import (
    EntityConfig,
    StorageError,
    StorageFullError,
    SyncEngine,
    create_sync_engine,
)
from bytelyst_sync.storage.location import LMDB, SQLITE, join_location
from bytelyst_sync.testing import SyncServer
from tests.torture.harness import Stopwatch, Trial, check, scenario
from tests.torture.mounts import (
    make_ext4,
    mount_image,
    mount_tmpfs,
    needs_root,
    private,
    read_only,
    unmount,
)

SIZE_BYTES = 12 << 20
TEXT = "x" * 20_000
LONGEST_S = 3.0
"""What a call may take on a disk that is in trouble."""
RESUMED_S = 35.0
"""Within this, what is left is delivered: a worker in trouble looks again every 30 s at least."""
NEXT = Event()


@attrs.define
class Caller:
    """Calls an engine, and takes the time of each call."""

    engine: SyncEngine
    number: int = 0
    slowest_s: float = 0.0
    refused: int = 0
    acknowledged: list[str] = attrs.field(factory=list)

    def timed(self, call: Callable[[], object]) -> object:
        """What the call gives; the error if that is a ``StorageError``."""
        watch = Stopwatch()
        try:
            return call()
        except StorageError as error:
            return error
        finally:
            took = watch.seconds
            self.slowest_s = max(self.slowest_s, took)
            check(watch.fair_s < LONGEST_S, f"no call hangs: one took {took:.1f} s")

    def push(self, text: str = TEXT) -> object:
        """One more event; the error that refused it."""
        self.number += 1
        name = str(self.number)
        found = self.timed(lambda: self.engine.push("events", {"id": name, "text": text}))
        if isinstance(found, StorageError):
            self.refused += 1
            return found
        self.acknowledged.append(name)
        return None

    def look(self) -> list[object]:
        """What the calls that only read give."""
        engine = self.engine
        calls = (
            lambda: engine.queue_length,
            lambda: engine.get("events", "1"),
            lambda: len(list(engine.queue())),
            lambda: len(list(engine.records("events"))),
            lambda: engine.status.status,
        )
        return [self.timed(call) for call in calls]


def engine_at(server: SyncServer, path: Path | str, **settings: Any) -> SyncEngine:
    """An engine whose queue is there."""
    entities = {"events": EntityConfig("/events", dedup="none")}
    return create_sync_engine(
        base_url=server.url, entities=entities, storage=path, probe=None, **settings
    )


def within(bound_s: float, holds: Callable[..., object]) -> float:
    """Seconds until it holds; the bound if it does not within it."""
    began = time.monotonic()
    while not holds() and time.monotonic() - began < bound_s:
        NEXT.wait(0.01)
    return min(bound_s, time.monotonic() - began)


def fill(ballast: Path) -> None:
    """Takes what is left of the space."""
    size = 1 << 20
    with ballast.open("wb", buffering=0) as file:
        while size:
            if not has_room(file, size):
                size //= 2


def has_room(file: BinaryIO, size: int) -> bool:
    """Writes so many bytes, unless the disk is full."""
    try:
        file.write(b"x" * size)
    except OSError as error:
        check(error.errno == errno.ENOSPC, f"the disk is full: {error}")
        return False
    return True


def arrived(server: SyncServer) -> list[str]:
    return [effect.id for effect in server.journal]


def fill_disks(trial: Trial, store: str) -> dict[str, object]:
    """On ext4 and in memory; the engine is paused while it fills, and delivers when it is freed."""
    private()
    resumed, pushed = [], []
    callers = []
    for number in range(trial.rounds(2, 6)):
        place = trial.folder / f"disk{number}"
        if number % 2 == 0:
            mount_tmpfs(place, SIZE_BYTES)
        else:
            image = trial.folder / "image"
            with image.open("wb") as file:
                file.truncate(SIZE_BYTES)
            make_ext4(image, "-b", "4096", "-m", "0")
            mount_image(image, place)
        queue = join_location(store, place / "queue.db")
        with SyncServer() as server, engine_at(server, queue) as engine:
            caller = Caller(engine)
            callers.append(caller)
            # a minute once: longer than any pause of a worker that meets trouble
            full_s = trial.rounds(1, 60 if number == 1 else 3)
            resumed.append(one_full_disk(trial, server, caller, place / "ballast", full_s))
            pushed.append(len(caller.acknowledged))
        unmount(place)
    return {
        "disks": len(resumed),
        "full for s": trial.rounds(1, 60),
        "acknowledged": sum(pushed),
        "lost": 0,
        "refused": sum(caller.refused for caller in callers),
        "slowest call s": max(caller.slowest_s for caller in callers),
        "slowest to deliver again s": max(resumed),
    }


@scenario(
    "disk",
    "a full disk: StorageFullError, nothing lost, and all goes on once it is freed",
    tools=("mkfs.ext4", "mount"),
    missing=needs_root,
)
def full_disk_is_freed(trial: Trial) -> dict[str, object]:
    """Under a store of SQLite."""
    return fill_disks(trial, SQLITE)


@scenario(
    "disk",
    "LMDB, a full disk: StorageFullError, nothing lost, and all goes on once it is freed",
    tools=("mkfs.ext4", "mount"),
    missing=needs_root,
)
def full_disk_is_freed_lmdb(trial: Trial) -> dict[str, object]:
    """Under a store of LMDB, whose map is larger than the disk."""
    return fill_disks(trial, LMDB)


def one_full_disk(
    trial: Trial, server: SyncServer, caller: Caller, ballast: Path, full_s: float
) -> float:
    """Fills it, lets it be full for a while, frees it; seconds until all is delivered."""
    engine = caller.engine
    engine.pause()
    for _ in range(20):
        check(caller.push() is None, "a push works while there is space")
    fill(ballast)
    refused = None
    for _ in range(400):
        refused = caller.push() or refused
        if caller.refused > 3:
            break
    check(type(refused) is StorageFullError, f"a full disk is told as such: {refused!r}")
    before = caller.look()
    check(before[0] == len(caller.acknowledged), f"the queue is as it was: {before}")
    engine.resume()
    seen = within(5.0, lambda: engine.status.status == "error" or not engine.queue_length)
    stuck = engine.queue_length
    check(stuck, f"nothing is sent that cannot be marked as sent first ({seen:.1f} s)")
    check("full" in (engine.status.last_error or ""), f"the status tells why: {engine.status}")
    until = time.monotonic() + full_s
    while time.monotonic() < until:
        caller.push()
        caller.look()
        NEXT.wait(0.05)
    ballast.unlink()
    if trial.random.random() < 0.5:
        check(caller.push() is None, "the first push after space was freed works")
    took = within(RESUMED_S, lambda: not engine.queue_length)
    check(took < RESUMED_S, f"delivery goes on without a restart: {engine.queue_length} are left")
    check(arrived(server) == caller.acknowledged, "what was acknowledged arrives, once, in order")
    check(caller.push() is None, "a push works again")
    return took


@scenario(
    "disk",
    "a read-only file system: StorageError at once, and all goes on once it can be written to",
    tools=("mkfs.ext4", "mount"),
    missing=needs_root,
)
def read_only_file_system(trial: Trial) -> dict[str, object]:
    """From the start, then on an engine that was open before; and after an error of the disk's."""
    private()
    image, place = trial.folder / "image", trial.folder / "disk"
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    make_ext4(image, "-b", "4096", "-e", "remount-ro")
    mount_image(image, place)
    slowest_s, refused, acknowledged, resumed = 0.0, 0, 0, []
    for number in range(trial.rounds(2, 10)):
        path = place / f"queue{number}.db"
        with SyncServer() as server:
            if number % 2:
                with engine_at(server, path, auto_flush=False) as engine:
                    engine.push("events", {"id": "0", "text": TEXT})
            read_only(place, True)
            with closing(engine_at(server, path)) as engine:  # start() would raise
                caller = Caller(engine)
                for _ in range(5):
                    error = caller.push()
                    check(type(error) is StorageError, f"it is told: {error!r}")
                    check(str(place) in str(error), f"the error names the file: {error}")
                    caller.look()
                read_only(place, False)
                check(caller.push() is None, "a push works as soon as the file can be written to")
                resumed.append(within(RESUMED_S, lambda: not engine.queue_length))
                expected = ["0"] * (number % 2) + caller.acknowledged
                check(arrived(server) == expected, "what was acknowledged arrives")
            slowest_s = max(slowest_s, caller.slowest_s)
            refused += caller.refused
            acknowledged += len(caller.acknowledged)
    with SyncServer() as server:
        caller = struck(server, image, place)
    return {
        "rounds": trial.rounds(2, 10) + 1,
        "acknowledged": acknowledged + len(caller.acknowledged),
        "lost": 0,
        "refused": refused + caller.refused,
        "slowest call s": max(slowest_s, caller.slowest_s),
        "slowest to deliver again s": max(resumed),
    }


def struck(server: SyncServer, image: Path, place: Path) -> Caller:
    """ext4 meets an error and makes itself read-only under a running engine."""
    engine = engine_at(server, place / "struck.db", auto_flush=False)
    caller = Caller(engine)
    for _ in range(10):
        check(caller.push() is None, "a push works before")
    device = place.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("1")
    for _ in range(10):
        error = caller.push()
        check(isinstance(error, StorageError), f"it is told: {error!r}")
        caller.look()
    caller.timed(engine.close)
    unmount(place)
    mount_image(image, place)
    with engine_at(server, place / "struck.db") as engine:
        check(engine.flush(timeout=RESUMED_S).success, "the next start delivers it")
    check(arrived(server) == caller.acknowledged, "what was acknowledged arrives, and only that")
    return caller
