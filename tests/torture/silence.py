"""What must never be said: payloads, tokens, query strings; in every kind of trouble, at DEBUG.

Words are planted wherever something secret may stand, and looked for in all that is logged by
anybody, printed, warned of, raised, or shown by a ``repr``.
"""

import contextlib
import io
import logging
import random
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import requests

from bytelyst_sync import (
    Conflict,
    Dialect,
    EntityConfig,
    HttpProbe,
    OfflineError,
    RecordChange,
    SyncConfig,
    SyncEngine,
    SyncError,
)
from bytelyst_sync.config.batch_format import BatchFormat
from bytelyst_sync.model import Json
from bytelyst_sync.testing import SyncServer
from bytelyst_sync.testing.raw import Answer
from tests.torture import faults
from tests.torture.batch_face import BatchFace
from tests.torture.fault_schedule import Only
from tests.torture.faults import Fault
from tests.torture.harness import Trial, check, scenario
from tests.torture.proxy import FaultProxy

PAYLOAD = "planted-payload"
QUERY = "planted-query"
TOKEN = "planted-token"
PASSWORD = "planted-password"
HEADER = "planted-header"
QUOTE = "planted-quote"
"""In the message of a server that refuses: ``last_error`` shows it, and logs do not."""
SECRETS = (PAYLOAD, QUERY, TOKEN, PASSWORD, HEADER)
KEPT = (QUERY, TOKEN, PASSWORD, HEADER)
"""Those that no exception shows either; a payload may be quoted in what a server said of it."""


class Ears(logging.Handler):
    """Hears everything that is logged by anybody, tracebacks and arguments too."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.received: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = [record.name, record.getMessage(), repr(record.args)]
        if record.exc_info:
            text.append("".join(traceback.format_exception(*record.exc_info)))
        self.received.append((record.name, "\n".join(text)))


def _echo(true: Answer) -> Answer:
    """An answer that quotes the payload, as those that refuse a record do."""
    problem = f"the value {QUOTE!r} is not allowed"
    return Answer.of(422, {"error": problem, "detail": {"value": PAYLOAD}})


def _troubles(rng: random.Random) -> dict[str, Callable[[], Fault] | None]:
    """Each kind of trouble by name, as a fault of every request."""
    url = f"http://other.invalid/?token={QUERY}"
    return {
        "no trouble": None,
        "refused with a quote": lambda: faults.stray("422", _echo),
        "a conflict": lambda: faults.stray("409", lambda true: _conflict()),
        "a server error with a quote": lambda: faults.stray(
            "500", lambda true: Answer.of(500, {"error": QUOTE})
        ),
        "reset before": faults.reset_before,
        "reset after": faults.reset_after,
        "stall": lambda: faults.silent_before(0.5),
        "truncated": lambda: faults.truncated(0.6),
        "garbage": lambda: faults.garbage(f"{PAYLOAD} {PAYLOAD}\r\n\r\n".encode(), after=False),
        "a header that is none": lambda: faults.garbage(
            f"HTTP/1.1 200 OK\r\n{PAYLOAD} no header\r\nContent-Length: 0\r\n\r\n".encode(),
            after=False,
        ),
        "busy": lambda: faults.busy(rng.choice((429, 503)), 0.01, dated=False),
        "401": lambda: faults.status(401),
        "403 with a quote": lambda: faults.stray("403", lambda true: Answer.of(403, QUOTE)),
        "a redirect elsewhere": lambda: faults.elsewhere(url, 302),
        "a redirect to itself": lambda: faults.elsewhere("{path}", 307),
        "a redirect with a query": lambda: faults.elsewhere(f"/notes/?key={QUERY}", 307),
        "a redirect to no URL": lambda: faults.elsewhere(f"http://[{QUERY}", 302),
        "a portal": lambda: faults.portal("page"),
        "no record": lambda: faults.stray(
            "no record", lambda true: Answer.of(200, [PAYLOAD, {"items": PAYLOAD}])
        ),
        "another record": faults.another_record,
        "huge": faults.huge,
    }


def _conflict() -> Answer:
    return Answer.of(409, {"current": {"id": "1", "text": f"{PAYLOAD}-there", "version": 9}})


class Session(requests.Session):
    """One with a secret of its own, in a header and in the query."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["X-Session"] = HEADER
        self.params = {"session": QUERY}


