"""Queries in URLs, percent-encoded: a ``+`` in a cursor stays one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

__all__ = ["with_query"]


def with_query(url: str, params: Mapping[str, Any]) -> str:
    """The URL with these parameters added to its query; a list repeats its parameter."""
    if not params:
        return url
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), *_pairs(params)]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _pairs(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = []
    for name, value in params.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            text = json.dumps(each) if isinstance(each, (bool, dict)) else str(each)
            pairs.append((name, text))
    return pairs
