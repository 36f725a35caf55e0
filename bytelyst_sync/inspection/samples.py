"""Sample answers of an API: JSON, alone or below the headers that ``curl -i`` saves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from bytelyst_sync.rules.paths import MISSING, at

__all__ = ["Sample", "first_at", "sample_of", "times_in"]

_START = re.compile(r"HTTP/\d(?:\.\d)? (\d{3})[^\r\n]*\r?\n")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$")
_TIME_NAMES = re.compile(r"(updated|modified|changed|mtime|lastupdate|lastmodified)", re.IGNORECASE)


@attrs.frozen
class Sample:
    """One answer. ``status``: ``None`` if only its body is known; headers by lower-case names."""

    name: str
    body: Any
    status: int | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def refused(self) -> bool:
        """Whether it is a refusal."""
        return self.status is not None and self.status >= 400


def sample_of(name: str, text: str) -> Sample:
    """The sample in a text; ``ValueError`` if there is no JSON in it."""
    status, headers = None, {}
    while (start := _START.match(text)) is not None:  # curl also saves redirects
        status = int(start[1])
        rest = "\n" + text[start.end() :].replace("\r\n", "\n")
        head, _, text = rest.partition("\n\n")
        pairs = (line.partition(":") for line in head.split("\n"))
        headers = {key.strip().lower(): value.strip() for key, sign, value in pairs if sign}
    try:
        body = json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{name} is not JSON ({error.msg}, line {error.lineno} column {error.colno}): save an"
            " answer with curl -i, or its body alone"
        ) from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None
    return Sample(name, body, status, headers)


def first_at(body: Any, paths: tuple[str, ...]) -> tuple[str, Any] | None:
    """The first of these paths with a value, and the value."""
    for path in paths:
        value = at(body, path)
        if value is not MISSING:
            return path, value
    return None


def times_in(record: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of the fields with the time of a record's last change."""
    for name, value in record.items():
        if isinstance(value, Mapping) and not prefix:
            yield from times_in(value, f"{name}.")
        elif _TIME_NAMES.search(name) and _is_time(value):
            yield prefix + name


def _is_time(value: Any) -> bool:
    if isinstance(value, str):
        return _TIME.match(value) is not None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 1e8 < value < 1e14
