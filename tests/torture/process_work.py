"""What the processes do in the scenarios about many of them."""

import atexit
import faulthandler
import http.client
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bytelyst_sync import SyncEngine
from tests.torture.fork_server import teller
from tests.torture.kill_work import BOUND_S, Settings, made, push_one

ENDS_S = 20.0
"""Longer than any forked child needs."""
ENOUGH_QUEUED = 300
Tell = Callable[[object], None]


def push_some(
    settings: Settings, reported: str, first: int, slot: str, threads: int, each: int
) -> None:
    """Several threads push so many times; tells of each push, and how long the longest took."""
    tell = teller(reported)
    engine = made(settings)
    room = threading.Event()
    slowest = [0.0] * threads

    def go(index: int) -> None:
        for step in range(each):
            number = first + index + step * threads
            began = time.monotonic()
            push_one(engine, number, f"{slot}.{index}")
            slowest[index] = max(slowest[index], time.monotonic() - began)
            tell(number)
            while engine.queue_length > ENOUGH_QUEUED:
                room.wait(0.01)

    crew = [threading.Thread(target=go, args=(index,)) for index in range(threads)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    tell({"slowest": max(slowest)})
    engine.close()


def deliver(settings: Settings, reported: str) -> None:
    """Delivers until it is killed."""
    engine = made(settings)
    engine.start()
    teller(reported)("started")
    threading.Event().wait()
    engine.close()


def push_now_and_then(settings: Settings, reported: str, first: int, slot: str, most: int) -> None:
    """Pushes as long as it lives; hardly anything ever waits."""
    tell = teller(reported)
    engine = made(settings)
    room = threading.Event()
    number = first
    while True:
        push_one(engine, number, slot)
        tell(number)
        number += 1
        while engine.queue_length > most:
            room.wait(0.005)


# -- forks ----------------------------------------------------------------------------------------


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one of the listing itself
            found.append(str(descriptor.readlink()))
    return found


def open_files(path: str) -> list[str]:
    """What this process has open of the store."""
    return [target for target in descriptors() if target.startswith(path)]


def open_sockets() -> set[str]:
    """The sockets that this process has open, by their inode."""
    return {target for target in descriptors() if target.startswith("socket:")}


def watch_sockets(tell: Tell) -> None:
    """From now on, tells of every request that is sent on a connection that was there before."""
    inherited = open_sockets()
    real = http.client.HTTPConnection.send

    def send(self: http.client.HTTPConnection, data: Any) -> None:
        if self.sock is not None:
            name = str(Path(f"/proc/self/fd/{self.sock.fileno()}").readlink())
            if name in inherited:
                tell({"touched": name})
        real(self, data)

    http.client.HTTPConnection.send = send  # type: ignore[method-assign]  # around the original


def child_of_a_fork(engine: SyncEngine, tell: Tell, path: str, number: int, kind: str) -> None:
    """The life of a forked child; never returns."""
    inherited = open_files(path)
    # not faulthandler's own timer: its thread stayed with a parent, and is waited for for ever
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.alarm(int(ENDS_S))
    status = 1
    try:
        tell({"inherited": len(inherited)})
        watch_sockets(tell)
        if kind != "nothing":
            push_one(engine, number, f"child{number}")
            tell(number)
        if kind == "flush":
            check_flushed(engine)
        elif kind == "exit":
            atexit._run_exitfuncs()
        elif kind == "close":
            assert engine.close(timeout=BOUND_S)
        elif kind == "grandchild":
            grandchild = os.fork()
            if not grandchild:
                child_of_a_fork(engine, tell, path, number + 1, "flush")
            check_flushed(engine)
            ended = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
            assert ended == 0, f"the grandchild ended with {ended}"
        status = 0
    finally:
        if status:
            sys.excepthook(*sys.exc_info())
        os._exit(status)


def check_flushed(engine: SyncEngine) -> None:
    """A flush ends, and brings no error: what others push meanwhile may be left."""
    result = engine.flush(timeout=ENDS_S)
    assert result.errors == 0, f"{result} {engine.status}"
    assert result.duration < ENDS_S, f"{result} {engine.status}"


KINDS = ("flush", "flush", "exit", "close", "grandchild", "nothing", "leave")


def forks(settings: Settings, reported: str, first: int, count: int, seed: int) -> None:
    """Forks again and again amid threads that push, flush, read and pull."""
    # Python 3.12 warns of what is tried here
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    tell = teller(reported)
    chance = random.Random(seed)
    engine = made(settings)
    stop = threading.Event()
    path = str(settings["storage"])

    def busy(index: int) -> None:
        number = first + index
        while not stop.is_set():
            push_one(engine, number, f"busy{index}")
            tell(number)
            number += 4
            engine.get("notes", "n0"), engine.status, list(engine.records("notes"))
            engine.flush(timeout=0.02)
            if number % 3 == 0:
                engine.pull("pages")

    crew = [threading.Thread(target=busy, args=(index,)) for index in range(3)]
    for thread in crew:
        thread.start()
    base = first + 500_000
    ended: list[tuple[str, int]] = []

    def fork_one(kind: str, number: int) -> None:
        began = time.monotonic()
        child = os.fork()
        if not child:
            child_of_a_fork(engine, tell, path, number, kind)
        tell({"fork": time.monotonic() - began})
        ended.append((kind, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))

    for number in range(base, base + 2 * count, 2):
        work = (chance.choice(KINDS), number)
        if chance.random() < 0.5:
            fork_one(*work)
        else:  # the other threads stay behind, and the main one among them
            thread = threading.Thread(target=fork_one, args=work)
            thread.start()
            thread.join()
    stop.set()
    for thread in crew:
        thread.join()
    tell({"ended": ended})
    tell({"left": engine.flush(timeout=BOUND_S).remaining})
    engine.close()


def family(settings: Settings, reported: str, first: int, children: int, depth: int) -> None:
    """An engine that is made here and first used in children, and theirs, all at once."""
    tell = teller(reported)
    engine = made(settings)
    _branch(engine, tell, first, children, depth)
    push_one(engine, first, "parent")
    tell(first)
    tell({"left": engine.flush(timeout=BOUND_S).remaining})
    engine.close()


def _branch(engine: SyncEngine, tell: Tell, number: int, children: int, depth: int) -> None:
    """Children, each of which pushes and, with its own, waits until all is delivered."""
    born = []
    for index in range(children if depth else 0):
        own = number * 10 + index + 1
        child = os.fork()
        if not child:
            signal.alarm(int(BOUND_S))
            status = 1
            try:
                push_one(engine, own, f"child{own}")
                tell(own)
                _branch(engine, tell, own, children, depth - 1)
                check_flushed(engine)
                status = 0
            finally:
                if status:
                    sys.excepthook(*sys.exc_info())
                os._exit(status)
        born.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in born]
    assert not any(ended), f"children ended with {ended}"
    tell({"born": len(born)})


