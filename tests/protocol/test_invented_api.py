"""A fifth API, which does not exist: odd names for everything, and no code for it.

``Depot`` is a server on loopback that takes requests in its own way only; ``DIALECT`` is all that
an engine is told of it, in values that could stand in a file.
"""

import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import EllipsisType
from typing import Any

import pytest

from bytelyst_sync import SyncConfig, SyncEngine, SyncItem, SyncResult
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Seen
from bytelyst_sync.testing.listener import Connection
from bytelyst_sync.testing.raw import Answer, Listener
from tests.typed import present

TOKEN = "open-sesame"
DIALECT = {
    "create": "PUT {endpoint}/{id}/birth",
    "update": "PUT {endpoint}/{id}/amendment",
    "delete": "PUT {endpoint}/{id}/funeral",
    "read": "GET {endpoint}/{id}/portrait",
    "pull": "GET {endpoint}/-/gazette",
    "content_type": "application/x-specimen+json",
    "body": {"create": "specimen", "update": "delta", "delete": "will"},
    "extra": {"protocol": 9},
    "record": "verdict.specimens.0",
    "items": "gazette.notices",
    "item": "subject",
    "query": {"order": "as-it-happened"},
    "page_size": "per",
    "since": ["mark", "~{cursor}~"],
    "first_cursor": "0",
    "cursor": "header:X-Gazette-Mark",
    "next_page": "url:gazette.onward",
    "version": "field:stamp.no",
    "send_version": "body:basedOn",
    "current": "quarrel.standing",
    "conflict": [418],
    "gone": [452],
    "exists": [[200, "already shelved"]],
    "tombstone": "buried",
    "server_fields": ["stamp", "amended_ms"],
    "updated_at": "amended_ms",
    "idempotency": "X-Once",
    "headers": {"X-Protocol": "9"},
}
PATIENCE_S = 10.0


class NoError(Exception):
    """What the depot says instead of yes."""

    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(status)
        self.answer = Answer.of(status, body)


