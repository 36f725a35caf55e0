"""Batches: many writes in one request, each with an answer of its own.

The server is a ``Store`` in process, so keys, versions and ids are as real as behind a socket.
"""

import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bytelyst_sync import (
    Dialect,
    EngineClosedError,
    EntityConfig,
    OfflineError,
    Request,
    SyncEngine,
    SyncItem,
    TransportError,
)
from bytelyst_sync.config.batch_format import BatchFormat
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.base import Transaction
from bytelyst_sync.storage.schema import ITEMS, Lane
from bytelyst_sync.testing import RawServer, Seen
from bytelyst_sync.testing.raw import Answer, RecordedRequest, answer, encode_json
from bytelyst_sync.testing.store import Rules, Store
from tests.delivery.conftest import Tokens
from tests.typed import present

URL = "http://server.invalid/api"
ALL = {"POST", "PATCH", "DELETE"}


class Bulk:
    """A server with a batch endpoint, as a transport.

    ``whole`` may answer a batch before it is processed, ``share`` change one operation's answer,
    ``arrange`` the list of them, ``after`` answer in place of it; ``single`` may answer a write
    that came alone. An exception that they return is raised.
    """

    def __init__(self, path: str = "/batch", **rules: Any) -> None:
        self.path = path
        self.store = Store(Rules(**rules))
        self.batches: list[Any] = []
        self.singles: list[Any] = []
        self.reads: list[Any] = []
        self.tokens: list[Any] = []
        self.whole: Callable[[list[Json]], Any] = lambda rows: None
        self.after: Callable[[list[Json]], Any] = lambda rows: None
        self.share: Callable[[Json, Any], Any] = lambda row, answer: answer
        self.arrange: Callable[[list[Json], list[Any]], Any] = lambda rows, answers: answers
        self.single: Callable[[RecordedRequest], Any] = lambda seen: None
        self.headers: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def send(self, request: Request) -> Response:
        target = request.url.removeprefix(URL)
        seen = RecordedRequest.of(request.method, target, request.headers, request.body or b"")
        with self._lock:
            self.tokens.append(seen.headers.get("authorization"))
            if seen.path == self.path:
                self.batches.append(seen.body["requests"])
            else:
                (self.reads if seen.method == "GET" else self.singles).append(seen)
        answer = self.several(seen) if seen.path == self.path else self.alone(seen)
        if isinstance(answer, BaseException):
            raise answer
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, headers, answer.body, request.url)

    def several(self, seen: Seen) -> Answer | Exception:
        rows = seen.body["requests"]
        early = self.whole(rows)
        if early is not None:
            found: Answer | Exception = early
            return found
        answers = [self.share(row, self.one(row)) for row in rows]
        late = self.after(rows)
        if late is not None:
            result: Answer | Exception = late
            return result
        body = {"responses": self.arrange(rows, answers)}
        return Answer.of(200, body, self.headers)

    def one(self, row: Json) -> Any:
        content = encode_json(row["body"]) if row.get("body") is not None else b""
        answer = self.store.handle(
            RecordedRequest.of(row["method"], row["path"], row.get("headers", {}), content)
        )
        body = json.loads(answer.body) if answer.body else None
        return {"status": answer.status, "headers": dict(answer.headers), "body": body}

    def alone(self, seen: Seen) -> Answer:
        early = self.single(seen) if seen.method != "GET" else None
        return self.store.handle(seen) if early is None else early

    @property
    def sizes(self) -> list[int]:
        return [len(rows) for rows in self.batches]

    @property
    def applied(self) -> list[tuple[str, str]]:
        """What was done, by clients, in its order."""
        return [(each.kind, each.id) for each in self.store.journal if each.by == "http"]


def keys_of(rows: list[Json]) -> list[str]:
    return [row["headers"]["idempotency-key"] for row in rows]


def keys_alone(bulk: Bulk) -> list[str]:
    return [seen.headers["idempotency-key"] for seen in bulk.singles]


def once(
    first: Exception | Answer, second: None = None
) -> Callable[..., Exception | Answer | None]:
    """A hook that says ``first`` the first time, then ``second``."""
    left = [first]
    return lambda *_: left.pop() if left else second


@pytest.fixture
def bulk() -> Bulk:
    return Bulk()


@pytest.fixture
def client(held: Callable[..., SyncEngine], bulk: Bulk) -> Callable[..., SyncEngine]:
    """``client(size=10, **settings)``: an engine on ``bulk``, that sends while it is flushed."""

    def build(
        *,
        size: int = 10,
        shape: BatchFormat | None = None,
        fields: Json | None = None,
        **settings: Any,
    ) -> SyncEngine:
        shape = BatchFormat(size=size) if shape is None else shape
        options = {
            "base_url": URL,
            "transport": bulk,
            "dialect": Dialect(batch=shape, **(fields or {})),
            **settings,
        }
        return held(**options)

    return build


def fill(engine: SyncEngine, number: int = 5, title: str = "t") -> list[SyncItem]:
    return engine.push_many("notes", [{"id": f"r{n}", "title": title} for n in range(number)])


def refuse(*ids: str, answer: Json) -> Callable[[Json, Json], Json]:
    """A share that answers for these records in the server's place, unprocessed."""

    def share(row: Json, given: Json) -> Json:
        named = (row.get("body") or {}).get("id") or row["path"].rsplit("/", 1)[-1]
        return answer if named in ids else given

    return share


# one request for many


