"""Each function is the whole life of a process. ``given`` are settings of its queue, ``told`` is
the file to which it writes what it did.
"""

import os
import random
import signal
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

from tests.torture.queue_site import setup  # noqa: F401 - before all that needs Django

# ruff: isort: split
import requests
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, transaction
from requests.adapters import HTTPAdapter

from bytelyst_sync import SyncEngine
from bytelyst_sync.contrib.django import get_engine
from bytelyst_sync.contrib.django.transaction import DjangoTransaction
from bytelyst_sync.errors import SyncError
from bytelyst_sync.model import OperationName
from tests.contrib.django.shop import models as shop
from tests.torture.fork_server import teller
from tests.torture.kill_work import Settings
from tests.torture.process_work import Tell

NOTES, STEPS = 6, 6
EDITS_OF_A_NOTE = 60
MOST_QUEUED = 200
STOP_TIMEOUT_S = 20.0
QUEUE = {
    "ENTITIES": {
        # merged: fields of many pushes in one request
        "notes": "/notes",
        # each change on its own
        "steps": {"endpoint": "/steps", "dedup": "none"},
        "orders": "/orders",
    },
    "PROBE": None,
    "RETRY_DELAY": 0.05,
    "MAX_RETRY_DELAY": 0.3,
    "MAX_RETRIES": 10_000,
}

Push = tuple[int, tuple[str, dict[str, object]]]
"""A number, and what ``save`` is given."""


class UndoError(Exception):
    """Rolls a transaction back."""


def configure(given: Settings) -> None:
    """Settles where the queue's database is and what its settings are, in this process."""
    given = dict(given)
    port = given.pop("port", None)
    if port is not None:
        connections.settings["default"]["PORT"] = str(port)
    headers = {"X-Worker": str(os.getpid())}
    settings.BYTELYST_SYNC = {"default": {**QUEUE, "HEADERS": headers, **given}}


def prepare(given: Settings, told: str) -> None:
    """Makes the tables, and the records that all processes change."""
    configure(given)
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in shop.MODELS:
            editor.create_model(model)
    engine = get_engine()
    for number in range(STEPS):
        engine.push("steps", {"id": f"s{number}"})
    result = engine.flush(timeout=60.0)
    assert result.success, result


def worker(given: Settings, told: str, stop_at: int = 0) -> None:
    """``manage.py sync_worker``. It stops itself in its n-th transaction that changes the queue."""
    tell = teller(told)
    configure(given)
    if stop_at:
        stop_in_a_transaction(stop_at, tell)
    call_command("sync_worker", stop_timeout=STOP_TIMEOUT_S, stdout=Output(tell))
    tell("ended")


