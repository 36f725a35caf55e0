"""Reads a large JSON text value by value, without decoding all of it at once.

A page of 64 MiB may contain a million rows. Parsed at once, it would need gigabytes, and no other
thread could run meanwhile. Here each row is parsed when it is needed. A value that is too large
(see ``Unreadable``) is skipped without creating objects, and the next one is read.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from operator import indexOf
from typing import Any

from bytelyst_sync.clock import let_others_run
from bytelyst_sync.rules.json_text import DECODER, DEEPEST

__all__ = ["MAX_VALUES", "JsonStream", "Unreadable"]

MAX_VALUES = 1_000_000
"""The most values in one row, or in the rest of a page."""

_PIECE_BYTES = 128 * 1024
_CHECKED_CHARS = 1024 * 1024
_CHARS_AT_ONCE = 8 * 1024
"""How much is read before other threads may run: half a millisecond of short rows."""
_FIRST_WINDOW_CHARS, _LAST_WINDOW_CHARS = 1024, 128 * 1024
"""The sizes of the parts in which a value is skipped: the first one, and the largest."""
_scan_string: Callable[[str, int, bool], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]  # in C where there is one
_ENDS = frozenset(" \t\n\r,]}:")
"""The characters that may follow a value."""
_SPACE = re.compile(r"[ \t\n\r]*")
_SCALAR = re.compile(r"[^\s,\]}]*")
_STRING = r'"(?:[^"\\]|\\.)*"'
_WHOLE_STRINGS = re.compile(rf'(?:[^"]+|{_STRING})*', re.DOTALL)
"""Text that does not end inside a string."""
_NO_BRACKETS = re.compile(rf'(?:{_STRING}|[^"\[\]{{}}]+)+', re.DOTALL)
_UP_TO_BRACKET = re.compile(rf'(?:{_STRING}|[^"\[\]{{}}]+)*[\[\]{{}}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}
"""The change of the depth at a bracket."""


class Unreadable(dict[str, Any]):
    """An empty record in place of a value that was skipped, with the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class JsonStream:
    """A JSON text that is read from its beginning to its end. Used by one thread.

    Every method raises ``ValueError`` if the text is no JSON at the current position.
    """

    def __init__(self, body: bytes, piece_bytes: int = _PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes
        self._is_large = len(body) > _CHECKED_CHARS
        self._undecoded = memoryview(body)
        encoding = json.detect_encoding(body)
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._most_ahead: int | None = None
        """At most so many values are in the unread text; ``None``: they were not counted yet."""

    @property
    def position(self) -> int:
        """How many characters were read."""
        return self._dropped + self._at

    def peek(self) -> str:
        """The next character that is no white space; ``""`` at the end."""
        while True:
            self._at = self._matched(_SPACE)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._decode_more():
                return ""

    def take(self, allowed: str) -> str:
        """The next character, which must be one of these."""
        character = self.peek()
        if not character or character not in allowed:
            raise ValueError(f"one of {allowed} was expected at character {self.position}")
        self._at += 1
        return character

    def elements(self) -> Iterator[int]:
        """The positions of a list's elements; the caller reads each value before the next."""
        self.take("[")
        number = 0
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield number
            number += 1
            if self.take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """The names of an object's members; the caller reads each value before the next."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            if self.peek() != '"':
                raise ValueError(f"a name was expected at character {self.position}")
            name = str(self.value())
            self.take(":")
            yield name
            if self.take(",}") == "}":
                return

    def values(self) -> Iterator[Any]:
        """The values of a list. Most of a page's time is spent here; if it is large, other threads
        run now and then.
        """
        paused = self.position
        scan: Callable[[str, int], tuple[Any, int]] = DECODER.scan_once  # type: ignore[attr-defined]  # what raw_decode calls
        for _ in self.elements():
            self.peek()
            if self._is_large and self.position - paused > _CHARS_AT_ONCE:
                let_others_run(self.position - paused)
                paused = self.position
            text, at = self._text, self._at
            until = at + _CHARS_AT_ONCE
            try:
                while at <= until:
                    value, end = scan(text, at)
                    if end - at > DEEPEST or text[end] != ",":
                        break
                    at = end + 2 if text[end + 1] == " " else end + 1
                    yield value
            except (ValueError, IndexError, RecursionError, StopIteration):
                pass  # the piece ends here, or the value is unusual: read it again with care
            self._at = at
            yield self.value()

    def value(self) -> Any:
        """The next value, or an ``Unreadable`` if it is too large."""
        self.peek()
        while True:
            if len(self._text) - self._at > _CHECKED_CHARS and self._values_ahead() > MAX_VALUES:
                return self._skipped(f"it holds more than {MAX_VALUES:,} values")
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError:
                if self._decode_more():
                    continue
                raise
            except RecursionError:
                return self._skipped(f"it is nested more than {DEEPEST} deep")
            except ValueError as error:
                return self._skipped(str(error))
            if self._text[end : end + 1] not in _ENDS and self._decode_more():
                continue  # it is a number, which goes on in the next piece
            start, self._at = self._at, end
            if (
                end - start > DEEPEST
                and self._brackets(start, end) > DEEPEST
                and self._depth(start, end) > DEEPEST
            ):
                return Unreadable(f"it is nested more than {DEEPEST} deep")
            return value

    def _brackets(self, start: int, end: int) -> int:
        return self._text.count("[", start, end) + self._text.count("{", start, end)

    def _depth(self, start: int, end: int) -> int:
        brackets = _NO_BRACKETS.sub("", self._text[start:end])
        return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)

    def _values_ahead(self) -> int:
        if self._most_ahead is None or self._most_ahead > MAX_VALUES:
            self._most_ahead = sum(self._text.count(each, self._at) for each in ",[{")
        return self._most_ahead

    def _skipped(self, reason: str) -> Unreadable:
        """Moves past the next value."""
        first = self.peek()
        if first == '"':
            self._skip_string()
        elif first and first in "[{":
            self._skip_container()
        else:
            self._skip_scalar()
        return Unreadable(reason)

    def _skip_container(self) -> None:
        """Moves past a list or an object. Tens of millions of brackets take a few seconds."""
        depth, window = 0, _FIRST_WINDOW_CHARS
        while self._at < len(self._text) or self._decode_more():
            text, start = self._text, self._at
            whole = _WHOLE_STRINGS.match(text, start, start + window)
            window = min(2 * window, _LAST_WINDOW_CHARS)
            end = start if whole is None else whole.end()
            if end == start:
                self._skip_string()  # it begins here, and is longer than a piece
                continue
            brackets = _NO_BRACKETS.sub("", text[start:end])
            closed = brackets.count("]") + brackets.count("}")
            if depth > closed:  # it cannot end here
                depth += len(brackets) - 2 * closed
                self._at = end
                continue
            depths = accumulate(map(_STEPS.__getitem__, brackets), initial=depth)
            next(depths)
            try:
                last = indexOf(depths, 0)
            except ValueError:
                depth += len(brackets) - 2 * closed
                self._at = end
            else:
                self._at = _position_of(last, text, start, end) + 1
                return
        raise ValueError("the text ends inside a value")

    def _skip_string(self) -> None:
        while (end := self._string_end()) is None:
            if not self._decode_more():
                raise ValueError("the text ends inside a string")
        self._at = end

    def _string_end(self) -> int | None:
        try:
            return _scan_string(self._text, self._at + 1, False)[1]
        except ValueError:
            return None

    def _skip_scalar(self) -> None:
        while True:
            end = self._matched(_SCALAR)
            if end < len(self._text) or not self._decode_more():
                self._at = self._matched(_SCALAR)
                return

    def _matched(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        return self._at if match is None else match.end()

    def _decode_more(self) -> bool:
        """Decodes another piece, as long as the unread text, and drops the text that was read;
        false at the end.
        """
        if not self._undecoded:
            return False
        size = max(self._piece_bytes, len(self._text) - self._at)
        if self._is_large:
            let_others_run(size)
        piece, self._undecoded = self._undecoded[:size], self._undecoded[size:]
        text = self._decoder.decode(bytes(piece), not self._undecoded)
        self._dropped += self._at
        self._text = self._text[self._at :] + text
        self._at = 0
        self._most_ahead = None
        return True


def _position_of(bracket: int, text: str, start: int, end: int) -> int:
    """The position of the n-th bracket in a part of the text that splits no string."""
    return next(islice(_UP_TO_BRACKET.finditer(text, start, end), bracket, None)).end() - 1