class Depot:
    """The server. Its shelves outlive ``stop``; ``start`` listens where it did before.

    ``deaf`` is how many writes are done and not answered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.shelves: dict[Any, Any] = {}
        self.said: dict[str | None, Answer] = {}
        self.edition = 0
        self.births: list[Any] = []
        self.asked: list[Any] = []
        self.deaf = 0
        self.port = 0
        self._listener: Listener | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v9"

    def start(self) -> None:
        self._listener = Listener("127.0.0.1", self.port, self._serve)
        self.port = self._listener.server_address[1]

    def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _serve(self, line: Connection) -> None:
        while (seen := line.read()) is not None:
            with self._lock:
                answer = self._answer(seen)
                if seen.method == "PUT" and self.deaf:
                    self.deaf -= 1
                    return
            line.send(answer.encode())

    def _answer(self, seen: Seen) -> Answer:
        self.asked.append(f"{seen.method} {seen.path.removeprefix('/v9')}")
        try:
            if seen.method == "HEAD":
                return Answer(204)
            once = seen.headers.get("x-once")
            if once not in self.said or seen.method == "GET":
                answer = self._route(seen)
                if seen.method == "PUT":
                    self.said[once] = answer
                return answer
            return self.said[once]
        except NoError as no:
            return no.answer

    def _route(self, seen: Seen) -> Answer:
        if seen.headers.get("authorization") != f"Bearer {TOKEN}":
            raise NoError(401, verdict="who are you?")
        if seen.headers.get("x-protocol") != "9":
            raise NoError(400, verdict="which protocol?")
        if seen.path == "/v9/depot/-/gazette" and seen.method == "GET":
            return self._gazette(seen.query)
        *_, depot, handle, verb = seen.path.split("/")
        acts = {"birth": "specimen", "amendment": "delta", "funeral": "will"}
        if depot != "depot" or (seen.method, verb in acts) not in (("PUT", True), ("GET", False)):
            raise NoError(400, verdict=f"what is {seen.path}?")
        if verb == "portrait":
            return self._shown(self._standing(handle))
        fits = seen.headers.get("content-type") == "application/x-specimen+json"
        if not fits or set(seen.body) != {"protocol", acts[verb]} or not seen.headers.get("x-once"):
            raise NoError(400, verdict="that is no form of ours")
        form = seen.body[acts[verb]]
        if {"stamp", "amended_ms"} & set(form):
            raise NoError(400, verdict="we stamp, not you")
        found: Answer = getattr(self, f"_{verb}")(handle, form)
        return found

    def _birth(self, handle: str, form: Json) -> Answer:
        if not self.shelves.get(handle, {"buried": True}).get("buried"):
            return Answer.of(200, {"verdict": "already shelved"})
        self.births.append(handle)
        return self._stamped(handle, form)

    def _amendment(self, handle: str, form: Json) -> Answer:
        based_on = form.pop("basedOn", None)
        standing = self._standing(handle, based_on)
        return self._stamped(handle, {**standing, **form})

    def _funeral(self, handle: str, form: Json) -> Answer:
        standing = self._standing(handle, form.pop("basedOn", None))
        if form:
            raise NoError(400, verdict="a will names no heirs")
        self._stamped(handle, {"handle": standing["handle"], "buried": True})
        return Answer.of(200, {"verdict": "rest in peace"})

    def _standing(self, handle: str, based_on: int | EllipsisType = ...) -> Json:
        standing = self.shelves.get(handle)
        if standing is None or standing.get("buried"):
            raise NoError(452, verdict="no such specimen")
        if based_on is not ... and based_on != standing["stamp"]["no"]:
            raise NoError(418, quarrel={"standing": standing, "over": based_on})
        found: Json = standing
        return found

    def _stamped(self, handle: str, form: Json) -> Answer:
        self.edition += 1
        amended = 1_700_000_000_000 + self.edition * 1000
        number = self.shelves.get(handle, {"stamp": {"no": 0}})["stamp"]["no"] + 1
        form = {name: each for name, each in form.items() if name not in ("stamp", "amended_ms")}
        stamp = {"no": number, "edition": self.edition}
        self.shelves[handle] = {**form, "stamp": stamp, "amended_ms": amended}
        return self._shown(self.shelves[handle])

    def _shown(self, specimen: Json) -> Answer:
        return Answer.of(200, {"verdict": {"specimens": [specimen], "count": 1}})

    def _gazette(self, query: Json) -> Answer:
        mark = query.get("mark", "")
        if not (mark[:1] == mark[-1:] == "~" and query.get("order") == "as-it-happened"):
            raise NoError(400, verdict="where did you leave off?")
        news = [
            each for each in self.shelves.values() if each["stamp"]["edition"] > int(mark[1:-1])
        ]
        news.sort(key=lambda each: each["stamp"]["edition"])
        at, per = int(query.get("leaf", 0)), int(query.get("per", 100))
        rest = "&".join(f"{name}={each}" for name, each in query.items() if name != "leaf")
        onward = f"?{rest}&leaf={at + per}" if len(news) > at + per else None
        notices = [{"no": n, "subject": each} for n, each in enumerate(news[at : at + per])]
        body = {"gazette": {"notices": notices, "onward": onward}}
        return Answer.of(200, body, {"X-Gazette-Mark": str(self.edition)})

    # --- what tests do and see

    def standing(self) -> Json:
        with self._lock:
            return {
                handle: {n: v for n, v in each.items() if n not in ("stamp", "amended_ms")}
                for handle, each in self.shelves.items()
                if not each.get("buried")
            }


@pytest.fixture(autouse=True)
def half_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.5)


@pytest.fixture
def depot() -> Iterator[Depot]:
    made = Depot()
    yield made
    made.stop()


@pytest.fixture
def connect(depot: Depot, tmp_path: Path) -> Iterator[Callable[..., SyncEngine]]:
    """``connect(name)``: a client with a store of its own, made from values alone."""
    engines = []

    def make(name: str = "app", **settings: Any) -> SyncEngine:
        mapping = {
            "base_url": depot.url,
            "entities": {"things": {"endpoint": "depot", "id_field": "handle", "page_size": 2}},
            "storage": str(tmp_path / f"{name}.db"),
            "dialect": DIALECT,
            "auto_flush": False,
            "probe": None,
            "retry_delay": 1e-4,
            "max_retry_delay": 1e-4,
            **settings,
        }
        config = SyncConfig.from_mapping(json.loads(json.dumps(mapping)) | {"auth": lambda: TOKEN})
        engines.append(SyncEngine(config))
        return engines[-1]

    yield make
    for engine in engines:
        assert engine.close()


def view(engine: SyncEngine) -> Json:
    return {
        each["handle"]: {n: v for n, v in each.items() if n not in ("stamp", "amended_ms")}
        for each in engine.records("things")
    }


def settle(engine: SyncEngine) -> SyncResult:
    """Syncs until all is said, however often that takes."""
    for _ in range(20):
        if (result := engine.full_sync(timeout=PATIENCE_S)).success:
            return result
    raise AssertionError(engine.status.last_error)


def shelve(engine: SyncEngine, *handles: str, **fields: Any) -> list[SyncItem]:
    return engine.push_many(
        "things", [{"handle": each, "hue": "red", **fields} for each in handles]
    )


def test_create_update_and_delete(connect: Callable[..., SyncEngine], depot: Depot) -> None:
    engine = connect()
    shelve(engine, "a", "b", "c d/é")
    assert engine.flush(timeout=PATIENCE_S).success
    engine.push("things", {"handle": "a", "hue": "blue"}, "update")
    engine.push("things", {"handle": "c d/é", "size": 3}, "update")
    engine.delete("things", "b")
    result = engine.flush(timeout=PATIENCE_S)
    assert (result.success, result.pushed, result.conflicts) == (True, 3, 0)
    assert depot.standing() == {
        "a": {"handle": "a", "hue": "blue"},
        "c%20d%2F%C3%A9": {"handle": "c d/é", "hue": "red", "size": 3},
    }
    assert depot.asked == [
        "PUT /depot/a/birth",
        "PUT /depot/b/birth",
        "PUT /depot/c%20d%2F%C3%A9/birth",
        "PUT /depot/a/amendment",
        "PUT /depot/c%20d%2F%C3%A9/amendment",
        "PUT /depot/b/funeral",
    ]
    assert set(view(engine)) == {"a", "c d/é"}


def test_offline_and_back(connect: Callable[..., SyncEngine], depot: Depot) -> None:
    engine = connect()
    shelve(engine, "a", "b")
    settle(engine)
    depot.stop()
    shelve(engine, "c")
    engine.push("things", {"handle": "a", "hue": "blue"}, "update")
    engine.push("things", {"handle": "c", "size": 3}, "update")
    engine.delete("things", "b")
    result = engine.full_sync(timeout=PATIENCE_S)
    assert (result.offline, result.remaining) == (True, 3)
    there = {
        "a": {"handle": "a", "hue": "blue"},
        "c": {"handle": "c", "hue": "red", "size": 3},
    }
    assert view(engine) == there, "the local view works offline"
    depot.start()
    settle(engine)
    assert view(engine) == depot.standing() == there


def test_what_was_queued_outlives_client_and_server(
    connect: Callable[..., SyncEngine], depot: Depot
) -> None:
    engine = connect()
    shelve(engine, "a")
    settle(engine)
    depot.stop()
    engine.push("things", {"handle": "a", "hue": "blue"}, "update")
    shelve(engine, "b")
    engine.close()
    depot.start()
    again = connect()
    assert view(again)["a"]["hue"] == "blue"
    assert settle(again).pushed == 2
    assert depot.standing() == view(again)
    assert set(view(again)) == {"a", "b"}


def test_a_lost_answer_is_said_again(connect: Callable[..., SyncEngine], depot: Depot) -> None:
    """Done, not answered, and the server restarted: each is done once."""
    engine = connect()
    depot.deaf = 1
    shelve(engine, "a")
    engine.flush(timeout=PATIENCE_S)
    depot.stop()
    depot.start()
    settle(engine)
    assert depot.births == ["a"]
    depot.deaf = 1
    engine.push("things", {"handle": "a", "hue": "blue"}, "update")
    settle(engine)
    assert depot.shelves["a"]["stamp"]["no"] == 2
    assert depot.standing() == view(engine) == {"a": {"handle": "a", "hue": "blue"}}


def test_what_the_server_has_forgotten_it_said_is_compared(
    connect: Callable[..., SyncEngine], depot: Depot
) -> None:
    """It no longer knows the key, but has the record: already shelved, and as it was sent."""
    engine = connect()
    depot.deaf = 1
    shelve(engine, "a")
    engine.flush(timeout=PATIENCE_S)
    depot.said.clear()
    result = settle(engine)
    assert (depot.births, result.conflicts) == (["a"], 0)
    assert view(engine) == depot.standing()


def test_somebody_else_has_that_name(connect: Callable[..., SyncEngine], depot: Depot) -> None:
    one, two = connect("one"), connect("two", conflict="server-wins")
    shelve(one, "a")
    settle(one)
    shelve(two, "a", hue="green")
    assert two.flush(timeout=PATIENCE_S).conflicts == 1
    assert depot.asked[-2:] == ["PUT /depot/a/birth", "GET /depot/a/portrait"]
    assert view(two)["a"]["hue"] == depot.standing()["a"]["hue"] == "red"


def test_pages_and_tombstones(connect: Callable[..., SyncEngine], depot: Depot) -> None:
    one, two = connect("one"), connect("two")
    names = [f"n{n}" for n in range(7)]
    shelve(one, *names)
    settle(one)
    depot.asked.clear()
    assert settle(two).pulled == 7
    assert depot.asked == ["GET /depot/-/gazette"] * 4
    assert set(view(two)) == set(names)
    one.delete("things", "n3")
    one.push("things", {"handle": "n5", "hue": "blue"}, "update")
    settle(one)
    depot.asked.clear()
    assert settle(two).pulled == 2
    assert depot.asked == ["GET /depot/-/gazette"], "only what is new"
    assert view(two) == view(one) == depot.standing()
    assert settle(two).pulled == 0


STRATEGIES = {
    # hue was changed by both, size by one, mood by two; what stands in the end
    "server-wins": {"hue": "blue", "size": 3},
    "client-wins": {"hue": "green", "size": 3, "mood": "odd"},
    "last-write-wins": {"hue": "green", "size": 3, "mood": "odd"},
    "merge": {"hue": "green", "size": 3, "mood": "odd"},
}


@pytest.mark.parametrize("how", ["by push", "by pull"])
@pytest.mark.parametrize(("strategy", "end"), STRATEGIES.items(), ids=STRATEGIES)
def test_a_conflict(
    connect: Callable[..., SyncEngine], depot: Depot, strategy: str, end: Json, how: str
) -> None:
    """The depot's clock is far behind, so the later writer is two."""
    one, two = connect("one"), connect("two", conflict=strategy)
    shelve(one, "a", "b")
    settle(one)
    settle(two)
    one.push("things", {"handle": "a", "hue": "blue", "size": 3}, "update")
    settle(one)
    two.push("things", {"handle": "a", "hue": "green", "mood": "odd"}, "update")
    shelve(two, "c")
    first = two.flush(timeout=PATIENCE_S) if how == "by push" else two.pull()
    assert first.conflicts == 1
    settle(two)
    settle(one)
    assert view(one) == view(two) == depot.standing()
    assert view(one)["a"] == {"handle": "a", **end}
    (settled,) = two.conflicts(resolved=True)
    assert (present(settled.local)["hue"], present(settled.remote)["hue"]) == ("green", "blue")
    assert settled.fields == ("hue",)