class Output:
    """The command's standard output: its first line says that the worker has started."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def write(self, text: str) -> None:
        """A line."""
        if text.startswith("queue "):
            self._tell("started")

    def flush(self) -> None:
        """Nothing is kept back."""


def stop_in_a_transaction(number: int, tell: Tell) -> None:
    """Before the ``number``-th commit: the lock of the queue is held."""
    finish = DjangoTransaction.finish
    seen: list[None] = []

    def stopping(self: DjangoTransaction) -> None:
        finish(self)
        seen.append(None)
        if len(seen) == number:
            tell("stopped with the lock")
            os.kill(os.getpid(), signal.SIGSTOP)

    DjangoTransaction.finish = stopping  # type: ignore[method-assign]  # around the original


def stalling_worker(given: Settings, told: str, place: str, stall: str) -> None:
    """A worker whose requests stall at a place while the file ``stall`` says so.

    Who removes that file stalls, until the file ``stall`` + ``.go`` is there.
    """
    tell = teller(told)

    def pause() -> None:
        try:
            Path(stall).unlink()
        except FileNotFoundError:
            return
        tell("stalls")
        while not Path(f"{stall}.go").exists():
            time.sleep(0.01)
        tell("goes on")

    def token() -> str:
        pause()
        return "token"

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        pause()
        return request

    class Adapter(HTTPAdapter):
        def send(self, *arguments: Any, **options: Any) -> requests.Response:
            pause()
            return super().send(*arguments, **options)

    def session() -> requests.Session:
        made = requests.Session()
        made.mount("http://", Adapter())
        return made

    class Auth(requests.auth.AuthBase):
        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            return sign(request)

    extra: dict[str, Settings] = {
        "token": {"AUTH": token},
        "signature": {"AUTH": Auth()},
        "adapter": {"SESSION_FACTORY": session},
    }
    worker({**given, **extra[place]}, told)


def one_change(
    given: Settings, told: str, record: str, mark: object, operation: OperationName = "update"
) -> None:
    """Pushes one change of a record, and ends."""
    configure(given)
    get_engine().push("steps", {"id": record, "mark": mark}, operation)
    connections.close_all()


def changes(given: Settings, told: str, first: int, commands: str) -> None:
    """Pushes changes as the lines of the file ``commands`` say: a record, and how many."""
    configure(given)
    engine, tell = get_engine(), teller(told)
    number = first
    with Path(commands).open() as lines:
        tell("started")
        while True:
            line = lines.readline()
            if not line:
                time.sleep(0.005)
                continue
            record, count = line.split()
            for at in range(int(count)):
                if at:
                    # within the time in which a push is debounced, or just not
                    time.sleep(random.uniform(0.0, 0.07))
                tell(["plan", [number], []])
                engine.push("steps", {"id": record, "mark": number}, "update")
                tell(["done", number])
                number += 1


# --- pushes


def record_of(number: int, chance: random.Random, place: int) -> tuple[str, dict[str, object]]:
    """The entity and the data of a push, which creates or updates a record."""
    if place < NOTES:
        note = f"n{place}.{number % 1_000_000 // EDITS_OF_A_NOTE}"
        return "notes", {"id": note, f"f{number}": number}
    return "steps", {"id": f"s{place - NOTES}", "mark": number}


def pusher(given: Settings, told: str, first: int, ends: str = "at once") -> None:
    """Transactions that push about several records in random order, with savepoints; some of each
    are rolled back. It tells of each before it begins, and when it is committed.

    ``ends`` says what SIGTERM does: ends it at once, or raises ``SystemExit``.
    """
    ended = []

    def end(*_: object) -> NoReturn:
        ended.append(True)
        sys.exit(0)

    if ends == "SystemExit":
        signal.signal(signal.SIGTERM, end)
    configure(given)
    tell = teller(told)
    chance, number = random.Random(first), first
    engine = get_engine()
    tell("started")
    with suppress(SystemExit):
        # an exception in COMMIT reaches the program as an error of the connection, which Django
        # finds unusable
        while not ended:
            number += push_some(engine, tell, chance, number)


def push_some(engine: SyncEngine, tell: Tell, chance: random.Random, number: int) -> int:
    """One transaction; how many numbers it took."""
    outer = plan(chance, number)
    inner = plan(chance, number + len(outer))
    undo_inner, undo = chance.random() < 0.3, chance.random() < 0.25
    kept = [] if undo else [*outer, *([] if undo_inner else inner)]
    numbers = [each for each, _ in kept]
    undone = [each for each, _ in [*outer, *inner] if each not in numbers]
    tell(["plan", numbers, undone])
    try:
        with suppress(UndoError):
            transact(engine, outer, inner, undo_inner=undo_inner, undo=undo)
        tell(["done", *numbers])
        while engine.queue_length > MOST_QUEUED:
            time.sleep(0.02)
    except (SyncError, DatabaseError) as error:
        tell(["error", f"{type(error).__name__}: {error} {error.__cause__!r}"])
        with suppress(DatabaseError):
            connection.close()
        time.sleep(0.05)
    time.sleep(chance.uniform(0.0, 0.02))
    return len(outer) + len(inner)


def plan(chance: random.Random, number: int) -> list[Push]:
    """Pushes with their numbers, in random order of their records."""
    places = chance.sample(range(NOTES + STEPS), chance.randrange(1, 6))
    return [(number + at, record_of(number + at, chance, each)) for at, each in enumerate(places)]


def transact(
    engine: SyncEngine, outer: list[Push], inner: list[Push], *, undo_inner: bool, undo: bool
) -> None:
    """One transaction with a savepoint in it."""
    with transaction.atomic():
        for _, push in outer:
            engine.save(*push)
        with suppress(UndoError), transaction.atomic():
            for _, push in inner:
                engine.save(*push)
            if undo_inner:
                raise UndoError
        if undo:
            raise UndoError


def saver(given: Settings, told: str, first: int) -> None:
    """Saves, changes and deletes orders, whose model is pushed, some in one transaction."""
    configure(given)
    chance, number = random.Random(first), first
    tell = teller(told)
    tell("started")
    while True:
        number += 1
        with transaction.atomic() if chance.random() < 0.5 else nullcontext():
            order = shop.Order.objects.create(title=f"t{number}")
            if chance.random() < 0.5:
                order.title = f"u{number}"
                order.save()
        if chance.random() < 0.2:
            order.delete()
        tell(number)
