"""Requests and responses of the pages, independent of the framework that serves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import attrs

__all__ = ["LARGEST_FORM", "Form", "Request", "Response", "from_environ", "redirect"]

LARGEST_FORM = 2 * 1024 * 1024
"""The largest form in bytes that is read."""
_MOST_FIELDS = 2000


@attrs.frozen
class Form:
    """The fields of a form or a query, in their order; a name may come more than once."""

    pairs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Form:
        """Decodes ``application/x-www-form-urlencoded``; ``ValueError`` for too many fields."""
        return cls(tuple(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)))

    def get(self, name: str, default: str = "") -> str:
        """The first value of a name, without space around it."""
        return next((value.strip() for key, value in self.pairs if key == name), default)

    def text(self, name: str) -> str:
        """The first value of a name, as it was typed."""
        return next((value for key, value in self.pairs if key == name), "")

    def all(self, name: str) -> list[str]:
        """All values of a name."""
        return [value for key, value in self.pairs if key == name]

    def starting(self, prefix: str) -> dict[str, str]:
        """The values by the rest of their names, of the names that start with ``prefix``."""
        found = (each for each in self.pairs if each[0].startswith(prefix))
        return {key.removeprefix(prefix): value for key, value in found}

    def number(self, name: str) -> int | None:
        """The value as a whole number from 0; ``None`` for anything else."""
        text = self.get(name)
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@attrs.frozen(kw_only=True)
class Request:
    """One request. ``script_name`` is the prefix under which the pages are mounted."""

    method: str
    path: str
    """The path below the prefix; begins with a slash."""
    script_name: str = ""
    query: Form = Form()
    form: Form = Form()
    headers: Mapping[str, str] = attrs.field(factory=dict)
    """The headers by name, in lower case."""
    scheme: str = "http"
    environ: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """The WSGI environ, which ``authorize`` gets."""

    @property
    def host(self) -> str:
        """The ``Host`` header."""
        return self.headers.get("host", "")

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""
        try:
            found: SimpleCookie = SimpleCookie(self.headers.get("cookie", ""))
        except CookieError:
            return {}
        return {name: each.value for name, each in found.items()}

    def url(self, path: str = "", **query: object) -> str:
        """The address of a page: ``url("failed", reason="x")``. Empty values are left out."""
        found = {
            name: str(value) for name, value in query.items() if value not in (None, "", False)
        }
        text = f"?{urlencode(found)}" if found else ""
        return f"{quote(self.script_name)}/{quote(path)}{text}"

    def here(self, *without: str, **changes: object) -> str:
        """This page's own address, with the query changed, and without the names given."""
        kept = {key: value for key, value in self.query.pairs if key not in without}
        return self.url(self.path.lstrip("/"), **{**kept, **changes})


@attrs.frozen(kw_only=True)
class Response:
    """One response."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/html; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> Response:
        """This response with more headers; it keeps those that it has."""
        there = {name.lower() for name, _ in self.headers}
        more = tuple(each for each in headers if each[0].lower() not in there)
        return attrs.evolve(self, headers=self.headers + more)


def redirect(url: str) -> Response:
    """HTTP 303: the browser then gets the other page."""
    return Response(status=303, headers=(("Location", url),))


def from_environ(environ: Mapping[str, Any]) -> Request:
    """Reads a WSGI request; ``ValueError`` for a form that is too large or malformed."""
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    # WSGI passes the bytes of a path decoded as Latin-1
    path, script_name = (
        environ.get(name, "").encode("latin-1").decode("utf-8", "replace")
        for name in ("PATH_INFO", "SCRIPT_NAME")
    )
    return Request(
        method=environ["REQUEST_METHOD"].upper(),
        path=path or "/",
        script_name=script_name.rstrip("/"),
        query=Form.parse(environ.get("QUERY_STRING", "")),
        form=_form(environ),
        headers=headers,
        scheme=environ.get("wsgi.url_scheme", "http"),
        environ=environ,
    )


def _form(environ: Mapping[str, Any]) -> Form:
    if environ["REQUEST_METHOD"].upper() != "POST":
        return Form()
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    length = environ.get("CONTENT_LENGTH") or "0"
    if not length.isascii() or not length.isdigit() or int(length) > LARGEST_FORM:
        raise ValueError(f"a form has at most {LARGEST_FORM} bytes")
    if kind != "application/x-www-form-urlencoded":
        return Form()
    return Form.parse(environ["wsgi.input"].read(int(length)).decode("utf-8"))
