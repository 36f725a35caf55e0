"""Decodes the JSON of a page. The rows of a large page are parsed while they are iterated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, overload

from bytelyst_sync.errors import TransportError
from bytelyst_sync.protocol.json_stream import JsonStream
from bytelyst_sync.rules.paths import MISSING, at

__all__ = ["PageRows", "read_page", "rows_in"]

_LARGE_BYTES = 1024 * 1024
"""The rows of a page of at most this size are parsed once, those of a larger page at each use."""
_MAX_ROWS = 2_000_000
"""The most rows of one page."""
_MOST_OTHER_CHARS = 4 * 1024 * 1024
"""The most characters of a page that are not rows."""


class PageRows(Sequence[Any]):
    """The rows of a large page. They are not kept in memory, but parsed at each use."""

    def __init__(self, body: bytes, path: str, count: int) -> None:
        self._body = body
        self._path = path
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        stream = JsonStream(self._body)
        path = _lead_to(stream, self._path)
        if path is not None:
            yield from stream.values()

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        position = index + self._count if index < 0 else index
        if not 0 <= position < self._count:
            raise IndexError(index)
        return next(islice(self, position, None))


def read_page(body: bytes, path: str | None, look: Callable[[Any], None]) -> Any:
    """The decoded body of a page; calls ``look`` with each element of the list at ``path``, or with
    the body itself if that is ``None``.

    The list is a ``list`` or, if it is large, a ``PageRows``. ``MISSING`` if the body is empty or
    no JSON, or has too much data outside of its rows. ``TransportError`` for too many rows.
    """
    reader = _PageReader(body, path or "", look)
    try:
        if path is None:
            decoded = reader.stream.value()
            look(decoded)
            return MISSING if reader.stream.peek() else decoded
        decoded = reader.walk(path)
        return MISSING if reader.stream.peek() else decoded
    except (ValueError, RecursionError):
        return MISSING


def rows_in(body: Any, path: str | None) -> list[Any] | PageRows | None:
    """The rows of a body: the list at ``path``, or the body itself, an object, if that is ``None``.

    ``None`` if there is no list, or no object.
    """
    if path is None:
        return [body] if isinstance(body, dict) else None
    found = at(body, path)
    return found if isinstance(found, (list, PageRows)) else None


class _PageReader:
    """Reads one page, and counts the characters that are not rows."""

    def __init__(self, body: bytes, path: str, look: Callable[[Any], None]) -> None:
        self.stream = JsonStream(body)
        self._body = body
        self._path = path
        self._look = look
        self._other_chars = 0

    def walk(self, path: str) -> Any:
        """The next value; ``path`` is the rest of the path to the list inside it."""
        first = self.stream.peek()
        if first == "[":
            return self._list(path) if path else self._rows()
        if not path or first != "{":
            return self._value()
        members: dict[str, Any] = {}
        for name in self.stream.members():
            below = _below(path, name)
            members[name] = self._value() if below is None else self.walk(below)
        return members

    def _list(self, path: str) -> list[Any]:
        items = []
        for number in self.stream.elements():
            below = _below(path, str(number))
            items.append(self._value() if below is None else self.walk(below))
        return items

    def _rows(self) -> Sequence[Any]:
        parsed: list[Any] | None = [] if len(self._body) <= _LARGE_BYTES else None
        count = 0
        for element in self.stream.values():
            self._look(element)
            count += 1
            if count > _MAX_ROWS:
                raise TransportError(
                    f"the page has more than {_MAX_ROWS:,} rows; ask for smaller pages (page_size)"
                )
            if parsed is not None:
                parsed.append(element)
        return PageRows(self._body, self._path, count) if parsed is None else parsed

    def _value(self) -> Any:
        start = self.stream.position
        value = self.stream.value()
        self._other_chars += self.stream.position - start
        if self._other_chars > _MOST_OTHER_CHARS:
            raise ValueError("the page has too much data outside of its rows")
        return value


def _below(path: str, name: str) -> str | None:
    """The rest of the path inside this member; ``None`` if the path does not lead through it."""
    if path == name:
        return ""
    return path[len(name) + 1 :] if path.startswith(f"{name}.") else None


def _lead_to(stream: JsonStream, path: str) -> str | None:
    """Reads up to the list at the path; ``None`` if there is none."""
    while path:
        first = stream.peek()
        steps: Iterator[Any] = stream.members() if first == "{" else stream.elements()
        for step in steps:
            below = _below(path, str(step))
            if below is not None:
                path = below
                break
            stream.value()
        else:
            return None
    return path if stream.peek() == "[" else None