def test_a_conflict_for_a_person_to_decide(
    connect: Callable[..., SyncEngine], depot: Depot
) -> None:
    one, two = connect("one"), connect("two", conflict="manual")
    shelve(one, "a", "b")
    settle(one)
    settle(two)
    one.push("things", {"handle": "a", "hue": "blue"}, "update")
    one.delete("things", "b")
    settle(one)
    two.push("things", {"handle": "a", "hue": "green"}, "update")
    two.push("things", {"handle": "b", "hue": "green"}, "update")
    two.full_sync(timeout=PATIENCE_S)
    parked = {each.record_id: each for each in two.conflicts()}
    assert present(parked["a"].remote)["hue"] == "blue"
    assert parked["b"].remote is None
    two.resolve(parked["a"], {**present(parked["a"].remote), "hue": "teal"})
    two.resolve(parked["b"], "local")
    settle(two)
    settle(one)
    assert view(one) == view(two) == depot.standing()
    assert {name: each["hue"] for name, each in view(one).items()} == {"a": "teal", "b": "green"}


def test_a_state_that_is_not_known_is_read_before_it_is_amended(
    connect: Callable[..., SyncEngine], depot: Depot
) -> None:
    """The form asks what the amendment is based on."""
    one, two = connect("one"), connect("two")
    shelve(one, "a")
    settle(one)
    depot.asked.clear()
    two.push("things", {"handle": "a", "hue": "blue"}, "update")
    assert two.flush(timeout=PATIENCE_S).success
    assert depot.asked == ["GET /depot/a/portrait", "PUT /depot/a/amendment"]
    assert depot.standing()["a"]["hue"] == "blue"


