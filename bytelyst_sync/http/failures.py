"""Translates the exceptions of a send: nothing was sent, the outcome is unknown, or a wrong call.

Every exception becomes one of the package's:

=====================  =========================================================================
``OfflineError``       proof that no connection was made: refused, no route, no such name, a
                       connect timeout, a proxy or a TLS handshake that failed, certificates that
                       cannot be read
``ConfigError``        a URL, a scheme or a proxy's URL that cannot be used at all
``TransportError``     everything else, because the request may have been processed
=====================  =========================================================================

The type of the outermost exception is not enough: urllib3 raises ``ProxyError`` also if a proxy
closes the connection after the request, ``SSLError`` for a handshake and for an answer, and
``ReadTimeoutError`` for a slow handshake. So the chain of causes is searched for one with a certain
meaning, or one that was raised inside of urllib3's ``connect()``: before its end, no byte of a
request is sent.

Messages contain only text that is known to be harmless. The messages of causes may quote URLs,
payloads and tokens. For an unknown exception, its class and its place are named.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from typing import NoReturn

import requests
import urllib3.connection
from requests import exceptions as requests_errors
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as urllib3_errors
from urllib3.util.ssl_match_hostname import CertificateError

from bytelyst_sync.errors import AuthError, ConfigError, OfflineError, SyncError, TransportError
from bytelyst_sync.http.urls import redacted, server_name

__all__ = ["failure", "is_final", "is_interrupt", "kind_and_place", "raise_auth_failure"]

_PROXY_URL = (
    requests_errors.InvalidProxyURL,
    urllib3_errors.ProxySchemeUnknown,
    urllib3_errors.ProxySchemeUnsupported,
)
_MISUSE = (
    requests_errors.InvalidURL,
    requests_errors.InvalidSchema,
    requests_errors.MissingSchema,
    requests_errors.URLRequired,
    urllib3_errors.LocationValueError,
    urllib3_errors.ProxySchemeUnsupported,
)
_NOT_CONNECTED = (
    requests.ConnectTimeout,
    urllib3_errors.NewConnectionError,
    urllib3_errors.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
    CertificateError,
)
_BEFORE_SENDING = frozenset(
    {
        urllib3.connection.HTTPConnection.connect.__code__,
        urllib3.connection.HTTPSConnection.connect.__code__,
        HTTPAdapter.cert_verify.__code__,
    }
)
_NO_NETWORK = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    requests.ConnectionError,
    requests.Timeout,
    urllib3_errors.TimeoutError,
    urllib3_errors.NewConnectionError,
    urllib3_errors.MaxRetryError,
    urllib3_errors.ProtocolError,
)
_CUT_OFF = (
    http.client.IncompleteRead,
    urllib3_errors.ResponseNotChunked,
    requests_errors.ChunkedEncodingError,
)
_REASONS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (CertificateError, "the certificate is for another host"),
    (socket.gaierror, "the name cannot be resolved"),
    (http.client.RemoteDisconnected, "connection closed without an answer"),
    (_CUT_OFF, "the answer was cut off"),
    ((http.client.HTTPException, urllib3_errors.InvalidHeader), "the answer is not HTTP"),
    (
        (urllib3_errors.DecodeError, requests_errors.ContentDecodingError),
        "the answer's Content-Encoding cannot be decoded",
    ),
    (urllib3_errors.ClosedPoolError, "the session was closed meanwhile"),
    (urllib3_errors.EmptyPoolError, "the session's pool has no connection free"),
    (urllib3_errors.NewConnectionError, "it cannot be reached"),
    ((TimeoutError, urllib3_errors.TimeoutError, requests.Timeout), "timed out"),
)
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")


def failure(error: BaseException, url: str, *, sent_once: bool = True) -> SyncError:
    """The package's error for an exception of a send; the caller raises it ``from`` the cause.

    ``sent_once`` is false for adapters that repeat requests themselves: if their last try made no
    connection, an earlier one may have been processed.
    """
    if isinstance(error, _MISUSE):
        shown = redacted(url)
        return ConfigError(f"cannot send to {shown!r}: {_misuse(error)}", field="url", value=shown)
    causes = list(_causes(error))
    reasons = filter(None, map(_reason, reversed(causes)))
    reason = next(reasons, None) or kind_and_place(error)
    if sent_once and any(map(_before_sending, causes)):
        way = next(filter(None, map(_proxy_of, causes)), "")
        return OfflineError(f"no connection to {server_name(url)}{way}: {reason}")
    return TransportError(f"no complete answer from {server_name(url)}: {reason}")


def raise_auth_failure(error: BaseException) -> NoReturn:
    """Raises the package's error for an exception of the user's ``auth``: nothing was sent."""
    if isinstance(error, (AuthError, ConfigError)) or is_interrupt(error):
        raise error
    if isinstance(error, (OfflineError, *_NO_NETWORK)):
        raise OfflineError(f"auth found no network ({kind_and_place(error)})") from error
    raise AuthError(f"auth raised {kind_and_place(error)}; nothing was sent") from error


def is_final(error: BaseException) -> bool:
    """Whether an exception is raised to the caller unchanged: one of the package's, or an
    interrupt.
    """
    return isinstance(error, SyncError) or is_interrupt(error)


def is_interrupt(error: BaseException) -> bool:
    """Whether the user interrupts the program: ``KeyboardInterrupt`` in the main thread."""
    main = threading.current_thread() is threading.main_thread()
    return main and isinstance(error, KeyboardInterrupt)


def kind_and_place(error: BaseException) -> str:
    """The class and the place of an unknown exception; its own text may quote a secret."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    if not frames:
        return type(error).__name__
    frame, line = frames[-1]
    return f"{type(error).__name__} in {frame.f_globals.get('__name__')}, line {line}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it wraps, from the outermost to the innermost."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        wrapped = [getattr(cause, name, None) for name in ("reason", "original_error")]
        waiting += [*cause.args, *wrapped, cause.__cause__]
        if isinstance(cause, urllib3_errors.TimeoutError):
            waiting.append(cause.__context__)  # some exceptions do not set a cause


