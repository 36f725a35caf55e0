"""A server of one's own, with an API of its own, and the mapping that a program has for it.

Books are listed in numbered pages with a total, each has a revision, and deletes leave a mark.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from bytelyst_sync import Dialect

DIALECT = Dialect(
    pull="GET {endpoint}",
    items="books",
    page_size="size",
    query={"size": 2},
    since=("changed_after", "{cursor}"),
    cursor="max:changed",
    next_page="page:page",
    total="total",
    version="field:revision",
    current="book",
    tombstone="removed",
    updated_at="changed",
    server_fields=("revision", "changed"),
    idempotency=None,
)

ENTITIES = {"books": "/books"}
Answer = tuple[str, Any]


class Bookshelf:
    """The server: a WSGI application that keeps its books in memory."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, Any]] = {}
        self._changes = 0
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """One request."""
        size = int(environ.get("CONTENT_LENGTH") or 0)
        sent = json.loads(environ["wsgi.input"].read(size)) if size else {}
        book_id = environ["PATH_INFO"].removeprefix("/api/books").strip("/")
        with self._lock:
            status, body = self._answer(environ, book_id, sent)
        content = b"" if body is None else json.dumps(body).encode()
        start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
        return [content]

    def _answer(self, environ: dict[str, Any], book_id: str, sent: dict[str, Any]) -> Answer:
        method = environ["REQUEST_METHOD"]
        if method == "GET" and not book_id:
            return "200 OK", self._page(parse_qs(environ["QUERY_STRING"]))
        book = self.books.get(book_id or str(sent.get("id")))
        if method == "POST":
            if book is not None:
                return "409 Conflict", {"error": "this book is there", "book": book}
            return "201 Created", self._kept(sent)
        if book is None or book.get("removed"):
            return "404 Not Found", {"error": "there is no such book"}
        expected = environ.get("HTTP_IF_MATCH", "").strip('"')
        if expected and expected != str(book["revision"]):
            return "412 Precondition Failed", {"error": "it has changed", "book": book}
        if method == "DELETE":
            self._kept({"id": book["id"], "revision": book["revision"], "removed": True})
            return "204 No Content", None
        return "200 OK", self._kept({**book, **sent}) if method == "PATCH" else book

    def _kept(self, book: dict[str, Any]) -> dict[str, Any]:
        self._changes += 1
        revision = book.get("revision", 0) + 1
        kept = {**book, "revision": revision, "changed": 1_700_000_000 + self._changes}
        self.books[str(book["id"])] = kept
        return kept

    def _page(self, query: dict[str, list[str]]) -> dict[str, Any]:
        after = int(query.get("changed_after", ["0"])[0])
        number, size = int(query.get("page", ["1"])[0]), int(query.get("size", ["50"])[0])
        found = [book for book in self.books.values() if book["changed"] >= after]
        found.sort(key=lambda book: (book["changed"], book["id"]))
        return {"books": found[(number - 1) * size : number * size], "total": len(found)}


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def running(shelf: Bookshelf) -> Iterator[str]:
    """Serve it on loopback inside of the block; the value is its address."""
    server: WSGIServer = make_server("127.0.0.1", 0, shelf, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