class Troubled:
    """One engine in one kind of trouble; collects what it shows and raises."""

    def __init__(
        self, proxy: FaultProxy, storage: Path, rng: random.Random, *, batches: bool
    ) -> None:
        self.shown: list[str] = []
        self.raised: list[str] = []
        self._rng = rng
        self._proxy = proxy
        self._storage = storage
        self._batches = batches

    def run(self) -> None:
        """All calls, all callbacks, all shows."""
        config = self._config()
        self._show(config)
        engine = SyncEngine(config)
        engine.on_status_change(self._show)
        engine.on_failure(self._show)
        engine.on_change(self._show_and_fail)
        with engine:
            self._call(lambda: self._push(engine))
            for call in (engine.flush, engine.pull, engine.full_sync):
                self._call(lambda call=call: call(timeout=1.5))
            self._misuse(engine)
            self._look(engine)
            self._call(lambda: engine.reconcile("notes"))
            self._call(engine.reprocess_failed)
            self._call(lambda: engine.flush(timeout=1.0))
            self._look(engine)
        self._call(lambda: engine.push("notes", {"id": "9", "text": PAYLOAD}))
        self._show(engine)

    def _config(self) -> SyncConfig:
        rng = self._rng
        auths: list[Any] = [
            lambda: TOKEN,
            self._failing_auth,
            ("planted-user", PASSWORD),
            requests.auth.HTTPBasicAuth("planted-user", PASSWORD),
        ]
        url = f"http://127.0.0.1:{self._proxy.port}"
        batch: Json = {"batch": BatchFormat(size=5)} if self._batches else {}
        dialect = Dialect(query={"key": QUERY}, headers={"X-Dialect": HEADER}, **batch)
        notes = EntityConfig("/notes", params={"filter": QUERY})
        return SyncConfig(
            base_url=url,
            entities={"notes": notes, "tasks": "/tasks"},
            storage=self._storage,
            auth=rng.choice(auths),
            headers={"X-Api-Key": HEADER},
            session_factory=rng.choice((None, Session)),
            dialect=dialect,
            conflict=rng.choice(("manual", "merge", "server-wins")),
            on_conflict=self._failing_callback,
            workers=rng.choice((1, 4)),
            timeout=(1.0, 0.3),
            retry_delay=0.01,
            max_retry_delay=0.05,
            max_retries=1,
            probe=rng.choice(("auto", None, HttpProbe(f"{url}/?key={QUERY}"))),
            probe_interval=0.1,
            exit_timeout=0.0,
        )

    def _push(self, engine: SyncEngine) -> None:
        engine.push_many("notes", [{"id": str(n), "text": PAYLOAD, "n": n} for n in range(4)])
        engine.push("notes", {"id": "1", "text": f"{PAYLOAD}!"}, "update")
        engine.push("tasks", {"text": PAYLOAD})
        engine.delete("notes", "3")

    def _misuse(self, engine: SyncEngine) -> None:
        """What raises by itself."""
        for data in (
            {"id": "x", "text": float("nan"), "more": PAYLOAD},
            {"id": "x", PAYLOAD: {1: 2}},
            {"id": "x", "text": {PAYLOAD, object()}},
            [PAYLOAD],
        ):
            self._call(lambda data=data: engine.push("notes", data))
        for url in (f"http://u:{PASSWORD}@host.invalid", f"http://host.invalid/?key={QUERY}"):
            self._call(
                lambda url=url: SyncConfig(base_url=url, entities={"a": "/a"}, storage=":memory:")
            )
        self._call(lambda: engine.push("nowhere", {"text": PAYLOAD}))
        no_operation: Any = PAYLOAD
        self._call(lambda: engine.push("notes", {"id": "1", "text": PAYLOAD}, no_operation))
        self._call(lambda: engine.resolve("no such conflict", {"text": PAYLOAD}))

    def _look(self, engine: SyncEngine) -> None:
        """All that has a ``repr``."""
        for values in (engine.queue, engine.failed, engine.conflicts):
            self._show(*values())
        self._show(*engine.conflicts(resolved=True), engine, engine.status, engine.config)
        for conflict in list(engine.conflicts()):
            self._call(lambda conflict=conflict: engine.resolve(conflict, "local"))

    def _show(self, *values: object) -> None:
        for value in values:
            self.shown.append(f"{value!r} {value!s}")

    def _show_and_fail(self, change: RecordChange) -> NoReturn:
        """A callback that raises is logged: without what it says."""
        self._show(change)
        raise ValueError(f"{PAYLOAD} {QUERY} is the user's own business")

    def _failing_callback(self, conflict: Conflict) -> NoReturn:
        self._show(conflict)
        raise ValueError(PAYLOAD)

    def _failing_auth(self) -> NoReturn:
        raise OfflineError(TOKEN) if self._rng.random() < 0.5 else ValueError(TOKEN)

    def _call(self, call: Callable[..., object]) -> None:
        try:
            self._show(call())
        except SyncError as error:
            self.raised.append(f"{error!r} {error!s} {attrs_of(error)}")
        except (TypeError, ValueError) as error:
            self.raised.append(f"{error!r}")


