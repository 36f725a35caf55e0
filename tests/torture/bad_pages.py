"""Pulls from servers whose pages are bad: rows that nobody can read, ties, duplicates, circles,
pages without end, cursors from the far future, restores from a backup.

The server is a real one on loopback, and its rows are the model: once it behaves, the local view is
what it has.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from bytelyst_sync import Dialect, EntityConfig, SyncResult, create_sync_engine
from bytelyst_sync.replica.cursors import load
from bytelyst_sync.testing.raw import Answer, Connection, Listener, RecordedRequest
from tests.torture.harness import Stopwatch, Trial, check, scenario

PAGE = 10
PULL_S = 10.0
"""What a pull is given; those that the server would keep busy for ever end by themselves before."""
SLACK_S = 5.0
MOST_REQUESTS = 3000
"""Of one pull."""
BAD_ROWS = (
    '{"id":null}',
    '{"x":1}',
    '{"id":"bad","n":1e999}',
    '{"id":"long","n":' + "7" * 5000 + "}",
    '{"id":"deep","n":' + "[" * 250 + "]" * 250 + "}",
    '{"id":["a"]}',
    '{"id":"../x"}',
    '{"id":""}',
    "7",
    "null",
    "[]",
)
HTML = {"Content-Type": "text/html"}
FAR_FUTURE = "9999-12-31T23:59:59Z"
DIALECTS = {
    "cursors": Dialect(),
    "times": Dialect(cursor="max:updated_at", next_page="full:limit"),
    "times by page": Dialect(cursor="max:updated_at", next_page="page:page"),
}


class Server:
    """Rows with a sequence number and a time, in pages, and a way to spoil the next pages.

    The lock guards all of it; each connection has a thread.
    """

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind, self._rng = kind, rng
        self._lock = threading.Lock()
        self.rows: dict[str, dict[str, object]] = {}
        self._seq, self._second = 0, int(time.time()) - 50_000
        self._backup: tuple[dict[str, dict[str, object]], int] = {}, 0
        self.lie: str | None = None
        self.requests = self.lies = 0
        self._listener = Listener("127.0.0.1", 0, self._serve)
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def close(self) -> None:
        """Stops listening."""
        self._listener.close()

    # --- what others do

    def put(self, key: str, value: object, *, tie: bool) -> dict[str, object]:
        """A record, new or changed, at the same instant as the one before or later."""
        with self._lock:
            return self._put(key, {"id": key, "value": value}, tie=tie)

    def _put(self, key: str, record: dict[str, object], *, tie: bool) -> dict[str, object]:
        self._seq += 1
        self._second += not tie
        stamp = datetime.fromtimestamp(self._second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.rows.pop(key, None)
        self.rows[key] = {**record, "version": self._seq, "updated_at": stamp}
        return self.rows[key]

    def delete(self, key: str) -> None:
        """Leaves a tombstone."""
        with self._lock:
            if key in self.rows:
                self._put(key, {"id": key, "deleted": True}, tie=False)

    def spoil(self) -> None:
        """A row that cannot be read, or that claims to be of the far future."""
        with self._lock:
            if self.kind != "cursors" and self._rng.random() < 0.3:
                self._put("future", {"id": "future", "value": 0}, tie=False)
                self.rows["future"]["updated_at"] = FAR_FUTURE
            else:
                bad = self._rng.choice(BAD_ROWS)
                self._put(f"bad {bad[:20]}", {"raw": bad}, tie=self._rng.random() < 0.5)

    def save(self) -> None:
        """A backup."""
        with self._lock:
            self._backup = dict(self.rows), self._seq

    def shows_restore(self, cursor: str | None) -> bool:
        """Whether a client with this cursor can see a restore of the backup: the server's cursor
        falls below its own, or it lists everything anyway. One whose last pull was before the
        backup sees nothing but records that others might have written, whatever it pushed since.
        """
        with self._lock:
            return cursor is None or (cursor.isdigit() and int(cursor) > self._backup[1])

    def restore(self) -> None:
        """All is as it was at the backup."""
        with self._lock:
            rows, self._seq = self._backup
            self.rows = dict(rows)

    def behave(self) -> None:
        """No lies from now on, and no bad rows."""
        with self._lock:
            self.lie = None
            for key in [key for key, row in self.rows.items() if "raw" in row]:
                del self.rows[key]
            if "future" in self.rows:
                self._put("future", {"id": "future", "value": 1}, tie=False)

    def alive(self) -> dict[str, dict[str, object]]:
        """What a client should see."""
        with self._lock:
            return {
                key: dict(row)
                for key, row in self.rows.items()
                if "raw" not in row and "deleted" not in row
            }

    # --- requests

    def _serve(self, line: Connection) -> None:
        while (seen := line.read()) is not None:
            with self._lock:
                self.requests += 1
                answer = self._answer(seen)
            line.send(answer.encode(head_only=seen.method == "HEAD"))

    def _answer(self, seen: RecordedRequest) -> Answer:
        parts = urlsplit(seen.head.split(b" ", 2)[1].decode("latin-1"))
        key = unquote(parts.path.removeprefix("/notes").strip("/"))
        if seen.method == "GET" and not key:
            query = {name: each[0] for name, each in parse_qs(parts.query).items()}
            return self._listing(query)
        if seen.method in ("POST", "PATCH"):
            body = json.loads(seen.content)
            key = key or str(body["id"])
            old = self.rows.get(key, {})
            kept = {} if "deleted" in old else old
            return _json(200, json.dumps(self._put(key, {**kept, **body, "id": key}, tie=False)))
        if seen.method == "DELETE":
            self._put(key, {"id": key, "deleted": True}, tie=False)
            return Answer.of(204)
        row = self.rows.get(key)
        if row is None or "raw" in row or "deleted" in row:
            return _json(404, '{"error": "not found"}')
        return _json(200, json.dumps(row))

    def _listing(self, query: dict[str, str]) -> Answer:
        rows, since = list(self.rows.values()), query.get("since")
        size = int(query.get("limit", PAGE))
        if self.kind == "cursors":
            if since is not None and not since.isdigit():
                return _json(410, '{"error": "no cursor of this server"}')
            number = int(since or 0)
            rows = sorted((row for row in rows if _version(row) > number), key=_version)
        else:
            rows = [row for row in rows if str(row["updated_at"]) >= (since or "")]
            rows.sort(key=lambda row: (row["updated_at"], str(row.get("id"))))
        start = (int(query.get("page", 1)) - 1) * size
        if start < 0:
            return _json(400, '{"error": "pages begin at 1"}')
        found = rows[start : start + size]
        last = len(rows) <= start + size
        cursor = str(self._seq if last else found[-1]["version"])
        return self._page(found, cursor, has_more=not last, since=since)

    def _page(
        self, found: list[dict[str, object]], cursor: str, *, has_more: bool, since: str | None
    ) -> Answer:
        items = [str(row.get("raw") or json.dumps(row)) for row in found]
        # a cursor that jumps ahead and back within one pull could be any order of the server's own
        lie = self.lie if self.lie in WITH_CURSORS or self._rng.random() < 0.7 else None
        self.lies += lie is not None
        if lie in INSTEAD:
            return INSTEAD[lie](items)
        page: dict[str, Any] = {"items": items, "cursor": cursor, "has_more": has_more}
        if lie == "duplicates" and items:
            page["items"] = [*items, *self._rng.choices(items, k=5)]
        elif lie in WITH_CURSORS and (since is not None or lie in AT_ONCE):
            page.update(WITH_CURSORS[lie](self._rng, items, since or "0"))
        items = page.pop("items")
        fields = page if self.kind == "cursors" else {}
        rest = "".join(f',"{name}":{json.dumps(value)}' for name, value in fields.items())
        return _json(200, '{"items":[' + ",".join(map(str, items)) + "]" + rest + "}")


INSTEAD: dict[str, Callable[[list[str]], Answer]] = {
    "500": lambda _: _json(500, "{}"),
    "page of a gateway": lambda _: Answer.of(502, "<html>Bad Gateway</html>", HTML),
    "expired": lambda _: _json(410, '{"error": "expired"}'),
    "cut": lambda items: _json(200, '{"items": [' + ",".join(items)[:-1]),
}
"""Answers in place of a page."""
OTHER_CURSORS = ("abc", "2026-01-01", "{}")
WITH_CURSORS: dict[str, Callable[[random.Random, list[str], str], dict[str, object]]] = {
    "circle": lambda _rng, items, since: {"items": items, "cursor": since, "has_more": True},
    "endless": lambda _rng, _items, since: {"items": [], "cursor": since, "has_more": True},
    "endless, other cursors": lambda rng, _items, _since: {
        "items": [],
        "cursor": str(rng.getrandbits(40)),
        "has_more": True,
    },
    "another kind of cursor": lambda rng, _items, _since: {"cursor": rng.choice(OTHER_CURSORS)},
    "far cursor": lambda _rng, _items, since: {"cursor": f"{10**9}{since}"},
    "a flag of another type": lambda rng, _items, _since: {"has_more": rng.choice(("yes", 7, {}))},
}
"""What is wrong with a page that has a cursor of the server's own."""
AT_ONCE = ("circle", "endless", "endless, other cursors", "a flag of another type")
"""Those that tell a lie of a first page too; another kind of cursor needs one before it."""


