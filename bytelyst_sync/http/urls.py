"""URLs: their form when sent, their origin, and the part that a message may show.

If two parsers read one URL differently, credentials can reach the wrong server. So every URL is
first converted to the form in which ``requests`` sends it, and only that form is compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from urllib3.util import parse_url

from bytelyst_sync.errors import ConfigError

__all__ = [
    "join",
    "origin",
    "origin_name",
    "rebased",
    "redacted",
    "sendable",
    "server_name",
    "with_query",
]

_PLAIN = re.compile(
    r"https?://[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[0-9]{1,5})?/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile(r"[\\\x00-\x1f\x7f-\x9f]")
_DEFAULT_PORTS = {"http": 80, "https": 443, "http+unix": 0}

Origin = tuple[str, str, int]


def sendable(url: str, params: Any = None) -> str:
    """The URL as it is sent: normalised by ``requests``, unless it needs no change.

    ``params`` are added to the query, in any form that ``requests`` takes. Raises ``ConfigError``
    for a URL that cannot be sent, and for one with a backslash or a control character, which
    parsers read in different ways.
    """
    if _PLAIN.fullmatch(url) and not params and ("%" not in url or not _BAD_ESCAPE.search(url)):
        return url
    if _FORBIDDEN.search(url):
        raise _unusable(url, "a URL contains no backslash and no control character")
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, params)
        urlsplit(prepared.url or "").port  # noqa: B018 - raises ValueError if it is out of range
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise _unusable(url, "an absolute http or https URL is needed") from error
    return prepared.url or ""


def origin(url: str) -> Origin:
    """The scheme, host and port that a request to this URL goes to.

    Raises ``ConfigError`` for anything but an absolute http or https URL, and if the parser of
    ``requests`` and that of urllib3 do not agree about the host.
    """
    sent = sendable(url)
    try:
        parts = urlsplit(sent)
        host, port = parts.hostname or "", parts.port
        other = (parse_url(sent).host or "").strip("[]").lower()
    except (ValueError, urllib3.exceptions.HTTPError):
        raise _unusable(url, "an absolute http or https URL is needed") from None
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or not host or host != other:
        raise _unusable(url, "an absolute http or https URL is needed")
    return scheme, host, _DEFAULT_PORTS[scheme] if port is None else port


def join(base: str, link: str) -> str:
    """The absolute URL of a link from a server, without its fragment.

    Raises ``ConfigError`` if it cannot be sent.
    """
    if _FORBIDDEN.search(link):
        raise _unusable(link, "a URL contains no backslash and no control character")
    try:
        target = urljoin(base, link.strip(" ")).partition("#")[0]
    except ValueError:
        raise _unusable(link, "an absolute http or https URL is needed") from None
    origin(target)
    return sendable(target)


def rebased(base: str, target: str, *, any_origin: bool = False) -> str | None:
    """The path and query of ``target`` on the origin of ``base``; ``None`` if it is on another
    origin, unless ``any_origin``.

    Scheme, host, port and user name are taken from ``base``, so that nothing in ``target`` can
    lead elsewhere.
    """
    if not any_origin and origin(target) != origin(base):
        return None
    own, other = urlsplit(sendable(base)), urlsplit(sendable(target))
    return urlunsplit((own.scheme, own.netloc, other.path or "/", other.query, ""))


def origin_name(url: str) -> str:
    """The origin of a URL for messages, such as ``https://api.example.com:8443``."""
    try:
        scheme, host, port = origin(url)
    except ConfigError:
        return redacted(url)
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def server_name(url: str) -> str:
    """The host and port of a URL, for messages."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower())
    except ValueError:
        return "an unreadable URL"
    return f"{parts.hostname or 'no host'}:{port}" if port else f"{parts.hostname or 'no host'}"


def redacted(url: str) -> str:
    """The URL for messages: without query, fragment and credentials."""
    bare = url.partition("?")[0].partition("#")[0]
    scheme, slashes, rest = bare.partition("://")
    authority, slash, path = (rest if slashes else scheme).partition("/")
    shown = f"{authority.rpartition('@')[2]}{slash}{path}"
    return f"{scheme}://{shown}" if slashes else shown


def with_query(url: str, params: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> str:
    """The URL with these parameters added to its query; a list repeats its parameter.

    They are percent-encoded. A ``+`` in a cursor stays a ``+``. A space becomes ``%20``, because
    some servers do not read ``+`` as a space.
    """
    added = _pairs(params.items() if isinstance(params, Mapping) else params)
    if not added:
        return url
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *added]
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def _pairs(params: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
    pairs = []
    for name, value in params:
        for each in value if isinstance(value, (list, tuple)) else [value]:
            text = json.dumps(each) if isinstance(each, (bool, dict)) else str(each)
            pairs.append((name, text))
    return pairs


def _unusable(url: str, needed: str) -> ConfigError:
    shown = redacted(url)
    return ConfigError(
        f"{shown!r} is not a URL that can be sent to: {needed}", field="url", value=shown
    )