def _before_sending(cause: BaseException) -> bool:
    frames = traceback.walk_tb(cause.__traceback__)
    return isinstance(cause, _NOT_CONNECTED) or any(
        frame.f_code in _BEFORE_SENDING for frame, _ in frames
    )


def _proxy_of(cause: BaseException) -> str | None:
    """The proxy to which no connection was made, in words."""
    connection = next(iter(cause.args), None)
    for attempted in (getattr(cause, "conn", None), connection):
        proxy = getattr(attempted, "proxy", None)
        if isinstance(proxy, urllib3.util.Url):
            return f" through the proxy {proxy.host}:{proxy.port}"
    return None


def _misuse(error: BaseException) -> str:
    if isinstance(error, _PROXY_URL):
        return "the URL of the proxy is unusable"
    if isinstance(error, requests_errors.InvalidSchema):
        if "SOCKS" in str(error):
            return "a SOCKS proxy needs the package PySocks"
        return "no adapter of the session serves its scheme"
    return "its URL is not valid"


def _reason(cause: BaseException) -> str | None:
    """The reason of an exception, in a text that quotes nothing."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        detail = getattr(cause, "verify_message", "it is not trusted")
        return f"certificate verification failed ({detail})"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({getattr(cause, 'reason', None) or 'connection closed'})"
    for kinds, words in _REASONS:
        if isinstance(cause, kinds):
            return words
    if not isinstance(cause, OSError):
        return None
    text = cause.args[0] if cause.args else None
    if isinstance(text, str) and (tunnel := _TUNNEL_STATUS.match(text)):
        return f"the proxy refused the tunnel with status {tunnel[1]}"
    return os.strerror(cause.errno) if isinstance(cause.errno, int) else None
