"""Checks of the connection to the server: its name, port, certificate and clock."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import certifi

from bytelyst_sync.clock import SystemClock
from bytelyst_sync.errors import SyncError
from bytelyst_sync.http.redirects import is_portal
from bytelyst_sync.http.transport import Request
from bytelyst_sync.inspection.doctor_context import Check, DoctorContext, Finding, fail, ok, warn
from bytelyst_sync.inspection.text import duration
from bytelyst_sync.rules.backoff import parse_date

__all__ = ["CHECKS"]

T = TypeVar("T")
_CLOCK = SystemClock()
_DNS_S = 5.0
_CONNECT_S = 5.0
_SOON_S = 14 * 86_400.0
_OFF_S, _FAR_OFF_S = 10.0, 300.0


def name_and_port(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the name of the host (or proxy) can be resolved, and its port connected to."""
    place = context.proxy or context.server
    if place is None:
        return
    _, host, port = place
    what = f"the proxy {host}" if context.proxy else host
    try:
        infos = _bounded(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield fail(
            "dns",
            f"{what} cannot be resolved ({reason})",
            "check base_url for a slip, and this machine's network and DNS",
        )
        return
    addresses = sorted({str(each[4][0]) for each in infos})
    if addresses != [host]:
        yield ok("dns", f"{what} is {', '.join(addresses[:4])}")
    began = _CLOCK.monotonic()
    try:
        socket.create_connection((host, port), _CONNECT_S).close()
    except OSError as error:
        reason = "timed out" if isinstance(error, TimeoutError) else error.strerror or str(error)
        yield fail(
            "tcp",
            f"no connection to {what} port {port} ({reason})",
            "is the server running, and base_url's port right? a firewall may be between",
        )
        return
    context.reachable = True
    yield ok("tcp", f"{what} port {port} answers in {(_CLOCK.monotonic() - began) * 1000:.0f} ms")


def _bounded(call: Callable[[], T]) -> T:
    """Runs a call that cannot be interrupted on a separate thread, and bounds the wait."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except (OSError, UnicodeError) as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="cli-dns", daemon=True)
    thread.start()
    thread.join(_DNS_S)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"no answer within {_DNS_S:g} s")
    return results[0]


def certificate(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the certificate is trusted, for this host, and does not end soon. Behind a proxy,
    ``server`` checks it.
    """
    if (
        not context.reachable
        or context.server is None
        or context.server[0] != "https"
        or context.proxy
    ):
        return
    _, host, port = context.server
    try:
        tls = _trust()
        with (
            socket.create_connection((host, port), _CONNECT_S) as raw,
            tls.wrap_socket(raw, server_hostname=host) as wrapped,
        ):
            peer, version = wrapped.getpeercert() or {}, wrapped.version()
    except ssl.SSLCertVerificationError as error:
        context.reachable = False
        yield fail("tls", f"the certificate of {host}: {error.verify_message}", _remedy(error))
        return
    except OSError as error:
        context.reachable = False
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        yield fail("tls", f"no TLS with {host} port {port} ({reason})", "is it an http:// server?")
        return
    remaining_s = ssl.cert_time_to_seconds(str(peer["notAfter"])) - time.time()
    if remaining_s < _SOON_S:
        yield warn("tls", f"the certificate of {host} ends in {duration(remaining_s)}", "renew it")
    else:
        yield ok("tls", f"{version}, certificate good for {duration(remaining_s)}")


def _trust() -> ssl.SSLContext:
    """The certificates that requests trusts."""
    path = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    path = path or certifi.where()
    if os.path.isdir(path):  # noqa: PTH112 - a path of the environment, handed on as it is
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


_EXPIRED, _NOT_YET, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64


def _remedy(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (_EXPIRED, _NOT_YET):
        return "renew it; if it is not that, this machine's clock is wrong"
    if error.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return "use the host name that the certificate is for in base_url"
    return "if it is your own authority's: export REQUESTS_CA_BUNDLE=/path/to/its/ca.pem"


def server(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the server answers by HTTP, and not the login page of a network."""
    if not context.reachable or context.config is None:
        return
    url = context.config.base_url
    limits = (_CONNECT_S, min(10.0, context.config.timeout[1]))
    try:
        context.answer = context.transport.send(
            Request("HEAD", url, timeout=limits, authorize=False)
        )
    except SyncError as error:
        context.reachable = False
        yield fail("http", str(error), "is base_url right, with its scheme and port?")
        return
    if is_portal(context.answer, url):
        context.reachable = False
        yield fail(
            "http",
            "something answers in the server's place, such as the login page of a network",
            "log in to the network, or use https",
        )


def clock(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the server's clock agrees with this machine's."""
    if context.answer is None:
        return
    theirs = parse_date(context.answer.headers.get("date"))
    if theirs is None:
        return
    off = theirs - time.time()
    text = f"this machine's clock is {duration(abs(off))} {'behind' if off > 0 else 'ahead of'}"
    text += " the server's"
    remedy = "set the clock (timedatectl set-ntp true); tokens and certificates depend on it"
    if abs(off) >= _FAR_OFF_S:
        yield fail("clock", text, remedy)
    elif abs(off) >= _OFF_S:
        yield warn("clock", text, remedy)
    else:
        yield ok("clock", "it agrees with the server's")


CHECKS: tuple[Check, ...] = (name_and_port, certificate, server, clock)