def test_items_go_in_batches_in_the_order_of_their_pushes(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client(size=10)
    items = fill(engine, 25)
    assert engine.flush().pushed == 25
    assert bulk.sizes == [10, 10, 5]
    assert bulk.singles == []
    assert bulk.applied == [("create", f"r{n}") for n in range(25)]
    assert [key for rows in bulk.batches for key in keys_of(rows)] == [each.id for each in items]
    assert all(engine.wait(each, timeout=0) == "delivered" for each in items)


def test_one_item_needs_no_batch(client: Callable[..., SyncEngine], bulk: Bulk) -> None:
    engine = client()
    fill(engine, 1)
    assert engine.flush().success
    assert (bulk.sizes, len(bulk.singles)) == ([], 1)


def test_an_operation_is_listed_as_it_would_be_alone(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    bulk.store.change("notes", "create", {"id": "a b"})
    engine = client()
    engine.pull("notes")
    engine.push("notes", {"id": "a b", "title": "new"}, "update")
    engine.push("notes", {"id": "2"})
    engine.push("tasks", {"id": "3"}, "delete")
    assert engine.flush().success
    (rows,) = bulk.batches
    for row in rows:
        row["headers"].pop("idempotency-key")
    typed = {"content-type": "application/json"}
    assert rows == [
        {
            "method": "PATCH",
            "path": "/notes/a%20b",
            "headers": {"if-match": "1", **typed},
            "body": {"id": "a b", "title": "new"},
        },
        {"method": "POST", "path": "/notes", "headers": typed, "body": {"id": "2"}},
        {"method": "DELETE", "path": "/tasks/3", "headers": {}},
    ]


def test_a_share_is_an_answer(client: Callable[..., SyncEngine], bulk: Bulk) -> None:
    """Its record is the server's state, its version goes on."""
    engine = client()
    fill(engine, 2)
    engine.flush()
    engine.push("notes", {"id": "r0", "title": "newer"}, "update")
    engine.push("notes", {"id": "r1"}, "delete")
    assert engine.flush().success
    headers = [row["headers"] for row in bulk.batches[1]]
    assert [each["if-match"].strip('"') for each in headers] == ["1", "1"]
    assert engine.get("notes", "r0") == bulk.store.records("notes")["r0"]
    assert engine.get("notes", "r1") is None


def test_one_operation_of_a_record_in_a_batch(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    fill(engine, 3)
    engine.flush()
    engine.push("notes", {"id": "r0"}, "delete")
    engine.push("notes", {"id": "r0", "title": "again"})
    engine.push("notes", {"id": "r1", "title": "x"}, "update")
    assert engine.flush().success
    assert [[row["method"] for row in rows] for rows in bulk.batches[1:]] == [["DELETE", "PATCH"]]
    assert [seen.method for seen in bulk.singles] == ["POST"]
    assert bulk.applied[3:] == [("delete", "r0"), ("update", "r1"), ("create", "r0")]


@pytest.mark.parametrize("workers", [1, 4])
def test_many_records_with_many_operations_each_once_and_in_order(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int], workers: int
) -> None:
    engine = client(size=7, workers=workers, batch_size=50)
    fill(engine, 60)
    for round_ in range(3):
        assert engine.flush(timeout=20).success
        with engine.transaction():
            for n in range(60):
                engine.push("notes", {"id": f"r{n}", "n": round_}, "update")
    assert drain(engine) == 0
    assert max(bulk.sizes) == 7
    for n in range(60):
        mine = [each for each in bulk.store.journal if each.id == f"r{n}"]
        assert [each.kind for each in mine] == ["create", "update", "update", "update"]
        assert [present(each.data)["n"] for each in mine[1:]] == [0, 1, 2]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_child_is_in_no_batch_with_its_parents_create(
    held: Callable[..., SyncEngine], workers: int
) -> None:
    bulk = Bulk(id_source="server")
    engine = held(
        base_url=URL,
        transport=bulk,
        workers=workers,
        dialect=Dialect(batch=BatchFormat()),
        entities={
            "notes": EntityConfig("/notes", id_source="server"),
            "tasks": EntityConfig("/tasks", id_source="server", references={"note": "notes"}),
        },
    )
    for n in range(4):
        parent = engine.push("notes", {"n": n})
        engine.push("tasks", {"n": n, "note": parent.record_id})
    assert engine.flush(timeout=20).success
    assert [{row["path"] for row in rows} for rows in bulk.batches] == [{"/notes"}, {"/tasks"}]
    parents = {each["id"]: each["n"] for each in bulk.store.records("notes").values()}
    children = bulk.store.records("tasks").values()
    assert len(children) == 4
    assert all(parents[child["note"]] == child["n"] for child in children)


def test_what_is_large_goes_in_requests_of_its_own(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    large = "x" * (1536 * 1024)
    fill(engine, 5, title=large)
    assert engine.flush(timeout=30).success
    assert bulk.sizes == [2, 2]
    assert len(bulk.singles) == 1


# which ones share a request


def test_entities_that_speak_alike_share_a_batch(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    for n in range(3):
        engine.push("notes", {"id": f"n{n}"})
        engine.push("tasks", {"id": f"t{n}"})
    assert engine.flush().success
    assert [[row["path"] for row in rows] for rows in bulk.batches] == [["/notes", "/tasks"] * 3]


def test_entities_of_other_dialects_do_not(client: Callable[..., SyncEngine], bulk: Bulk) -> None:
    other = Dialect(batch=BatchFormat(size=10), headers={"X-Team": "b"})
    entities = {
        "notes": "/notes",
        "tasks": EntityConfig("/tasks", dialect=other),
        "logs": EntityConfig("/logs", dialect=Dialect()),
    }
    engine = client(entities=entities)
    for n in range(2):
        for name in entities:
            engine.push(name, {"id": f"{name}{n}"})
    assert engine.flush().success
    assert [[row["path"] for row in rows] for rows in bulk.batches] == [
        ["/notes"] * 2,
        ["/tasks"] * 2,
    ]
    assert [seen.path for seen in bulk.singles] == ["/logs", "/logs"]


def test_what_is_checked_before_it_is_written_goes_alone(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    fields = {"check_before_write": True, "version": None, "send_version": None}
    engine = client(fields=fields)
    fill(engine, 3)
    engine.flush()
    assert bulk.sizes == [3]
    engine.push("notes", {"id": "r0", "title": "x"}, "update")
    engine.push("notes", {"id": "r1"}, "delete")
    engine.push("notes", {"id": "r8"})
    engine.push("notes", {"id": "r9"})
    assert engine.flush().success
    assert [[row["path"] for row in rows] for rows in bulk.batches[1:]] == [["/notes", "/notes"]]
    assert [seen.path for seen in bulk.reads] == ["/notes/r0", "/notes/r1"]
    assert [(seen.method, seen.path) for seen in bulk.singles] == [
        ("PATCH", "/notes/r0"),
        ("DELETE", "/notes/r1"),
    ]


def test_what_must_be_read_first_goes_alone(client: Callable[..., SyncEngine], bulk: Bulk) -> None:
    for n in range(3):
        bulk.store.change("notes", "create", {"id": f"r{n}", "kept": n})
    engine = client(fields={"patch": "full", "update": "PUT {endpoint}/{id}"})
    for n in range(3):
        engine.push("notes", {"id": f"r{n}", "title": "x"}, "update")
    assert engine.flush().success
    assert len(bulk.reads) == 3
    assert [each["kept"] for each in bulk.store.records("notes").values()] == [0, 1, 2]


def test_an_operation_without_a_template_goes_alone(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    row = {"method": "{method}", "path": "{path}", "headers": "{headers}", "body": "{body}"}
    engine = client(shape=BatchFormat(operation={"create": row, "delete": None}))
    fill(engine, 3)
    engine.flush()
    engine.push("notes", {"id": "r0"}, "delete")
    engine.push("notes", {"id": "r1", "title": "x"}, "update")
    assert engine.flush().success
    assert bulk.sizes == [3]
    assert [seen.method for seen in bulk.singles] == ["DELETE", "PATCH"]


def test_data_that_makes_no_request_is_rejected_alone(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    class Picky(Dialect):
        def encode(self, operation: str, record: Json) -> Json:
            if record["id"] == "r1":
                raise ValueError("no")
            found: Json = super().encode(operation, record)
            return found

    engine = client(dialect=Picky(batch=BatchFormat()))
    fill(engine, 3)
    assert engine.flush().pushed == 2
    assert [item.record_id for item in engine.failed()] == ["r1"]
    assert bulk.sizes == [2]


# what was sent before goes alone, under its old key


@pytest.mark.parametrize(
    "loss",
    [
        TransportError("lost"),
        Answer(500),
        Answer(502),
        Answer(504),
        Answer(408),
        Answer.of(200, "no"),
    ],
    ids=["lost", "500", "502", "504", "408", "no JSON"],
)
def test_after_a_lost_answer_each_goes_alone_under_its_key_and_is_done_once(
    client: Callable[..., SyncEngine],
    bulk: Bulk,
    drain: Callable[..., int],
    loss: TransportError | Answer,
) -> None:
    engine = client()
    items = fill(engine, 4)
    bulk.after = once(loss)
    engine.flush()
    assert drain(engine) == 0
    assert bulk.sizes == [4]
    assert sorted(keys_alone(bulk)) == sorted(keys_of(bulk.batches[0]))
    assert [each.id for each in items] == keys_of(bulk.batches[0])
    assert sorted(bulk.applied) == [("create", f"r{n}") for n in range(4)]


def test_a_lost_batch_freezes_and_spends_no_retry(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client(retry_delay=50.0, max_retry_delay=50.0)
    fill(engine, 3)
    bulk.after = once(TransportError("lost"))
    engine.flush()
    assert [item.retry_count for item in engine.queue()] == [0, 0, 0]
    assert [engine.cancel(item) for item in list(engine.queue())] == [False] * 3


def test_what_a_dead_deliverer_was_sending_goes_alone_under_its_key(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    storage = MemoryStorage()
    engine = client(storage=storage)
    items = fill(engine, 4)

    def die_while_sending(tx: Transaction) -> None:
        for item in list(tx.scan(ITEMS))[:3]:
            tx.replace(ITEMS, item, item._replace(lane=Lane.SENDING))

    storage.write(die_while_sending)
    assert engine.flush().success
    assert bulk.sizes == []
    assert keys_alone(bulk) == [each.id for each in items]


def test_without_a_network_nothing_is_spent_and_nothing_frozen(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    fill(engine, 4)
    bulk.whole = once(OfflineError("no route"))
    result = engine.flush()
    assert (result.offline, result.remaining) == (True, 4)
    assert [item.retry_count for item in engine.queue()] == [0] * 4
    assert engine.cancel(next(engine.queue()))
    assert engine.flush().success
    assert bulk.sizes[-1] >= 2
    assert len(bulk.applied) == 3


# an operation never sinks its batch


def poisonous(row: Json) -> bool:
    return (row.get("body") or {}).get("id") == "r3"


@pytest.mark.parametrize("status", [400, 403, 422])
def test_a_share_that_is_rejected_fails_alone(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int
) -> None:
    engine = client()
    fill(engine, 8)
    answer = {"status": status, "body": {"error": "not this one"}}
    bulk.share = refuse("r3", answer=answer)
    result = engine.flush()
    assert (result.pushed, result.errors) == (7, 1)
    (failed,) = engine.failed()
    assert (failed.record_id, bulk.sizes, bulk.singles) == ("r3", [8], [])
    assert "not this one" in present(failed.last_error)


@pytest.mark.parametrize("status", [400, 409, 412, 413, 422])
def test_a_batch_that_is_refused_as_a_whole_is_split(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int
) -> None:
    engine = client()
    items = fill(engine, 8)
    bulk.whole = lambda rows: Answer(status) if any(map(poisonous, rows)) else None
    bulk.single = lambda seen: (
        Answer.of(400, {"error": "poison"}) if seen.body["id"] == "r3" else None
    )
    result = engine.flush()
    assert (result.pushed, result.errors) == (7, 1)
    assert [item.record_id for item in engine.failed()] == ["r3"]
    assert bulk.sizes == [8, 4, 2, 2, 4]
    keys = {each.record_id: each.id for each in items}
    assert keys_alone(bulk) == [keys["r2"], keys["r3"]]
    assert bulk.applied == [("create", f"r{n}") for n in (0, 1, 2, 4, 5, 6, 7)]


def test_a_batch_that_the_server_cannot_bear_is_retried_one_by_one(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int]
) -> None:
    """A 500 says nothing of what was done; so each goes alone, and the poison waits alone."""
    engine = client(retry_delay=1e-3, max_retry_delay=1e-3)
    fill(engine, 6)
    bulk.after = lambda rows: Answer(500) if any(map(poisonous, rows)) else None
    bulk.single = lambda seen: Answer(500) if seen.body["id"] == "r3" else None
    assert drain(engine, enough=lambda: engine.queue_length == 1) == 1
    assert [item.record_id for item in engine.queue()] == ["r3"]
    assert bulk.sizes == [6]
    assert sorted(bulk.applied) == [("create", f"r{n}") for n in range(6)]


def test_too_large_a_batch_is_split_until_it_is_taken(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    fill(engine, 8)
    bulk.whole = lambda rows: Answer(413) if len(rows) > 2 else None
    assert engine.flush().success
    assert bulk.sizes == [8, 4, 2, 2, 4, 2, 2]
    assert bulk.applied == [("create", f"r{n}") for n in range(8)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_batch_that_is_redirected_is_not_lost(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int
) -> None:
    engine = client()
    fill(engine, 4)
    bulk.whole = lambda rows: Answer(status, {"Location": "http://server.invalid/api/batch/"})
    bulk.single = lambda seen: Answer(404) if seen.path == "/batch/" else None
    engine.flush()
    delivered = {each.id for each in bulk.store.journal}
    left = {item.record_id for item in (*engine.queue(), *engine.failed())}
    assert delivered | left == {f"r{n}" for n in range(4)}
    assert delivered == set(bulk.store.records("notes"))


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_where_there_are_no_batches_items_go_one_by_one_from_then_on(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int
) -> None:
    engine = client()
    fill(engine, 4)
    bulk.whole = lambda rows: Answer(status)
    assert engine.flush().success
    assert (bulk.sizes, len(bulk.singles)) == ([4], 4)
    engine.push_many("notes", [{"id": f"s{n}"} for n in range(4)])
    assert engine.flush().success
    assert (bulk.sizes, len(bulk.singles)) == ([4], 8)


# shares of each kind


def test_a_share_of_401_is_renewed_once(
    client: Callable[..., SyncEngine], bulk: Bulk, tokens: type[Tokens]
) -> None:
    auth = tokens("old", "new")
    engine = client(auth=auth)
    fill(engine, 4)
    seen = []

    def share(row: Json, given: Json) -> Json:
        seen.append(bulk.tokens[-1])
        return {"status": 401} if row["body"]["id"] in ("r1", "r2") else given

    bulk.share = share
    bulk.single = lambda alone: (
        Answer(401) if alone.headers["authorization"] == "Bearer old" else None
    )
    assert engine.flush().success
    assert bulk.sizes == [4]
    assert [each.headers["authorization"] for each in bulk.singles] == [
        "Bearer old",
        "Bearer new",
        "Bearer new",
    ]
    assert auth.given == {"old": 1, "new": 1}


def test_a_batch_of_401_is_renewed_once_and_sent_as_it_was(
    client: Callable[..., SyncEngine], bulk: Bulk, tokens: type[Tokens]
) -> None:
    engine = client(auth=tokens("old", "new"))
    fill(engine, 4)
    bulk.whole = lambda rows: Answer(401) if bulk.tokens[-1] == "Bearer old" else None
    assert engine.flush().success
    assert bulk.tokens == ["Bearer old", "Bearer new"]
    assert keys_of(bulk.batches[0]) == keys_of(bulk.batches[1])


def test_refused_again_all_wait_and_none_is_frozen(
    client: Callable[..., SyncEngine], bulk: Bulk, tokens: type[Tokens]
) -> None:
    engine = client(auth=tokens("old", "older"))
    fill(engine, 4)
    bulk.whole = lambda rows: Answer(401)
    assert engine.flush().remaining == 4
    assert engine.status.status == "error"
    assert [item.retry_count for item in engine.queue()] == [0] * 4
    assert engine.cancel(next(engine.queue()))


@pytest.mark.parametrize("status", [409, 412])
@pytest.mark.parametrize("brought", [True, False], ids=["with current", "without"])
def test_a_conflict_in_a_share_brings_the_current_record(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int, brought: bool
) -> None:
    engine = client()
    fill(engine, 3)
    engine.flush()
    theirs = bulk.store.change("notes", "update", {"id": "r1", "title": "theirs"})
    for n in range(3):
        engine.push("notes", {"id": f"r{n}", "title": "mine"}, "update")

    def share(row: Json, given: Json) -> Json:
        if given["status"] == 412:
            given = {**given, "status": status, "body": given["body"] if brought else None}
        return given

    bulk.share = share
    result = engine.flush()
    assert (result.pushed, result.conflicts, result.remaining) == (2, 1, 0)
    assert engine.get("notes", "r1") == theirs
    assert [seen.path for seen in bulk.reads] == ["/notes/r1"] * (not brought)


def test_a_conflict_is_sent_again_on_the_version_of_its_answer(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client(conflict="client-wins")
    fill(engine, 3)
    engine.flush()
    bulk.store.change("notes", "update", {"id": "r1", "title": "theirs"})
    first = [engine.push("notes", {"id": f"r{n}", "title": "mine"}, "update") for n in range(3)]
    result = engine.flush()
    assert (result.conflicts, result.remaining) == (1, 0)
    assert bulk.store.records("notes")["r1"]["title"] == "mine"
    (again,) = bulk.singles
    assert again.headers["idempotency-key"] not in {each.id for each in first}
    assert again.headers["if-match"].strip('"') == "2"


def test_a_conflict_that_is_our_own_earlier_work_is_none(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    bulk.store.change("notes", "create", {"id": "r1", "title": "t"})
    engine = client()
    fill(engine, 3)
    result = engine.flush()
    assert (result.pushed, result.conflicts) == (3, 0)


def test_404_to_a_delete_is_done_and_to_an_update_is_a_conflict(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    fill(engine, 3)
    engine.flush()
    bulk.store.change("notes", "delete", {"id": "r0"})
    bulk.store.change("notes", "delete", {"id": "r1"})
    engine.push("notes", {"id": "r0"}, "delete")
    engine.push("notes", {"id": "r1", "title": "x"}, "update")
    engine.push("notes", {"id": "r2", "title": "x"}, "update")
    result = engine.flush()
    assert (result.pushed, result.conflicts, result.errors) == (2, 1, 0)
    assert {each["id"] for each in engine.records("notes")} == {"r2"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_share_waits_without_a_retry_spent(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int], status: int
) -> None:
    engine = client(retry_delay=1e-3, max_retry_delay=1e-3)
    items = fill(engine, 4)
    busy = {"status": status, "headers": {"Retry-After": "0"}}
    hits: list[Any] = []

    def share(row: Json, given: Json) -> Json:
        if row["body"]["id"] == "r1" and not hits:
            hits.append(row)
            return busy
        return given

    bulk.share = share
    result = engine.flush()
    assert result.pushed >= 3
    for item in engine.queue():
        assert (item.record_id, item.retry_count) == ("r1", 0)
    assert drain(engine) == 0
    again = keys_alone(bulk) or keys_of(bulk.batches[1])
    assert again == [items[1].id]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_batch_pauses_for_as_long_as_it_says(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int
) -> None:
    engine = client()
    fill(engine, 4)
    bulk.whole = lambda rows: Answer(status, {"Retry-After": "60"})
    assert engine.flush().remaining == 4
    assert engine.flush().remaining == 4
    assert (bulk.sizes, bulk.singles) == ([4], [])
    assert [item.retry_count for item in engine.queue()] == [0] * 4
    assert [engine.cancel(item) for item in list(engine.queue())] == [status == 429] * 4


@pytest.mark.parametrize("hook", ["whole", "share"])
@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_backoff_header_slows_the_engine_wherever_it_stands(
    client: Callable[..., SyncEngine], bulk: Bulk, status: int, hook: str
) -> None:
    engine = client()
    fill(engine, 4)
    if hook == "share":
        bulk.share = refuse("r1", answer={"status": status, "headers": {"Backoff": "60"}})
    elif status == 200:
        bulk.headers = {"Backoff": "60"}
    else:
        bulk.whole = lambda rows: Answer(status, {"Backoff": "60"})
    engine.flush()
    asked = len(bulk.batches) + len(bulk.singles)
    engine.push("notes", {"id": "later"})
    assert engine.flush().remaining >= 1
    assert len(bulk.batches) + len(bulk.singles) == asked
    assert engine.status.next_retry is not None


@pytest.mark.parametrize("status", [500, 502, 504, 408])
def test_a_server_error_in_a_share_is_its_own(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int], status: int
) -> None:
    engine = client(retry_delay=1e-3, max_retry_delay=1e-3)
    items = fill(engine, 4)
    bulk.share = refuse("r1", answer={"status": status})
    result = engine.flush()
    assert result.pushed >= 3
    assert drain(engine) == 0
    assert bulk.sizes == [4]
    assert keys_alone(bulk) == [items[1].id]
    assert bulk.applied == [("create", f"r{n}") for n in range(4)]


SHARES_LOST = {
    # what is done to the list of answers, the records whose outcome is not known
    "one too few": (lambda rows, answers: answers[:-1], {"r0", "r1", "r2", "r3"}),
    "none is there": (lambda rows, answers: [], {"r0", "r1", "r2", "r3"}),
    "one is null": (lambda rows, answers: [answers[0], None, *answers[2:]], {"r1"}),
    "one has no status": (lambda rows, answers: [answers[0], {}, *answers[2:]], {"r1"}),
    "one has no such status": (
        lambda rows, answers: [answers[0], {"status": 7}, *answers[2:]],
        {"r1"},
    ),
    "one has a word": (lambda rows, answers: [{"status": "fine"}, *answers[1:]], {"r0"}),
    "one too many": (
        lambda rows, answers: [*answers, answers[0]],
        {"r0", "r1", "r2", "r3"},
    ),
    "no list": (lambda rows, answers: {"0": answers[0]}, {"r0", "r1", "r2", "r3"}),
}


@pytest.mark.parametrize(("arrange", "unknown"), SHARES_LOST.values(), ids=SHARES_LOST)
def test_an_operation_without_an_answer_is_unknown(
    client: Callable[..., SyncEngine],
    bulk: Bulk,
    drain: Callable[..., int],
    arrange: Callable[..., list[Json | None] | Json],
    unknown: set[str],
) -> None:
    engine = client(retry_delay=0.05, max_retry_delay=0.05)
    items = {item.record_id: item.id for item in fill(engine, 4)}
    bulk.arrange = arrange
    engine.flush()
    for item in engine.queue():
        assert item.record_id in unknown
        assert item.retry_count == 0
    assert drain(engine) == 0
    assert bulk.sizes == [4]
    assert sorted(keys_alone(bulk)) == sorted(items[name] for name in unknown)
    assert sorted(bulk.applied) == [("create", f"r{n}") for n in range(4)], "each once"


@pytest.mark.parametrize("left_out", ["r0", "r1", "r3"])
def test_no_operation_is_given_the_answer_of_another(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int], left_out: str
) -> None:
    """The server neither did it nor says a word of it; the others' answers close the gap."""
    engine = client(retry_delay=0.01, max_retry_delay=0.01)
    fill(engine, 4)
    do_one = bulk.one
    bulk.one = lambda row: None if row["body"]["id"] == left_out else do_one(row)  # type: ignore[method-assign]  # replaced by the test
    bulk.arrange = lambda rows, answers: [each for each in answers if each is not None]
    engine.flush()
    assert drain(engine) == 0
    assert set(bulk.store.records("notes")) == {"r0", "r1", "r2", "r3"}
    assert len(bulk.applied) == 4


def test_where_some_are_numbered_all_are_found(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int]
) -> None:
    """A number in the template of one operation says nothing of another's."""
    row = {"method": "{method}", "path": "{path}", "headers": "{headers}", "body": "{body}"}
    shape = BatchFormat(operation={"create": {"n": "{number}", **row}, "update": row}, match="n")
    engine = client(shape=shape, retry_delay=0.01, max_retry_delay=0.01)
    fill(engine, 3)
    bulk.arrange = lambda rows, answers: [
        {**answer, "n": row.get("n", row["path"].rsplit("/", 1)[-1])}
        for row, answer in zip(rows, answers, strict=True)
    ]
    assert engine.flush().success
    for n in range(3):
        engine.push("notes", {"id": f"r{n}", "title": "x"}, "update")
        engine.push("notes", {"id": f"s{n}"})
    assert engine.flush().success
    assert drain(engine) == 0
    assert bulk.sizes == [3, 6]


def test_a_status_may_be_text(client: Callable[..., SyncEngine], bulk: Bulk) -> None:
    engine = client()
    fill(engine, 2)
    bulk.share = lambda row, given: {**given, "status": f"{given['status']} Created"}
    assert engine.flush().success


# formats

ORDERS = {
    # the format, how the server lists its answers
    "by order": (BatchFormat(), lambda rows, answers: answers),
    "by number": (
        BatchFormat(
            operation={
                "id": "{number}",
                "method": "{method}",
                "path": "{path}",
                "headers": "{headers}",
                "body": "{body}",
            },
            match="id",
        ),
        lambda rows, answers: [
            {**answer, "id": row["id"]} for row, answer in zip(rows, answers, strict=True)
        ][::-1],
    ),
    "by number, as a number": (
        BatchFormat(
            operation={
                "n": "{number}",
                "method": "{method}",
                "path": "{path}",
                "headers": "{headers}",
                "body": "{body}",
            },
            match="request.n",
        ),
        lambda rows, answers: [
            {**answer, "request": {"n": int(row["n"])}}
            for row, answer in zip(rows, answers, strict=True)
        ][::-1],
    ),
    "by id": (
        BatchFormat(match="body.id"),
        lambda rows, answers: answers[2:] + answers[:2],
    ),
}


@pytest.mark.parametrize(("shape", "arrange"), ORDERS.values(), ids=ORDERS)
def test_answers_are_matched(
    client: Callable[..., SyncEngine],
    bulk: Bulk,
    shape: BatchFormat,
    arrange: Callable[..., list[Json | None] | Json],
) -> None:
    engine = client(shape=shape)
    fill(engine, 5)
    bulk.store.change("notes", "create", {"id": "r2", "title": "theirs"})
    bulk.share = lambda row, given: (
        {**given, "body": given["body"]["current"]} if given["status"] == 409 else given
    )
    bulk.arrange = arrange
    result = engine.flush()
    assert (result.pushed, result.conflicts, result.errors) == (4, 1, 0)
    assert {each["id"]: each["title"] for each in engine.records("notes")} == {
        **dict.fromkeys(("r0", "r1", "r3", "r4"), "t"),
        "r2": "theirs",
    }


def test_records_of_one_id_are_distinguished_if_answers_are_matched_by_it(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int]
) -> None:
    """``1`` of one entity is not ``1`` of the other, though an answer says only ``1``."""
    engine = client(shape=BatchFormat(match="body.id"), retry_delay=0.01, max_retry_delay=0.01)
    bulk.store.change("notes", "create", {"id": "1", "title": "theirs"})
    bulk.share = lambda row, given: (
        {**given, "body": given["body"]["current"]} if given["status"] == 409 else given
    )
    engine.push("notes", {"id": "1", "title": "a note"})
    engine.push("tasks", {"id": "1", "title": "a task"})
    assert drain(engine) == 0
    assert present(engine.get("notes", "1"))["title"] == "theirs"
    assert present(engine.get("tasks", "1"))["title"] == "a task"
    assert bulk.store.records("tasks")["1"]["title"] == "a task"


def test_a_create_that_the_server_names_is_not_matched_by_an_id(
    held: Callable[..., SyncEngine], drain: Callable[..., int]
) -> None:
    """Its answer carries an id that nobody here knows yet: alone it is done once."""
    bulk = Bulk(id_source="server", idempotency=False)
    engine = held(
        base_url=URL,
        transport=bulk,
        dialect=Dialect(batch=BatchFormat(match="body.id"), idempotency=None),
        entities={"notes": EntityConfig("/notes", id_source="server")},
    )
    for n in range(3):
        engine.push("notes", {"n": n})
    assert drain(engine) == 0
    assert sorted(each["n"] for each in bulk.store.records("notes").values()) == [0, 1, 2]


def test_a_template_fills_in_what_the_single_request_would_say(
    make: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    shape = BatchFormat(
        endpoint="POST /batch",
        operations="all.requests",
        operation={
            "method": "{method}",
            "path": "{path}",
            "where": ["{absolute_path}", "{id}"],
            "key": "{key}",
            "n": "{number}",
            "version": "{version}",
            "body": "{body}",
            "fixed": {"a": [1, None, True]},
        },
        extra={"v": 2, "all": {"atomic": False}},
    )
    sent = []

    class Template:
        def send(self, request: Request) -> Response:
            sent.append((request.method, request.url, json.loads(present(request.body))))
            rows = sent[-1][2]["all"]["requests"]
            body = {"responses": [{"status": 200, "body": row.get("body")} for row in rows]}
            return Response(200, {}, json.dumps(body).encode(), request.url)

    engine = make(
        base_url=URL, transport=Template(), auto_flush=False, dialect=Dialect(batch=shape)
    )
    first = engine.push("notes", {"id": "a b", "version": 7})
    second = present(engine.push("notes", {"id": "2"}, "delete"))
    assert engine.flush().success
    ((method, url, body),) = sent
    assert (method, url) == ("POST", f"{URL}/batch")
    fixed = {"a": [1, None, True]}
    assert body == {
        "v": 2,
        "all": {
            "atomic": False,
            "requests": [
                {
                    "method": "POST",
                    "path": "/notes",
                    "where": ["/api/notes", "a b"],
                    "key": first.id,
                    "n": "0",
                    "body": {"id": "a b", "version": 7},
                    "fixed": fixed,
                },
                {
                    "method": "DELETE",
                    "path": "/notes/2",
                    "where": ["/api/notes/2", "2"],
                    "key": second.id,
                    "n": "1",
                    "fixed": fixed,
                },
            ],
        },
    }
    assert engine.flush().success
    assert shape.extra == {"v": 2, "all": {"atomic": False}}, "the format is as it was"
    engine.push("notes", {"id": "3"})
    engine.push("notes", {"id": "4"})
    engine.flush()
    assert len(sent[1][2]["all"]["requests"]) == 2


KEYED = {"method": "{method}", "path": "{path}", "body": "{body}", "key": "{key}"}
CONDITIONS = {
    # fields, the template, the writes that go in a batch
    "a header without a place": ({}, KEYED, {"POST"}),
    "a header with the place of all": ({}, {**KEYED, "headers": "{headers}"}, ALL),
    "a version with a place of its own": ({}, {**KEYED, "if": "{version}"}, ALL),
    "in the query": ({"send_version": "query:rev"}, KEYED, ALL),
    "in the body": ({"send_version": "body:base"}, KEYED, ALL),
    "none": ({"version": None, "send_version": None}, KEYED, ALL),
    "that of a PUT create": (
        {"create": "PUT {endpoint}/{id}"},
        {**KEYED, "if": "{version}"},
        {"PATCH", "DELETE"},
    ),
}


@pytest.mark.parametrize(("fields", "template", "batched"), CONDITIONS.values(), ids=CONDITIONS)
def test_a_condition_that_has_no_place_in_a_batch_is_not_dropped(
    client: Callable[..., SyncEngine], bulk: Bulk, fields: Json, template: Json, batched: set[str]
) -> None:
    """What would lose its condition in the list goes alone."""
    engine = client(shape=BatchFormat(operation=template), fields=fields)
    fill(engine, 6)
    assert engine.flush().success
    for n in range(3):
        engine.push("notes", {"id": f"r{n}", "title": "mine"}, "update")
        engine.push("notes", {"id": f"r{n + 3}"}, "delete")
    engine.flush()
    methods = {row["method"].replace("PUT", "POST") for rows in bulk.batches for row in rows}
    assert methods == batched
    alone = {seen.method.replace("PUT", "POST") for seen in bulk.singles}
    assert alone == ALL - batched


@pytest.mark.parametrize("template", [KEYED, {**KEYED, "headers": "{headers}"}])
def test_a_conflict_is_found_with_and_without_conditions_in_batches(
    client: Callable[..., SyncEngine], bulk: Bulk, template: Json
) -> None:
    engine = client(shape=BatchFormat(operation=template))
    fill(engine, 3)
    engine.flush()
    bulk.store.change("notes", "update", {"id": "r1", "title": "theirs"})
    for n in range(3):
        engine.push("notes", {"id": f"r{n}", "title": "mine"}, "update")
    assert engine.flush().conflicts == 1
    assert bulk.store.records("notes")["r1"]["title"] == "theirs"


def test_another_content_type_than_the_lists_goes_alone(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    """A list of JSON has no place to say it that servers would heed."""
    engine = client(fields={"content_type": {"update": "application/merge-patch+json"}})
    fill(engine, 3)
    engine.flush()
    for n in range(3):
        engine.push("notes", {"id": f"r{n}", "title": "x"}, "update")
    assert engine.flush().success
    assert bulk.sizes == [3]
    assert [seen.headers["content-type"] for seen in bulk.singles] == [
        "application/merge-patch+json"
    ] * 3


def test_two_answers_of_one_name_are_none(
    client: Callable[..., SyncEngine], bulk: Bulk, drain: Callable[..., int]
) -> None:
    engine = client(shape=BatchFormat(match="body.id"), retry_delay=0.01, max_retry_delay=0.01)
    items = {item.record_id: item.id for item in fill(engine, 3)}
    bulk.arrange = lambda rows, answers: [answers[0], answers[1], answers[1]]
    assert engine.flush().pushed >= 1
    assert drain(engine) == 0
    assert sorted(keys_alone(bulk)) == sorted([items["r1"], items["r2"]])
    assert sorted(bulk.applied) == [("create", f"r{n}") for n in range(3)]


# CouchDB's


class Couch:
    """As much of CouchDB as its batches need: a transport. Revisions are numbers."""

    def __init__(self) -> None:
        self.docs: dict[Any, Any] = {}
        self.bulks: list[Any] = []
        self.singles: list[Any] = []
        self.words: dict[Any, Any] = {}

    def send(self, request: Request) -> Response:
        path = urlsplit(request.url).path
        if path == "/api/notes/_bulk_docs":
            docs = json.loads(present(request.body))["docs"]
            self.bulks.append(docs)
            return self.answer(201, [self.store(doc) for doc in docs], request)
        self.singles.append((request.method, request.url.removeprefix(URL), request.body))
        name = path.rsplit("/", 1)[-1]
        if request.method == "GET":
            doc = self.docs.get(name)
            return self.answer(200 if doc else 404, doc or {"error": "not_found"}, request)
        doc = {"_id": name, **json.loads(request.body or b"{}")}
        stored = self.store(doc)
        return self.answer({"conflict": 409}.get(stored.get("error", ""), 201), stored, request)

    def store(self, doc: Json) -> Json:
        name = doc["_id"]
        word = self.words.pop(name, None)
        held = self.docs.get(name)
        if word is None and held is not None and held["_rev"] != doc.get("_rev"):
            word = "conflict"
        if word is not None:
            return {"id": name, "error": word, "reason": f"{name}: {word}"}
        rev = f"{int(str(doc.get('_rev', '0')).split('-')[0]) + 1}-x"
        if doc.get("_deleted"):
            self.docs.pop(name, None)
        else:
            self.docs[name] = {**doc, "_rev": rev}
        return {"ok": True, "id": name, "rev": rev}

    def answer(self, status: int, body: list[Json] | Json, request: Request) -> Response:
        return Response(status, {}, json.dumps(body).encode(), request.url)


@pytest.fixture
def couch() -> Couch:
    return Couch()


@pytest.fixture
def couch_client(held: Callable[..., SyncEngine], couch: Couch) -> Callable[..., SyncEngine]:
    def build(**settings: Any) -> SyncEngine:
        return held(
            base_url=URL,
            transport=couch,
            dialect=Dialect.couchdb(),
            entities={"notes": EntityConfig("/notes", id_field="_id")},
            **settings,
        )

    return build


def test_couchdbs_documents_in_bulk(couch_client: Callable[..., SyncEngine], couch: Couch) -> None:
    engine = couch_client()
    engine.push_many("notes", [{"_id": f"r{n}", "title": "t"} for n in range(3)])
    assert engine.flush().success
    engine.push("notes", {"_id": "r0", "title": "new"}, "update")
    engine.push("notes", {"_id": "r1"}, "delete")
    assert engine.flush().success
    assert couch.bulks == [
        [{"_id": f"r{n}", "title": "t"} for n in range(3)],
        [
            {"_id": "r0", "title": "new", "_rev": "1-x"},
            {"_id": "r1", "_rev": "1-x", "_deleted": True},
        ],
    ]
    assert couch.docs["r0"] == {"_id": "r0", "title": "new", "_rev": "2-x"}
    assert set(couch.docs) == {"r0", "r2"}
    assert couch.singles == []


WORDS = {
    # CouchDB's word for one document, what becomes of its item
    "forbidden": "failed",
    "unauthorized": "delivered",
    "bad_request": "failed",
    "doc_validation": "failed",
    "too_large": "failed",
    "internal_server_error": "delivered",
    "another_word": "delivered",
}


@pytest.mark.parametrize(("word", "outcome"), WORDS.items(), ids=WORDS)
def test_couchdbs_words(
    couch_client: Callable[..., SyncEngine],
    couch: Couch,
    drain: Callable[..., int],
    word: str,
    outcome: str,
) -> None:
    """What may pass is tried again, alone, where the word does not come a second time."""
    engine = couch_client(retry_delay=0.01, max_retry_delay=0.01)
    items = engine.push_many("notes", [{"_id": f"r{n}"} for n in range(3)])
    couch.words["r1"] = word
    engine.flush()
    drain(engine, enough=lambda: engine.status.failed)
    assert [engine.wait(each, timeout=0) for each in items] == ["delivered", outcome, "delivered"]
    if outcome == "failed":
        (failed,) = engine.failed()
        assert f"r1: {word}" in present(failed.last_error)
    else:
        assert set(couch.docs) == {"r0", "r1", "r2"}


def test_couchdbs_conflict_is_read_and_resolved(
    couch_client: Callable[..., SyncEngine], couch: Couch
) -> None:
    engine = couch_client()
    engine.push_many("notes", [{"_id": f"r{n}", "title": "t"} for n in range(3)])
    engine.flush()
    couch.docs["r1"] = {"_id": "r1", "title": "theirs", "_rev": "5-y"}
    for n in range(3):
        engine.push("notes", {"_id": f"r{n}", "title": "mine"}, "update")
    result = engine.flush()
    assert (result.pushed, result.conflicts, result.remaining) == (2, 1, 0)
    assert present(engine.get("notes", "r1"))["title"] == "theirs"
    assert couch.singles == [("GET", "/notes/r1", None)]


# in the middle of it all


@pytest.mark.parametrize("workers", [1, 4])
def test_a_pause_in_the_middle_leaves_the_rest_as_it_was(
    client: Callable[..., SyncEngine], bulk: Bulk, workers: int
) -> None:
    engine = client(size=5, workers=workers)
    fill(engine, 60)
    bulk.after = lambda rows: engine.pause()
    engine.flush(timeout=20)
    sent = {row["body"]["id"] for rows in bulk.batches for row in rows}
    assert 5 <= len(sent) < 60
    left = list(engine.queue())
    assert {item.record_id for item in left} == {f"r{n}" for n in range(60)} - sent
    assert {item.state for item in left} == {"pending"}
    assert all(engine.cancel(item) for item in left), "none of them is frozen"
    assert set(bulk.store.records("notes")) == sent


@pytest.mark.parametrize("workers", [1, 4])
def test_a_close_in_the_middle_leaves_the_rest_as_it_was(
    client: Callable[..., SyncEngine], bulk: Bulk, tmp_path: Path, workers: int
) -> None:
    engine = client(size=5, workers=workers, storage=tmp_path / "app.db")
    fill(engine, 60)
    closing: list[Any] = []
    pause = threading.Event()

    def closed() -> bool:
        try:
            return engine.queue_length < 0
        except EngineClosedError:
            return True

    def close(rows: list[Json]) -> None:
        if not closing:
            closing.append(threading.Thread(target=engine.close, args=(10.0,)))
            closing[0].start()
        while not closed():
            pause.wait(0.002)

    bulk.after = close
    with contextlib.suppress(EngineClosedError):
        engine.flush(timeout=10)
    closing[0].join(10)
    sent = {row["body"]["id"] for rows in bulk.batches for row in rows}
    assert 5 <= len(sent) < 60
    later = client(storage=tmp_path / "app.db")
    left = list(later.queue())
    assert {item.record_id for item in left} == {f"r{n}" for n in range(60)} - sent
    assert all(later.cancel(item) for item in left), "none of them is frozen"


def test_an_edit_while_its_batch_is_on_its_way_follows_it(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client()
    fill(engine, 3)

    def edit(rows: list[Json]) -> None:
        bulk.after = lambda rows: None
        engine.push("notes", {"id": "r1", "title": "later"}, "update")

    bulk.after = edit
    engine.flush()
    assert engine.flush().success
    assert present(engine.get("notes", "r1"))["title"] == "later"
    assert bulk.store.records("notes")["r1"]["title"] == "later"
    assert ("update", "r1") in bulk.applied


def test_a_batch_is_all_over_before_a_flush_says_so(
    client: Callable[..., SyncEngine], bulk: Bulk
) -> None:
    engine = client(size=4, workers=4)
    fill(engine, 40)
    result = engine.flush(timeout=20)
    assert (result.success, result.pushed, result.remaining) == (True, 40, 0)
    assert engine.queue_length == 0
    assert len(bulk.store.records("notes")) == 40


def test_batches_over_a_socket(
    held: Callable[..., SyncEngine], raw: Callable[..., RawServer]
) -> None:
    """The same over HTTP: one connection, one request."""
    shares = [{"status": 201, "body": {"id": f"r{n}", "title": "stored"}} for n in range(3)]
    server = raw(answer(200, {"responses": shares}))
    engine = held(base_url=server.url, dialect=Dialect(batch=BatchFormat()))
    fill(engine, 3)
    assert engine.flush().success
    (seen,) = server.requests
    assert (seen.method, seen.path, len(seen.body["requests"])) == ("POST", "/batch", 3)
    assert seen.headers["content-type"] == "application/json"
    assert {each["title"] for each in engine.records("notes")} == {"stored"}