def _version(row: dict[str, object]) -> int:
    return int(str(row["version"]))


def _json(status: int, text: str) -> Answer:
    date = formatdate(time.time(), usegmt=True)
    headers = {"Content-Type": "application/json", "Date": date}
    return Answer.of(status, text.encode(), headers)


class History:
    """One server, one client, and what happens to them."""

    def __init__(self, trial: Trial, number: int, kind: str) -> None:
        self.rng = trial.random
        self.kind = kind
        self.server = Server(kind, trial.random)
        self.engine = create_sync_engine(
            base_url=self.server.url,
            entities={"notes": EntityConfig("/notes", page_size=PAGE)},
            storage=trial.folder / f"{number}.db",
            dialect=DIALECTS[kind],
            durability="normal",
            auto_flush=False,
            probe=None,
            max_vanish=1.0,
            retry_delay=0.01,
            max_retry_delay=0.02,
            exit_timeout=0.0,
        )
        self.lies: set[str] = set()
        self.pulls = self.restores = 0
        self.slowest_s = 0.0

    def run(self, steps: int) -> None:
        """So many steps, and then the server behaves."""
        with closing(self.server), self.engine:
            for _ in range(self.rng.randrange(60)):
                self._change()
            for _ in range(steps):
                self._step()
            self._see_it_agrees()

    def _change(self) -> None:
        key = str(self.rng.randrange(50))
        chance = self.rng.random()
        if chance < 0.1:
            self.server.delete(key)
        elif chance < 0.2:
            self.server.spoil()
        else:
            # ties that are longer than a page, at times
            for n in range(PAGE + 5 if chance > 0.97 else 1):
                tie = chance > 0.6 or n > 0
                self.server.put(f"{key}-{n}" if n else key, self.rng.randrange(9), tie=tie)

    def _step(self) -> None:
        for _ in range(self.rng.randrange(6)):
            self._change()
        chance = self.rng.random()
        if chance < 0.1:
            self.server.save()
        elif chance < 0.2 and self.kind == "cursors" and self.server.shows_restore(self._cursor()):
            self.server.restore()  # by times, nobody has a way to tell
            self.restores += 1
            self._pull()
        elif chance < 0.4:
            self.engine.save("notes", {"id": f"mine {self.rng.randrange(5)}", "value": chance})
            self.engine.flush(timeout=PULL_S)
        else:
            kinds = [*INSTEAD, "duplicates"]
            kinds += WITH_CURSORS if self.kind == "cursors" else ()
            self.server.lie = self.rng.choice((None, *kinds))
            if self.server.lie is not None:
                self.lies.add(self.server.lie)
            self._pull()
            self.server.lie = None

    def _cursor(self) -> str | None:
        """Where the next pull begins."""
        core = self.engine._core
        return core.storage.read(lambda tx: load(tx, core.entities["notes"])).cursor

    def _pull(self) -> SyncResult:
        before, watch = self.server.requests, Stopwatch()
        result = self.engine.pull(timeout=PULL_S)
        self.pulls += 1
        self.slowest_s = max(self.slowest_s, watch.seconds)
        asked = self.server.requests - before
        reported = (
            f"a pull ends by itself ({self.server.lie}): {watch.seconds:.1f} s, {asked} requests"
        )
        check(watch.fair_s < PULL_S - SLACK_S, reported)
        check(asked < MOST_REQUESTS, reported)
        return result

    def _see_it_agrees(self) -> None:
        self.server.behave()
        pause = threading.Event()
        result: SyncResult | None = None
        for _ in range(6):
            self.engine.flush(timeout=PULL_S)
            result = self._pull()
            if result.success and not result.pulled and not self.engine.queue_length:
                break
            pause.wait(0.03)
        left = [*self.engine.queue(), *self.engine.failed(), *self.engine.conflicts()]
        check(
            not left, f"{self.kind}: nothing is left: {left[:2]}, {self.engine.status.last_error}"
        )
        succeeds = result is not None and result.success
        check(succeeds, f"{self.kind}: a pull from a server that behaves succeeds: {result}")
        view = {str(record["id"]): record for record in self.engine.records("notes")}
        there = self.server.alive()
        lacks = sorted(there.keys() - view.keys())[:3]
        more = sorted(view.keys() - there.keys())[:3]
        differ = [key for key in view.keys() & there.keys() if view[key] != there[key]][:3]
        shown = [(view[key], there[key]) for key in differ]
        check(
            view == there,
            f"{self.kind}: the view is what the server has: it lacks {lacks}, has {more} beyond,"
            f" and differs in {shown}; lies {sorted(self.lies)}",
        )


@scenario("network", "bad pages of whatever kind end, stop nothing, and leave no gap in the view")
def bad_pages(trial: Trial) -> dict[str, object]:
    """Many histories, of each dialect."""
    rounds = trial.rounds(3, 25)
    histories = []
    for number in range(rounds * len(DIALECTS)):
        history = History(trial, number, [*DIALECTS][number % len(DIALECTS)])
        history.run(12 if trial.short else 40)
        histories.append(history)
    return {
        "histories": len(histories),
        "pulls": sum(each.pulls for each in histories),
        "requests": sum(each.server.requests for each in histories),
        "pages that lied": sum(each.server.lies for each in histories),
        "kinds": len(set().union(*(each.lies for each in histories))) + len(BAD_ROWS) + 2,
        "restores": sum(each.restores for each in histories),
        "slowest pull s": max(each.slowest_s for each in histories),
        "records compared": sum(len(each.server.alive()) for each in histories),
    }
