"""Histories of a server whose rows tie, move between pages, are bad, or come from a backup, while
a client pulls: when the server comes to rest, the view is what the server has.
"""

import contextlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bytelyst_sync import Dialect, EntityConfig, Request, SyncEngine, create_sync_engine
from bytelyst_sync.http.transport import Response
from bytelyst_sync.model import Json

BAD = ('{"id":null}', '{"x":1}', '{"id":"bad","n":1e999}', "7", '{"id":"../x"}')
DIALECTS = {
    "cursors": Dialect(),
    "times": Dialect(cursor="max:updated_at", next_page="full:limit"),
    "times by page": Dialect(cursor="max:updated_at", next_page="page:page"),
    "offsets": Dialect(cursor=None, since=None, next_page="offset:skip", tombstone=None),
}


class Server:
    """Rows with a sequence number and a time, in pages of two unless asked otherwise."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows: dict[Any, Any] = {}
        self.backup: tuple[dict[Any, Any], int] = {}, 0
        self.seq = 0
        self.time = 100
        self.meanwhile: list[Any] = []
        self.fail_at: int | None = None

    def put(self, key: str, value: int, *, tie: bool) -> None:
        self.seq += 1
        self.time += 0 if tie else 1
        self.rows.pop(key, None)
        self.rows[key] = {"id": key, "value": value, "version": self.seq, **self._stamp()}

    def _stamp(self) -> Json:
        return {"updated_at": f"2026-01-01T00:{self.time // 60:02}:{self.time % 60:02}Z"}

    def delete(self, key: str) -> None:
        if key in self.rows:
            self.seq += 1
            self.time += 1
            del self.rows[key]
            if self.kind != "offsets":
                self.rows[key] = {"id": key, "deleted": True, "version": self.seq, **self._stamp()}

    def spoil(self, which: int, *, tie: bool) -> None:
        """One of the rows is bad from now on, as far as anybody can read it."""
        self.seq += 1
        self.time += 0 if tie else 1
        self.rows[f"bad {which}"] = {"raw": BAD[which], "version": self.seq, **self._stamp()}

    def save(self) -> None:
        self.backup = dict(self.rows), self.seq

    def restore(self) -> None:
        rows, self.seq = self.backup
        self.rows = dict(rows)

    def alive(self) -> Json:
        return {
            key: row for key, row in self.rows.items() if "raw" not in row and "deleted" not in row
        }

    def send(self, request: Request) -> Response:
        parts = urlsplit(request.url)
        if parts.path != "/notes":
            row = self.alive().get(parts.path.rpartition("/")[2])
            return self._answer(json.dumps(row or {}), 200 if row else 404)
        if self.fail_at is not None:
            self.fail_at -= 1
            if self.fail_at < 0:
                self.fail_at = None
                return self._answer("{}", 500)
        page = self._page({name: each[0] for name, each in parse_qs(parts.query).items()})
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return self._answer(page)

    def _answer(self, text: str, status: int = 200) -> Response:
        return Response(status, {}, text.encode(), "")

    def _page(self, query: Json) -> str:
        since, more = query.get("since"), {}
        rows = list(self.rows.values())
        if self.kind == "cursors":
            rows = [row for row in rows if since is None or row["version"] > int(since)]
            rows.sort(key=lambda row: row["version"])
        elif self.kind != "offsets":
            rows = [row for row in rows if row["updated_at"] >= (since or "")]
            rows.sort(key=lambda row: (row["updated_at"], str(row.get("id"))))
        size = int(query.get("limit", 2))
        start = int(query.get("skip", (int(query.get("page", 1)) - 1) * size))
        found = rows[start : start + size]
        if self.kind == "cursors":
            last = len(rows) <= size
            cursor = self.seq if last else found[-1]["version"]
            more = {"cursor": str(cursor), "has_more": not last}
        items = ",".join(row.get("raw") or json.dumps(row) for row in found)
        fields = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items())
        return f'{{"items":[{items}]{fields}}}'


keys = st.sampled_from("abcdef")
change = st.one_of(
    st.tuples(st.just("put"), keys, st.integers(0, 3), st.booleans()),
    st.tuples(st.just("delete"), keys),
    st.tuples(st.just("spoil"), st.integers(0, len(BAD) - 1), st.booleans()),
)
step = st.one_of(
    change,
    change,
    st.tuples(st.just("pull"), st.lists(change, max_size=3), st.none() | st.integers(0, 3)),
    st.tuples(st.just("save")),
    st.tuples(st.just("restore")),
)


def apply(server: Server, what: str, *arguments: Any) -> None:
    if what == "put":
        key, value, tie = arguments
        server.put(key, value, tie=tie)
    elif what == "spoil":
        server.spoil(arguments[0], tie=arguments[1])
    else:
        server.delete(*arguments)


def live_through(
    engine: SyncEngine,
    server: Server,
    history: list[tuple[Any, ...]],
) -> None:
    for what, *arguments in history:
        if what == "pull":
            server.meanwhile = [lambda each=each: apply(server, *each) for each in arguments[0]]
            server.fail_at = arguments[1]
            engine.pull(timeout=10)
            server.meanwhile, server.fail_at = [], None
        elif what == "save":
            server.save()
        elif what == "restore":
            if server.kind == "cursors":  # the others have no way to tell
                server.restore()
                engine.pull(timeout=10)
        else:
            apply(server, what, *arguments)


@pytest.mark.parametrize("kind", DIALECTS)
@settings(max_examples=60, deadline=None)
@example(
    # the server was restored after a listing of everything was cut off
    history=[
        ("put", "a", 0, False),
        ("put", "b", 0, False),
        ("put", "c", 0, False),
        ("pull", [], 1),
        ("restore",),
    ]
)
@given(history=st.lists(step, min_size=3, max_size=25))
def test_the_view_becomes_what_the_server_has(kind: str, history: list[tuple[Any, ...]]) -> None:
    server = Server(kind)
    engine = create_sync_engine(
        base_url="http://server.invalid",
        entities={"notes": EntityConfig("/notes", page_size=2)},
        storage=":memory:",
        transport=server,
        dialect=DIALECTS[kind],
        auto_flush=False,
        probe=None,
        max_vanish=1.0,
    )
    with contextlib.closing(engine):
        live_through(engine, server, history)
        engine.pull(timeout=10)
        engine.pull(timeout=10)
        result = engine.pull(timeout=10)
        assert result.success or any("raw" in row for row in server.rows.values()), result
        assert result.pulled == 0
        view = {record["id"]: record for record in engine.records("notes")}
        assert view == server.alive()
