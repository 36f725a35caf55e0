"""What can become of one request between a client and a server.

Each fault has a name and a ``play``: it is given the ``Exchange``, may forward it before or after
it strikes, and says whether the connection stays open.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import attrs

from bytelyst_sync.testing.http_messages import Headers
from bytelyst_sync.testing.raw import Answer, Connection

if TYPE_CHECKING:
    from tests.torture.proxy import Exchange

__all__ = ["Fault", "of_every_kind"]

HTML = "<html><body>Please log in to this network</body></html>"
GATEWAY = "<html><body><h1>The service is not available</h1></body></html>"


@attrs.frozen
class Fault:
    """One kind. ``offline`` says that a client takes it for "no network" and stops sending."""

    name: str
    play: Callable[[Exchange], bool] = attrs.field(repr=False)
    offline: bool = False


def _reset(line: Connection) -> bool:
    line.reset()
    return False


# --- the connection is lost


def reset_before() -> Fault:
    """The server never sees it."""
    return Fault("reset before", lambda exchange: _reset(exchange.line))


def reset_after() -> Fault:
    """The server has done it."""

    def play(exchange: Exchange) -> bool:
        exchange.forward()
        return _reset(exchange.line)

    return Fault("reset after", play)


def silent_before(seconds: float) -> Fault:
    """No answer, and not done."""

    def play(exchange: Exchange) -> bool:
        exchange.line.wait(seconds)
        return False

    return Fault("stall before", play)


def silent_after(seconds: float) -> Fault:
    """No answer, but done."""

    def play(exchange: Exchange) -> bool:
        exchange.forward()
        exchange.line.wait(seconds)
        return False

    return Fault("stall after", play)


def late(seconds: float) -> Fault:
    """Done only when the client has long given up and tried again."""

    def play(exchange: Exchange) -> bool:
        exchange.line.wait(seconds)
        return exchange.answer(exchange.forward())

    return Fault("late", play)


# --- the answer is damaged


def truncated(share: float) -> Fault:
    """So much of the answer, head and body, and then the end."""

    def play(exchange: Exchange) -> bool:
        whole = exchange.forward().encode(head_only=exchange.is_head)
        exchange.line.send(whole[: int(len(whole) * share)])
        return False

    return Fault("truncated", play)


def garbage(data: bytes, *, after: bool) -> Fault:
    """Bytes that are no HTTP."""

    def play(exchange: Exchange) -> bool:
        if after:
            exchange.forward()
        exchange.line.send(data)
        return False

    return Fault("garbage after" if after else "garbage before", play)


def drip(pieces: int, interval_s: float) -> Fault:
    """The whole answer, in pieces."""

    def play(exchange: Exchange) -> bool:
        whole = exchange.forward().encode(head_only=exchange.is_head)
        step = max(1, len(whole) // pieces)
        for start in range(0, len(whole), step):
            exchange.line.wait(interval_s)
            exchange.line.send(whole[start : start + step])
        return False

    return Fault("slow drip", play)


def huge() -> Fault:
    """Done; and an answer that says it is 10 GB, of which a megabyte comes."""

    def play(exchange: Exchange) -> bool:
        exchange.forward()
        head = Answer(200, {"Content-Type": "application/json"})
        exchange.line.send(head.encode(declared=10 * 10**9))
        exchange.line.send(b" " * 1_000_000)
        return False

    return Fault("huge body", play)


# --- another answer than the server's


def status(
    code: int, *, after: bool = False, headers: Headers | Callable[[], Headers] | None = None
) -> Fault:
    """This status in place of the server's; ``headers`` may be made at the time."""

    def play(exchange: Exchange) -> bool:
        if after:
            exchange.forward()
        more = headers() if callable(headers) else headers or {}
        return exchange.answer(Answer.of(code, {"error": "a scheduled fault"}, more))

    return Fault(f"{code} after" if after else str(code), play)


def busy(code: int, seconds: float, *, dated: bool) -> Fault:
    """429 or 503 with ``Retry-After``, in seconds or as a date."""

    def headers() -> Headers:
        if dated:
            return {"Retry-After": formatdate(time.time() + seconds, usegmt=True)}
        return {"Retry-After": f"{seconds:g}"}

    fault = status(code, headers=headers)
    return attrs.evolve(fault, name=f"{code} Retry-After {'date' if dated else 'seconds'}")


