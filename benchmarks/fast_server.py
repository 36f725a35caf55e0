"""A server that costs as little as one in Python can: what is measured is the client.

It answers a write 201 with the record that came, a batch with an answer for each operation, and a
pull with prepared pages. ``--latency-ms`` is spent on every write, ``--bears N`` answers 429 to
what comes while N requests are under way, ``--records N`` is how many a pull brings, ``--page N``
how many are in a page, and ``--text N`` how long the text of each is. ``GET /told``
says what was answered since it was last asked, ``GET /latest`` the last number that each address
was sent with ``PUT`` or ``PATCH``, and how often a lower one came after a higher one.
"""

from __future__ import annotations

import asyncio
import json
import re
from argparse import ArgumentParser, Namespace
from collections import Counter

__all__ = ["main"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SINCE = re.compile(rb"[?&]since=(\d+)")
_NUMBER = re.compile(rb'"number": *(\d+)')
_WRITES = (b"POST", b"PUT", b"PATCH")


class Api:
    """What is answered, and how often."""

    def __init__(self, settings: Namespace) -> None:
        self.latency_s = settings.latency_ms / 1000
        self.bears = settings.bears
        self.under_way = 0
        self.told: Counter[str] = Counter()
        self.latest: dict[str, int] = {}
        self.late = 0
        self.page_size: int = settings.page
        self.text = "x" * settings.text
        starts = range(0, settings.records, settings.page)
        self.pages: list[bytes] = [self._page(start, settings.records) for start in starts]

    def _page(self, start: int, records: int) -> bytes:
        end = min(start + self.page_size, records)
        items = [
            {"id": f"{number:08x}", "number": number, "text": self.text, "version": 1}
            for number in range(start, end)
        ]
        return json.dumps({"items": items, "cursor": str(end), "has_more": end < records}).encode()

    def page(self, target: bytes) -> bytes:
        """The page that is asked for."""
        since = _SINCE.search(target)
        upto = int(since[1]) if since else 0
        number = -(-upto // self.page_size)
        if number < len(self.pages):
            return self.pages[number]
        return json.dumps({"items": [], "cursor": str(upto), "has_more": False}).encode()

    def answer(self, method: bytes, target: bytes, body: bytes) -> tuple[bytes, bytes]:
        """The status line's end, and the body."""
        if target == b"/told":
            told, self.told = json.dumps(self.told).encode(), Counter()
            return b"200 OK", told
        if target == b"/latest":
            latest, late = self.latest, self.late
            self.latest, self.late = {}, 0
            return b"200 OK", json.dumps({"latest": latest, "late": late}).encode()
        if method == b"HEAD":
            return b"200 OK", b""
        if method == b"GET":
            return b"200 OK", self.page(target)
        if target == b"/batch":
            answers = [
                {"status": 201, "body": each["body"]} for each in json.loads(body)["requests"]
            ]
            return b"200 OK", json.dumps({"responses": answers}).encode()
        return b"201 Created", body

    def note(self, method: bytes, target: bytes, body: bytes) -> None:
        """A write has come."""
        number = _NUMBER.search(body) if method != b"POST" else None
        if number is not None:
            before = self.latest.get(target.decode(), -1)
            self.latest[target.decode()] = int(number[1])
            self.late += int(number[1]) < before


class Line(asyncio.Protocol):
    """One connection."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers every request that is all there."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < whole:
                return
            request, self._buffer = self._buffer[:whole], self._buffer[whole:]
            method, target, _ = request.split(b" ", 2)
            self._heard(method, target, request[end + 4 :])

    def _heard(self, method: bytes, target: bytes, body: bytes) -> None:
        api = self._api
        if method not in _WRITES:
            self._send(*api.answer(method, target, body))
        elif api.bears and api.under_way >= api.bears:
            api.told["429"] += 1
            self._send(b"429 Too Many Requests", b"{}")
        else:
            api.told["201"] += 1
            api.note(method, target, body)
            api.under_way += 1
            if api.latency_s:
                loop = asyncio.get_running_loop()
                loop.call_later(api.latency_s, self._done, method, target, body)
            else:
                self._done(method, target, body)

    def _done(self, method: bytes, target: bytes, body: bytes) -> None:
        self._api.under_way -= 1
        self._send(*self._api.answer(method, target, body))

    def _send(self, status: bytes, body: bytes) -> None:
        assert isinstance(self._transport, asyncio.WriteTransport)
        head = b'HTTP/1.1 %b\r\nContent-Type: application/json\r\nETag: "1"\r\n' % status
        self._transport.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve(settings: Namespace) -> None:
    """Until the process ends."""
    api = Api(settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Line(api), "127.0.0.1", settings.port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    """Reads the command line."""
    parser = ArgumentParser(prog="fast_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--bears", type=int, default=0)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--page", type=int, default=1000)
    parser.add_argument("--text", type=int, default=160)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
