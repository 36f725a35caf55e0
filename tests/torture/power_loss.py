"""Power loss: the plug is pulled at random instants of a run, and what the disk has is opened.

The disk (``block_disk.py``) logs what is written, what is flushed, and what the world knew between:
a push counts as acknowledged once this process has read the writer's word for it. So the instants
are chosen afterwards, from all that the log has.
"""

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs

from bytelyst_sync import SyncEngine, create_sync_engine
from bytelyst_sync.storage.files import sync_file
from bytelyst_sync.storage.lmdb.verification import find_damage
from bytelyst_sync.storage.location import LMDB, SQLITE, join_location, open_file_store
from bytelyst_sync.testing import SyncServer
from tests.torture import power_writer
from tests.torture.block_disk import Disk, Flush, Note, write_image
from tests.torture.harness import Trial, check, scenario
from tests.torture.mounts import make_ext4, mount_image, needs_root, private, unmount
from tests.torture.power_writer import ENTITIES

DISK_BYTES = 64 << 20
BOUND_S = 30.0
NOBODY = "http://127.0.0.1:9"
Play = Callable[[Trial], dict[str, object]]


@attrs.frozen
class Life:
    """How one run of the writer goes: until so many pushes are acknowledged."""

    threads: int
    pushes: int
    durability: str
    deliver: bool
    options: str
    store: str = SQLITE
    written_back: int | None = None
    """After so many acknowledged pushes each, the system writes back what it has of the file."""


@attrs.frozen
class Known:
    """What the world knew at an instant: how many were acknowledged, how many had arrived."""

    acknowledged: int
    arrived: int


@attrs.define
class Counters:
    """What was counted."""

    losses: int = 0
    acknowledged: int = 0
    lost: int = 0
    lossy: int = 0
    reported: int = 0
    unflushed: int = 0
    delivered: int = 0
    opened_s: list[float] = attrs.field(factory=list)

    def figures(self, lives: int) -> dict[str, object]:
        """For the table."""
        return {
            "power losses": self.losses,
            "lives": lives,
            "acknowledged before them": self.acknowledged,
            "lost": self.lost,
            "losses that lost some": self.lossy,
            "and said so": self.reported,
            "with writes in the disk's cache": self.unflushed,
            "delivered afterwards": self.delivered,
            "slowest opening s": max(self.opened_s),
        }