def portal(kind: str) -> Fault:
    """A login page: as 200, as a redirect to another host, or as 511."""

    def play(exchange: Exchange) -> bool:
        if kind == "redirect":
            answer = Answer.of(302, None, {"Location": "http://login.portal.invalid/hello"})
        else:
            answer = Answer.of(200 if kind == "page" else 511, HTML, {"Content-Type": "text/html"})
        return exchange.answer(answer)

    return Fault(f"portal {kind}", play, offline=True)


def gateway(
    code: int,
    *,
    page: bool = True,
    after: bool = False,
    headers: Headers | Callable[[], Headers] | None = None,
) -> Fault:
    """A page of a gateway or a proxy, or an empty answer, with this status in place of the API's.

    With ``after`` the API has processed the request; ``headers`` may be made at the time.
    """

    def play(exchange: Exchange) -> bool:
        if after:
            exchange.forward()
        more = headers() if callable(headers) else headers or {}
        about = {"Content-Type": "text/html"} if page else {}
        return exchange.answer(Answer.of(code, GATEWAY if page else b"", {**about, **more}))

    kind = "page" if page else "empty"
    return Fault(f"{code} {kind}{' after' if after else ''}", play)


def elsewhere(target: str, code: int) -> Fault:
    """A redirect; ``{path}`` stands for where the request went."""

    def play(exchange: Exchange) -> bool:
        path = exchange.seen.head.split(b" ", 2)[1].decode("latin-1")
        return exchange.answer(Answer.of(code, None, {"Location": target.format(path=path)}))

    return Fault(f"redirect {code}", play)


def stray(name: str, answer: Callable[[Answer], Answer]) -> Fault:
    """Any other answer, made of the server's, that was processed."""

    def play(exchange: Exchange) -> bool:
        return exchange.answer(answer(exchange.forward()))

    return Fault(name, play)


def not_json_but_done() -> Fault:
    """Done, and a login page in place of the answer."""
    page = Answer.of(200, HTML, {"Content-Type": "text/html"})
    return attrs.evolve(stray("portal after", lambda _: page), offline=True)


def another_record() -> Fault:
    """Done, and the answer is about another record."""

    def answer(true: Answer) -> Answer:
        if true.status not in (200, 201):
            return true
        return Answer.of(true.status, {"id": "someone-else", "version": 999, "n": -1})

    return stray("another's record", answer)


def of_every_kind(rng: random.Random, stall_s: float, *, lates: bool = True) -> Fault:
    """One fault, drawn among all kinds; ``stall_s`` is longer than the client waits.

    Without ``lates`` nothing comes to the server after its client has tried again.
    """
    ascii_noise = bytes(rng.randrange(32, 127) for _ in range(200)) + b"\r\n\r\n"
    noise = rng.choice([rng.randbytes(300), ascii_noise, b"HTTP/1.1 banana\r\n\r\n", b"\0" * 4096])
    wait_s = rng.choice((0, 0, 0, 0, 0.02, 0.05))
    code = rng.choice((429, 503))
    choices = [
        (16, reset_before),
        (16, reset_after),
        (14, lambda: truncated(rng.choice((0.05, 0.3, 0.6, 0.9, 0.99)))),
        (6, lambda: garbage(noise, after=False)),
        (6, lambda: garbage(noise, after=True)),
        (10, lambda: status(rng.choice((500, 502, 504, 408, 425)))),
        (8, lambda: status(rng.choice((500, 502, 504, 408)), after=True)),
        (8, lambda: busy(code, wait_s, dated=False)),
        (3, lambda: busy(code, -30.0, dated=True)),
        (0.2, lambda: busy(code, 1.0, dated=rng.random() < 0.5)),
        (5, lambda: status(401)),
        (5, lambda: elsewhere("{path}", rng.choice((307, 308)))),
        (3, lambda: drip(rng.choice((3, 10)), 0.004)),
        (2, huge),
        (1, lambda: silent_before(stall_s)),
        (1, lambda: silent_after(stall_s)),
        (1 if lates else 0, lambda: late(stall_s)),
        (1.5, lambda: portal(rng.choice(("page", "redirect", "511")))),
        (1, not_json_but_done),
    ]
    kinds = [make for _, make in choices]
    return rng.choices(kinds, [weight for weight, _ in choices])[0]()


def names_that_fail(failing: Callable[[str], object]) -> Callable[..., Any]:
    """A ``getaddrinfo`` that fails for the names that ``failing(name)``, and else finds those
    that end with ``.torture.test`` here.
    """
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **options: Any) -> Any:
        if not (isinstance(host, str) and host.endswith(".torture.test")):
            return real(host, *rest, **options)
        if failing(host):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1", *rest, **options)

    return look_up
