"""A queue's file that is damaged, deleted or replaced: told, salvaged, and never silently empty."""

import random
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path

import attrs

from bytelyst_sync import StorageError
from bytelyst_sync.testing import SyncServer
from tests.torture.disk import RESUMED_S, Caller, arrived, engine_at, within
from tests.torture.harness import Trial, check, scenario

QUEUED = 400
PAGE = 4096
NOBODY = "http://127.0.0.1:9"
UNSYNCED = 2
"""So many transactions at the end of a WAL may be torn by a crash."""
PLACES = ("header", "middle", "wal")


@attrs.define
class Counters:
    """What was counted."""

    rounds: int = 0
    salvaged: int = 0
    carried: int = 0
    lost_and_reported: int = 0
    lost_of_wal: int = 0
    unharmed: int = 0
    left_alone: int = 0
    slowest_s: float = 0.0


def queue_of(folder: Path, *, crashed: bool) -> Path:
    """A queue of ``QUEUED`` events; if it crashed, some of them are in the WAL alone."""
    folder.mkdir()
    whole, left = folder / "whole.db", folder / "queue.db"
    with SyncServer() as server, engine_at(server, whole, auto_flush=False) as engine:
        rows = [{"id": str(number), "text": "x" * 300} for number in range(QUEUED)]
        engine.push_many("events", rows[: QUEUED // 2])
        for row in rows[QUEUED // 2 :]:
            engine.push("events", row)
        if crashed:
            shutil.copy(whole, left)
            shutil.copy(folder / "whole.db-wal", folder / "queue.db-wal")
    if not crashed:
        shutil.copy(whole, left)
    return left


def damage(path: Path, where: str, chance: random.Random) -> str:
    """Zeros, noise, or a cut: some bytes of the header, or whole pages of the file or its WAL."""
    file = path.with_name(path.name + "-wal") if where == "wal" else path
    size = file.stat().st_size
    kind = chance.choice(("zeros", "noise", "cut"))
    if where == "header":
        offset, length = chance.randrange(90), chance.randrange(4, 100)
    else:
        offset = chance.randrange(1, max(2, size // PAGE)) * PAGE
        length = PAGE * chance.choice((1, 1, 3, 8))
    if kind == "cut":
        length = size if where == "header" else offset + chance.randrange(PAGE)
        _by_another("truncate", "-s", length, file)
        return kind
    noise = bytes(length) if kind == "zeros" else chance.randbytes(length)
    how = ("oflag=seek_bytes", "conv=notrunc", "status=none")
    _by_another("dd", f"of={file}", f"seek={offset}", *how, given=noise[: max(0, size - offset)])
    return kind


def _by_another(*arguments: object, given: bytes | None = None) -> None:
    """In another process: to close a file here would drop the locks that SQLite holds on it."""
    subprocess.run(list(map(str, arguments)), input=given, check=True)


def settle(path: Path, where: str, kind: str, counters: Counters) -> None:
    """Opens it as a program does; what is missing must have been told, and a push must work."""
    with SyncServer() as server, closing(engine_at(server, path, auto_flush=False)) as engine:
        caller = Caller(engine, number=QUEUED)
        refused = caller.push()
        alone = ".damaged-" not in "".join(each.name for each in path.parent.iterdir())
        if where == "header" and refused and alone:
            # what is left of it says that it is another program's, or a later release's
            counters.left_alone += 1
            counters.rounds += 1
            return
        check(refused is None, f"a damaged file is set aside, and a push works: {refused}")
        seen = caller.look()
        wrong = [each for each in seen if isinstance(each, Exception)]
        check(not wrong, f"what is carried over can be read: {wrong}")
        found = {int(item.record_id) for item in engine.queue()}
        notice = engine.status.last_error or ""
        result = engine.flush(timeout=RESUMED_S)
        check(result.remaining == 0, f"what is carried over is delivered: {result}")
        check({*map(int, arrived(server))} >= found, "all that was carried over arrives")
    missing = QUEUED + 1 - len(found)
    check(QUEUED + 1 in found, "a push that was acknowledged stays")
    counters.slowest_s = max(counters.slowest_s, caller.slowest_s)
    counters.rounds += 1
    counters.carried += len(found) - 1
    if is_reported(notice):
        aside = [each for each in path.parent.iterdir() if ".damaged-" in each.name]
        check(aside, f"the damaged file is kept under a new name: {notice}")
        counters.salvaged += 1
        counters.lost_and_reported += missing
        return
    if where == "wal" and (kind == "cut" or missing <= UNSYNCED):
        # as a crash might have cut it: the newest are gone, and nobody can know
        whole = set(range(QUEUED - missing)) | {QUEUED + 1}
        check(found == whole, "of a damaged WAL all is read that was written before the damage")
        counters.lost_of_wal += missing
        return
    check(not missing, f"nothing is lost in silence: {missing} are, after damage to the {where}")
    counters.unharmed += 1


def is_reported(notice: str) -> bool:
    """Whether the status says that something was damaged, and where it was put."""
    return "set aside" in notice or ("damaged" in notice and "copied to" in notice)


@scenario(
    "disk",
    "a damaged file is set aside, salvaged and told of; never a silent reset",
    tools=("dd", "truncate"),
)
def damage_at_random(trial: Trial) -> dict[str, object]:
    """To the header, the middle or the WAL: before it is opened."""
    counters = Counters()
    for number in range(trial.rounds(6, 90)):
        where = PLACES[number % len(PLACES)]
        path = queue_of(trial.folder / f"queue{number}", crashed=where == "wal")
        settle(path, where, damage(path, where, trial.random), counters)
        shutil.rmtree(path.parent)
    check(counters.salvaged > counters.rounds // 4, "some damage is met, or nothing is proven")
    return {
        "rounds": counters.rounds,
        "salvaged": counters.salvaged,
        "unharmed": counters.unharmed,
        "taken for another's": counters.left_alone,
        "rows carried": counters.carried,
        "rows lost, and told": counters.lost_and_reported,
        "rows lost with the end of a WAL": counters.lost_of_wal,
        "slowest call s": counters.slowest_s,
    }


@scenario(
    "disk",
    "a file damaged under a running engine: each push stays, or its loss is told",
    tools=("dd", "truncate"),
)
def damage_at_run_time(trial: Trial) -> dict[str, object]:
    """An engine delivers and pushes on while its file is damaged; then the next start."""
    salvaged = rounds = missing = 0
    slowest_s = 0.0
    for number in range(trial.rounds(3, 20)):
        path = queue_of(trial.folder / f"queue{number}", crashed=False)
        with SyncServer() as server:
            with engine_at(server, path) as engine:
                engine.pause()
                caller = Caller(engine, number=QUEUED)
                check(caller.push() is None, "a push works before")
                damage(path, PLACES[number % 2], trial.random)
                engine.resume()
                for _ in range(20):
                    caller.push("x" * 100)
                    caller.look()
                check(caller.push() is None, "in the end a push works again")
                within(RESUMED_S, lambda engine=engine: not engine.queue_length)
                notice = engine.status.last_error or ""
            with engine_at(server, path) as engine:
                result = engine.flush(timeout=RESUMED_S)
                check(result.remaining == 0, f"the next start delivers what is left: {result}")
                notice += engine.status.last_error or ""
            there = {int(each) for each in arrived(server)}
        lost = set(range(QUEUED)) | set(map(int, caller.acknowledged))
        lost -= there
        reported = is_reported(notice)
        check(reported or not lost, f"nothing is lost in silence: {len(lost)} are")
        rounds += 1
        salvaged += reported
        missing += len(lost)
        slowest_s = max(slowest_s, caller.slowest_s)
        shutil.rmtree(path.parent)
    return {
        "rounds": rounds,
        "salvaged": salvaged,
        "rows lost, and told": missing,
        "slowest call s": slowest_s,
    }


def take_away(path: Path, kind: str) -> None:
    """Lets the path be another thing."""
    if kind == "folder moved":
        path.parent.rename(path.parent.with_name("moved"))
        return
    path.unlink()
    if kind == "all deleted":
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    elif kind == "a directory":
        path.mkdir()


def give_back(path: Path, kind: str) -> None:
    """Lets a file be there again, or be made there."""
    if kind == "a directory":
        path.rmdir()
    elif kind == "folder moved":
        path.parent.with_name("moved").rename(path.parent)


@scenario(
    "disk", "a file taken away under a running engine: told, and all goes on without a restart"
)
def file_taken_away(trial: Trial) -> dict[str, object]:
    """Deleted, replaced by a directory, or moved with its folder, while it pushes and delivers."""
    kinds = ["deleted", "all deleted", "a directory", "folder moved"]
    slowest_s, refused, resumed = 0.0, 0, []
    rounds = trial.rounds(4, 24)
    for number in range(rounds):
        kind = kinds[number % len(kinds)]
        folder = trial.folder / f"folder{number}"
        folder.mkdir()
        path = folder / "queue.db"
        with SyncServer() as server, engine_at(server, path) as engine:
            engine.pause()
            caller = Caller(engine)
            for _ in range(20):
                check(caller.push("x") is None, "a push works before")
            before = len(caller.acknowledged)
            if trial.random.random() < 0.5:
                engine.resume()
            take_away(path, kind)
            for _ in range(10):
                caller.push("x")
                caller.look()
            if kind in ("a directory", "folder moved"):
                check(caller.refused == 10, f"{kind}: no push is acknowledged to nowhere")
            else:
                check(not caller.refused, f"{kind}: a file that was deleted is made anew")
                notice = engine.status.last_error or ""
                check("was deleted" in notice, f"{kind}: that is told: {notice!r}")
            give_back(path, kind)
            began = time.monotonic()
            check(caller.push("x") is None, f"{kind}: a push works again at once")
            engine.resume()
            took = within(RESUMED_S, lambda engine=engine: not engine.queue_length)
            check(took < RESUMED_S, f"{kind}: delivery goes on without a restart")
            resumed.append(time.monotonic() - began)
            there = arrived(server)
            check(len(there) == len(set(there)), f"{kind}: nothing arrives twice")
            since = caller.acknowledged if kind == "folder moved" else caller.acknowledged[before:]
            check({*since} <= {*there}, f"{kind}: what was acknowledged since arrives")
        check(not isinstance(caller.timed(engine.close), StorageError), "it closes")
        slowest_s = max(slowest_s, caller.slowest_s)
        refused += caller.refused
        shutil.rmtree(folder)
    return {
        "rounds": rounds,
        "refused": refused,
        "slowest call s": slowest_s,
        "slowest to deliver again s": max(resumed),
    }
