"""The ``Link`` header (RFC 8288): where the next page is."""

from __future__ import annotations

import re

from bytelyst_sync.errors import TransportError

__all__ = ["MAX_LINK_BYTES", "linked"]

MAX_LINK_BYTES = 64 * 1024
"""The longest ``Link`` header that is read."""

_PARAMETER = re.compile(r'\s*;\s*([^\s;,="<>]+)(?:\s*=\s*(?:"([^"]*)"|([^\s;,"]*)))?')


def linked(header: str, relation: str) -> str | None:
    """The first target with this relation type; ``None`` if there is none.

    Takes time in proportion to the header's length. Raises ``TransportError`` for a header of
    more than 64 KiB.
    """
    if len(header) > MAX_LINK_BYTES:
        raise TransportError(
            f"the Link header has {len(header)} bytes, more than {MAX_LINK_BYTES // 1024} KiB: "
            "the next page is unknown"
        )
    position = 0
    while (start := header.find("<", position)) >= 0:
        end = header.find(">", start)
        if end < 0:
            return None
        position, is_match = end + 1, False
        while parameter := _PARAMETER.match(header, position):
            name, quoted, plain = parameter.groups()
            relations = (quoted or plain or "").lower().split()
            is_match = is_match or (name.lower() == "rel" and relation.lower() in relations)
            position = parameter.end()
        if is_match:
            return header[start + 1 : end]
    return None