# -- multiprocessing ------------------------------------------------------------------------------

_mine: dict[str, SyncEngine] = {}
"""Each process's engine, by where it tells."""


def begin_in_pool(settings: Settings, reported: str) -> None:
    """At the start of each of a pool's processes; under ``fork`` the parent's engine is there."""
    _mine.setdefault(reported, made(settings))


def task(number: int) -> int:
    """One push in a pool's process, sometimes with a flush."""
    [(reported, engine)] = _mine.items()
    push_one(engine, number, f"pool{number}")
    teller_once(reported, number)
    if number % 5 == 0:
        check_flushed(engine)
    return os.getpid()


def teller_once(reported: str, number: int) -> None:
    """Tells one thing."""
    with Path(reported).open("ab", buffering=0) as file:
        file.write(b"%d\n" % number)


def pools(settings: Settings, reported: str, first: int, method: str, count: int) -> None:
    """Pools whose processes are replaced all the time, while this one pushes and delivers."""
    warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    tell = teller(reported)
    engine = _mine[reported] = made(settings)
    push_one(engine, first, "before")
    tell(first)
    check_flushed(engine)
    context = multiprocessing.get_context(method)
    with context.Pool(3, begin_in_pool, (settings, reported), maxtasksperchild=4) as pool:
        results = pool.map_async(task, range(first + 1, first + 1 + count), chunksize=1)
        number = first + 500_000
        while not results.ready():
            push_one(engine, number, "beside")
            tell(number)
            number += 1
            results.wait(0.01)
        pids = results.get(0)
        pool.close()
        pool.join()
    tell({"processes": len(set(pids))})
    tell({"left": engine.flush(timeout=BOUND_S).remaining})
    engine.close()
