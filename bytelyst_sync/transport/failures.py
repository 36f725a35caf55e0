"""What a failed send means: nothing was sent, the outcome is unknown, or the call was wrong.

Every exception of requests, urllib3, ``http.client`` and the sockets below becomes one of ours:

=====================  =========================================================================
``OfflineError``       proof that no connection was made: refused, no route, no such name, a
                       connect timeout, a proxy or a TLS handshake that failed
``ConfigError``        a URL, a scheme or a proxy's URL that cannot be used at all
``TransportError``     everything else, for the request may have been processed
=====================  =========================================================================

The type of the outermost exception proves little: urllib3 says ``ProxyError`` when a proxy hangs
up after the request, ``SSLError`` for a handshake as for an answer, ``ReadTimeoutError`` for a
slow handshake. So the chain of causes is searched for one whose meaning is certain, or which was
raised below urllib3's ``connect()``, before which no byte of a request is sent.

Messages are made of what is known to be harmless; those of the causes quote URLs and payloads.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import traceback
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
import urllib3.connection
from urllib3 import exceptions as urllib3_errors
from urllib3.util.ssl_match_hostname import CertificateError

from bytelyst_sync.errors import ConfigError, OfflineError, SyncError, TransportError
from bytelyst_sync.transport.redirects import presentable

__all__ = ["UPSTREAM", "failure", "server_name"]

UPSTREAM: tuple[type[Exception], ...] = (
    requests.RequestException,
    urllib3_errors.HTTPError,
    urllib3_errors.ProxySchemeUnsupported,
    http.client.HTTPException,
    CertificateError,
    OSError,
)
"""What a send may raise that is nobody's bug: ``failure`` knows what each of them means."""

_MISUSE = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.URLRequired,
    urllib3_errors.LocationValueError,
    urllib3_errors.ProxySchemeUnsupported,
)
_NOT_CONNECTED = (
    requests.exceptions.ConnectTimeout,
    urllib3_errors.NewConnectionError,
    urllib3_errors.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
    CertificateError,
)
_CONNECT = frozenset(
    {
        urllib3.connection.HTTPConnection.connect.__code__,
        urllib3.connection.HTTPSConnection.connect.__code__,
    }
)
_TUNNEL_STATUS = re.compile(r"Tunnel connection failed: (\d{3})")


def failure(error: BaseException, url: str, *, sent_once: bool = True) -> SyncError:
    """Makes of what a send raised what it means; the caller raises it ``from`` the cause.

    ``sent_once`` is false where an adapter repeats requests by itself: that the last try made no
    connection then says nothing about the tries before.
    """
    if isinstance(error, _MISUSE):
        shown = presentable(url)
        return ConfigError(f"cannot send to {shown!r}: {_misuse(error)}", field="url", value=shown)
    where = server_name(url)
    causes = list(_causes(error))
    reason = _reason(causes)
    if sent_once and any(map(_before_sending, causes)):
        return OfflineError(f"no connection to {where}: {reason}")
    return TransportError(f"no complete answer from {where}: {reason}")


def server_name(url: str) -> str:
    """The host and port of a URL, for messages."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return "an unreadable URL"
    return f"{parts.hostname or 'no host'}:{port}" if port else f"{parts.hostname or 'no host'}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it wraps, from the outside to the inside."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [
            *cause.args,
            getattr(cause, "reason", None),
            getattr(cause, "original_error", None),
            cause.__cause__,
        ]
        if isinstance(cause, urllib3_errors.TimeoutError):
            waiting.append(cause.__context__)  # not every one names its cause


def _before_sending(cause: BaseException) -> bool:
    if isinstance(cause, _NOT_CONNECTED):
        return True
    frames = traceback.walk_tb(cause.__traceback__)
    return any(frame.f_code in _CONNECT for frame, _ in frames)


def _misuse(error: BaseException) -> str:
    if isinstance(
        error,
        (
            requests.exceptions.InvalidProxyURL,
            urllib3_errors.ProxySchemeUnknown,
            urllib3_errors.ProxySchemeUnsupported,
        ),
    ):
        return "the URL of the proxy is unusable"
    if isinstance(error, requests.exceptions.InvalidSchema):
        if "SOCKS" in str(error):
            return "a SOCKS proxy needs the package PySocks"
        return "no adapter of the session serves its scheme"
    return "its URL is not valid"


def _reason(causes: list[BaseException]) -> str:
    """The innermost cause that can be told in words."""
    for cause in reversed(causes):
        words = _words(cause)
        if words:
            return words
    return type(causes[0]).__name__


def _words(cause: BaseException) -> str | None:
    if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException):
        return _words_of_system(cause)
    for kinds, words in _WORDS:
        if isinstance(cause, kinds):
            return words
    return None


def _words_of_system(cause: OSError) -> str | None:
    if isinstance(cause, ssl.SSLCertVerificationError):
        detail = getattr(cause, "verify_message", "it is not trusted")
        return f"certificate verification failed ({detail})"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed ({getattr(cause, 'reason', None) or 'connection closed'})"
    if isinstance(cause, socket.gaierror):
        return f"the name cannot be resolved ({cause.strerror})"
    if isinstance(cause, http.client.RemoteDisconnected):
        return "connection closed without an answer"
    if isinstance(cause, TimeoutError):
        return "timed out"
    text = cause.args[0] if cause.args else None
    if isinstance(text, str) and (tunnel := _TUNNEL_STATUS.match(text)):
        return f"the proxy refused the tunnel with status {tunnel[1]}"
    return cause.strerror


_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((CertificateError,), "the certificate is for another host"),
    (
        (
            http.client.IncompleteRead,
            urllib3_errors.ResponseNotChunked,
            requests.exceptions.ChunkedEncodingError,
        ),
        "the answer was cut off",
    ),
    ((http.client.HTTPException, urllib3_errors.InvalidHeader), "the answer is not HTTP"),
    (
        (urllib3_errors.DecodeError, requests.exceptions.ContentDecodingError),
        "the answer's Content-Encoding cannot be decoded",
    ),
    ((urllib3_errors.ClosedPoolError,), "the session was closed meanwhile"),
    ((urllib3_errors.EmptyPoolError,), "the session's pool has no connection free"),
    ((urllib3_errors.NewConnectionError,), "it cannot be reached"),
    ((urllib3_errors.TimeoutError, requests.Timeout), "timed out"),
)
