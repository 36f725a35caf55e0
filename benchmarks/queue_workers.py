"""The processes of ``django_queue``, which calls ``main`` with the arguments KIND and SETTINGS.

SETTINGS is JSON: ``database`` for Django's settings, ``url`` of the server, ``concurrency``, and
the settings of the queue. Each prints ``ready`` and delivers until it is killed.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

__all__ = ["main", "new_app", "set_up_django"]

METHOD = "PATCH"
"""What an update is sent as."""
_POLL_S = 0.05


def set_up_django(database: dict[str, Any], queue: dict[str, Any]) -> None:
    """Django with one database and one queue."""
    import django  # noqa: PLC0415 - of the extra "bench"
    from django.conf import settings  # noqa: PLC0415

    settings.configure(
        SECRET_KEY="benchmarks",  # noqa: S106 - signs nothing
        INSTALLED_APPS=["bytelyst_sync.contrib.django"],
        DATABASES={"default": database},
        BYTELYST_SYNC={"default": queue},
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()


def package(given: dict[str, Any]) -> None:
    """What ``manage.py sync_worker`` runs."""
    set_up_django(given["database"], given["queue"])
    from bytelyst_sync.contrib.django.engines import new_engine, read_settings  # noqa: PLC0415

    with new_engine(read_settings("default", deliver=True)):
        _ready()
        threading.Event().wait()


def new_app(database: dict[str, Any], url: str = "") -> Any:
    """The peer's app and its one task, ``send``."""
    import procrastinate  # noqa: PLC0415 - a peer, which may be missing

    connector = procrastinate.PsycopgConnector(
        kwargs={
            "host": database["HOST"],
            "port": database["PORT"],
            "user": database["USER"],
            "dbname": database["NAME"],
        }
    )
    app = procrastinate.App(connector=connector)
    connections = _Connections(url)

    async def send(path: str, body: str) -> None:
        await connections.send(path, body)

    app.task(name="send", queue="bench")(send)
    return app


class _Connections:
    """The cheapest HTTP client there is: it reads no more of an answer than its length."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, path: str, body: str) -> None:
        """Sends one write, and reads the answer."""
        if not self._free:
            host, port = self._address.hostname, self._address.port
            self._free.append(await asyncio.open_connection(host, port))
        reader, writer = self._free.pop()
        data = body.encode()
        head = (
            f"{METHOD} {path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        writer.write(head.encode() + data)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 201"), answer
        length = answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        await reader.readexactly(int(length))
        self._free.append((reader, writer))


def procrastinate(given: dict[str, Any]) -> None:
    """The peer's worker, which deletes the jobs that succeeded."""
    app = new_app(given["database"], given["url"])

    async def work() -> None:
        async with app.open_async():
            _ready()
            await app.run_worker_async(
                queues=["bench"],
                concurrency=given["concurrency"],
                delete_jobs="successful",
                install_signal_handlers=False,
            )

    asyncio.run(work())


def skip_locked(given: dict[str, Any]) -> None:
    """A queue as one writes it by hand: a row is locked, sent, and deleted."""
    import psycopg  # noqa: PLC0415 - of the extra "bench"

    database = given["database"]
    address = urlsplit(given["url"])
    http_client = http.client.HTTPConnection(str(address.hostname), address.port)
    with psycopg.connect(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        dbname=database["NAME"],
    ) as connection:
        _ready()
        while True:
            row = connection.execute(
                "SELECT id, path, body FROM plain_queue ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
            ).fetchone()
            if row is not None:
                http_client.request(METHOD, row[1], row[2], {"Content-Type": "application/json"})
                answer = http_client.getresponse()
                answer.read()
                assert answer.status == http.client.CREATED
                connection.execute("DELETE FROM plain_queue WHERE id = %s", [row[0]])
            connection.commit()
            if row is None:
                time.sleep(_POLL_S)


def _ready() -> None:
    print("ready", flush=True)


KINDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "package": package,
    "procrastinate": procrastinate,
    "skip_locked": skip_locked,
}


def main() -> None:
    """Runs one process."""
    kind, given = sys.argv[1:]
    KINDS[kind](json.loads(given))