def test_a_refusal_is_told_in_the_depots_words(
    connect: Callable[..., SyncEngine], depot: Depot
) -> None:
    engine = connect(dialect={**DIALECT, "extra": {}})
    shelve(engine, "a")
    engine.flush(timeout=PATIENCE_S)
    (failed,) = engine.failed()
    assert "HTTP 400" in present(failed.last_error)
    assert "that is no form of ours" in present(failed.last_error)


def test_an_edit_on_both_ends_while_the_server_was_away(
    connect: Callable[..., SyncEngine], depot: Depot
) -> None:
    one, two = connect("one", conflict="merge"), connect("two", conflict="merge")
    shelve(one, "a", "b", "c")
    settle(one)
    settle(two)
    depot.stop()
    one.push("things", {"handle": "a", "size": 1}, "update")
    two.push("things", {"handle": "a", "mood": "odd"}, "update")
    one.delete("things", "b")
    two.push("things", {"handle": "c", "hue": "blue"}, "update")
    for engine in (one, two):
        assert engine.flush(timeout=PATIENCE_S).offline
    depot.start()
    for engine in (one, two, one):
        settle(engine)
    assert view(one) == view(two) == depot.standing()
    assert view(one) == {
        "a": {"handle": "a", "hue": "red", "size": 1, "mood": "odd"},
        "c": {"handle": "c", "hue": "blue"},
    }