def attrs_of(error: SyncError) -> dict[str, object]:
    """What an error carries beside its words."""
    names = ("entity", "record_id", "status", "request_id")
    return {name: getattr(error, name, None) for name in names}


def _leaks(texts: Iterable[str], words: Iterable[str]) -> dict[str, str]:
    """Which of the words stand in which of the texts."""
    found: dict[str, str] = {}
    for text in texts:
        for word in words:
            if word in text:
                start = max(0, text.index(word) - 160)
                found.setdefault(word, text[start : text.index(word) + 60].replace("\n", " ⏎ "))
    return found


@scenario("security", "no payload, token or query is logged, printed or shown, in any trouble")
def silence(trial: Trial) -> dict[str, object]:
    """Every kind of trouble, with the root logger at DEBUG."""
    ears = Ears()
    root = logging.getLogger()
    root.addHandler(ears)
    root.setLevel(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(logging.NOTSET)
    printed = io.StringIO()
    shown, raised = [], []
    troubles = _troubles(trial.random)
    hooked = []
    threading.excepthook = lambda args: hooked.append(repr(args.exc_value))
    rounds = trial.rounds(1, 4)
    began = time.monotonic()
    with (
        warnings.catch_warnings(record=True) as warned,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        for number in range(rounds):
            for name, make in troubles.items():
                troubled = _meet(trial, number, name, make)
                shown += troubled.shown
                raised += troubled.raised
    sys.stdout.write(f"{len(ears.received)} log records\n")
    received: dict[str, list[str]] = {where: [] for where, _ in ears.received}
    for where, text in ears.received:
        received[where].append(text)
    leaks = {
        f"log of {where}": _leaks(texts, (*SECRETS, QUOTE)) for where, texts in received.items()
    }
    leaks["output"] = _leaks([printed.getvalue(), *hooked], (*SECRETS, QUOTE))
    leaks["warnings"] = _leaks([str(each.message) for each in warned], (*SECRETS, QUOTE))
    leaks["repr"] = _leaks(shown, SECRETS)
    leaks["exceptions"] = _leaks(raised, KEPT)
    reported = [f"{where}: …{text}…" for where, found in leaks.items() for text in found.values()]
    check(not reported, f"{len(shown)} leaks: " + " | ".join(reported))
    urllib3 = sum(len(texts) for where, texts in received.items() if where.startswith("urllib3"))
    return {
        "troubles": len(troubles) * rounds,
        "log records": len(ears.received),
        "of urllib3": urllib3,
        "values shown": len(shown),
        "exceptions": len(raised),
        "seconds": f"{time.monotonic() - began:.1f}",
    }


def _meet(trial: Trial, number: int, name: str, make: Callable[[], Fault] | None) -> Troubled:
    """One engine in this trouble."""
    batches = trial.random.random() < 0.4
    face = BatchFace(trial.random, 0.1) if batches else None
    storage = trial.folder / f"{number} {name}.db"
    with SyncServer() as server, FaultProxy(("127.0.0.1", server.port), batch=face) as proxy:
        server.put("notes", {"id": "2", "text": f"{PAYLOAD} there"})
        if make is not None:
            proxy.schedule = Only(make)
        troubled = Troubled(proxy, storage, trial.random, batches=batches)
        troubled.run()
    return troubled