class Run:
    """One life of a writer on a disk of its own, and the power losses that it might have met."""

    def __init__(self, folder: Path, server: SyncServer, life: Life) -> None:
        self.server, self.life = server, life
        self.acknowledged: list[int] = []
        self._image, self._opened = folder / "image", folder / "opened"
        self.disk = Disk(folder / "fuse", DISK_BYTES)
        make_ext4(self.disk.path, "-b", "4096", "-J", "size=4")
        self.place = folder / "mounted"
        mount_image(self.disk.path, self.place, life.options)

    def live(self) -> None:
        """Lets the writer push until enough is acknowledged, and kills it."""
        life = self.life
        self._begin = len(self.disk.log)
        words = (life.threads, life.durability, "deliver" if life.deliver else "hold")
        queue = join_location(life.store, self.place / "queue.db")
        arguments = (power_writer.__file__, self.server.url, queue, *words)
        program = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE)
        timer = threading.Timer(BOUND_S, program.kill)
        timer.start()
        assert program.stdout is not None
        with program.stdout as reported:
            for line in reported:
                self.acknowledged.append(int(line))
                self.disk.note(self._known)
                if len(self.acknowledged) == life.pushes:
                    program.kill()
                elif life.written_back and len(self.acknowledged) % life.written_back == 0:
                    sync_file(self.place / "queue.db")
        program.wait()
        timer.cancel()
        check(len(self.acknowledged) >= life.pushes, "a writer pushes until it is killed")
        self.disk.note(self._known)

    def close(self) -> None:
        """Gives it all back."""
        unmount(self.place)
        self.disk.close()

    def _known(self) -> Known:
        return Known(len(self.acknowledged), len(self.server.journal))

    def instants(self, count: int, chance: random.Random) -> dict[int, tuple[Known, Known]]:
        """Places in the log, with what was known just before and just after each.

        Half of them come right after an acknowledgement, where a push that is not on the disk yet
        has no time left; the last one is the end. If the system writes back, the others come
        between two writes.
        """
        size = len(self.disk.log)
        chosen = {size, *(place + 1 for place in chance.choices(list(self._notes()), k=count // 2))}
        places: Sequence[int] = range(self._begin, size)
        if self.life.written_back is not None:
            places = [place for place in places if isinstance(self.disk.log[place], tuple)]
        while len(chosen) < min(count, len(places)):
            chosen.add(chance.choice(places))
        return self._known_at(chosen)

    def first_instants(self, count: int, chance: random.Random) -> dict[int, tuple[Known, Known]]:
        """The same up to the first acknowledgement, with the places before and after each flush."""
        places = range(self._begin, min(self._notes()) + 2)
        flushes = [place for place in places[:-1] if isinstance(self.disk.log[place], Flush)]
        chosen = {place + step for place in flushes for step in (0, 1)}
        chosen.update(chance.sample(places, min(count, len(places))))
        return self._known_at(chosen)

    def _notes(self) -> dict[int, Known]:
        log = enumerate(self.disk.log)
        return {place: event.what for place, event in log if isinstance(event, Note)}

    def _known_at(self, places: Iterable[int]) -> dict[int, tuple[Known, Known]]:
        notes = self._notes()
        known = {}
        for place in places:
            before = [what for at, what in notes.items() if at < place]
            after = [what for at, what in notes.items() if at >= place]
            known[place] = ([Known(0, 0), *before][-1], [*after, *before[-1:]][0])
        return known

    @contextmanager
    def opened(self, blocks: dict[int, bytes]) -> Iterator[Path]:
        """The queue on what a disk has kept, mounted."""
        write_image(blocks, self._image, DISK_BYTES)
        mount_image(self._image, self._opened, self.life.options)
        try:
            yield self._opened / "queue.db"
        finally:
            unmount(self._opened)


def engine_on(queue: Path, url: str = NOBODY, **settings: Any) -> SyncEngine:
    """An engine that only looks, unless told otherwise."""
    return create_sync_engine(
        base_url=url,
        entities=ENTITIES,
        probe=None,
        **{"storage": queue, "auto_flush": False, **settings},
    )


def look(run: Run, queue: Path, before: Known, after: Known, counters: Counters) -> None:
    """Opens the queue after a power loss; counts what is missing of what was acknowledged."""
    began = time.monotonic()
    storage = open_file_store(run.life.store, queue, run.life.durability)
    with engine_on(queue, storage=storage) as engine:
        queued = [int(item.record_id) for item in engine.queue()]
        counters.opened_s.append(time.monotonic() - began)
        check(engine.queue_length == len(queued), "the number of queued items is exact")
        reported = storage.notice is not None
        check(len(queued) == len(set(queued)), "nothing is doubled")
        engine.push("events", {"id": "-1"})
        check(engine.queue_length == len(queued) + 1, "a queue that lost power takes pushes")
        engine.cancel(next(item for item in engine.queue() if item.record_id == "-1"))
    damage = damage_of(run.life.store, queue)
    check(damage is None, f"power loss damages nothing: {damage}")
    there = set(queued) | {int(each.id) for each in run.server.journal[: after.arrived]}
    if not reported or run.life.store == SQLITE:
        check_no_hole(there, run.life.threads)
    promised = set(run.acknowledged[: before.acknowledged])
    notice = storage.notice or ""
    if run.life.durability == "full":
        check(not reported, f"power loss damages nothing: {notice}")
    elif reported and run.life.store == SQLITE:
        # what was not synced came to the disk in any order: there is a hole, and it is told of
        check("loss of power" in notice, f"power loss damages nothing: {notice}")
        check(set(run.acknowledged[: after.acknowledged]) - there, f"something is lost: {notice}")
    elif reported:
        # the same: pages of several commits, whose readable rows were carried over
        check("a damaged database was set aside" in notice, f"it is told what happened: {notice}")
    counters.reported += reported
    counters.losses += 1
    counters.acknowledged += len(promised)
    counters.lost += len(promised - there)
    counters.lossy += bool(promised - there)


def damage_of(store: str, queue: Path) -> str | None:
    """What is damaged in the file, or ``None``."""
    if store == LMDB:
        return find_damage(queue)
    with closing(sqlite3.connect(queue)) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchall()
    return None if found == [("ok",)] else str(found)


def check_no_hole(there: set[int], threads: int) -> None:
    """What a power loss takes is the newest of each thread."""
    for thread in range(threads):
        own = sorted(each for each in there if each % threads == thread)
        whole = list(range(thread, thread + len(own) * threads, threads))
        check(own == whole, "what a power loss takes is the newest: a thread's pushes have no hole")


def deliver(run: Run, queue: Path, counters: Counters) -> None:
    """The next start after a power loss delivers what is left, and nothing a second time."""
    before = [effect.id for effect in run.server.journal]
    location = join_location(run.life.store, queue)
    with engine_on(queue, run.server.url, storage=location, auto_flush=True) as engine:
        result = engine.flush(timeout=BOUND_S)
        failed = [item.last_error for item in engine.failed()]
    check(result.success, f"the next start delivers what is left: {result}, {failed[:1]}")
    journal = [effect.id for effect in run.server.journal]
    check(len(journal) == len(set(journal)), "nothing is applied twice")
    check({*map(str, run.acknowledged)} <= {*journal}, "all that was acknowledged arrives")
    for thread in range(run.life.threads):
        own = [int(each) for each in journal if int(each) % run.life.threads == thread]
        check(own == sorted(own), "pushes of a thread arrive in their order")
    counters.delivered += len(journal) - len(before)


def lives_of(
    trial: Trial, count: int, durability: str, *, may_deliver: bool, store: str = SQLITE
) -> Iterator[Life]:
    """Some end as soon as the file is there, some after checkpoints."""
    chance = trial.random
    lengths = [1, 400, 40, 3, 150, 800]
    chance.shuffle(lengths)
    for number in range(count):
        yield Life(
            threads=chance.choice((1, 3)),
            pushes=lengths[number % len(lengths)],
            durability=durability,
            deliver=may_deliver and number % 2 == 1,
            options=chance.choice(("data=ordered", "data=writeback")),
            store=store,
            written_back=15 if store == LMDB and durability == "normal" else None,
        )


def pull_plugs(trial: Trial, life: Life, count: int, counters: Counters) -> None:
    """One life, and so many power losses in it."""
    with SyncServer() as server:
        run = Run(trial.folder, server, life)
        try:
            run.live()
            instants = run.instants(count, trial.random)
            for place, blocks, cached in run.disk.power_losses(instants, trial.random):
                counters.unflushed += bool(cached)
                with run.opened(blocks) as queue:
                    look(run, queue, *instants[place], counters)
                    if place == len(run.disk.log) and life.durability == "full":
                        deliver(run, queue, counters)
        finally:
            run.close()


def promise_full(trial: Trial, store: str) -> dict[str, object]:
    """Alone and in threads, with an engine that delivers and without."""
    private()
    counters, lives = Counters(), trial.rounds(2, 12)
    for life in lives_of(trial, lives, "full", may_deliver=True, store=store):
        pull_plugs(trial, life, trial.rounds(7, 18), counters)
        check(counters.lost == 0, f"no acknowledged push is lost: {life} lost {counters.lost}")
    return counters.figures(lives)


def promise_normal(trial: Trial, store: str) -> dict[str, object]:
    """The same trial, which must lose some: or it would prove nothing of durability full."""
    private()
    counters, lives = Counters(), trial.rounds(1, 4)
    for life in lives_of(trial, lives, "normal", may_deliver=False, store=store):
        pull_plugs(
            trial, attrs.evolve(life, pushes=max(40, life.pushes)), trial.rounds(7, 15), counters
        )
    check(counters.lost > 0, "a disk that loses its cache loses pushes that were never flushed")
    return counters.figures(lives)


def power_loss(promise: str) -> Callable[[Play], Play]:
    """Registers a scenario of this module."""
    return scenario("power loss", promise, tools=("mkfs.ext4", "mount"), missing=needs_root)


@power_loss("durability full: an acknowledged push survives power loss")
def power_loss_full(trial: Trial) -> dict[str, object]:
    return promise_full(trial, SQLITE)


@power_loss("durability normal: power loss takes the newest, and damages nothing")
def power_loss_normal(trial: Trial) -> dict[str, object]:
    return promise_normal(trial, SQLITE)


@power_loss("LMDB, durability full: an acknowledged push survives power loss")
def power_loss_lmdb_full(trial: Trial) -> dict[str, object]:
    return promise_full(trial, LMDB)


@power_loss("LMDB, durability normal: power loss takes the newest, or damage is set aside and told")
def power_loss_lmdb_normal(trial: Trial) -> dict[str, object]:
    return promise_normal(trial, LMDB)
