"""Definitions from GrowthBook: a pull of its SDK endpoint gives one record.

Source: https://docs.growthbook.io/lib/build-your-own, section "Loading Features".
"""

from __future__ import annotations

from typing import Any

import attrs

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.settings import EntityConfig
from bytelyst_sync.experiments.experiments import DEFINITIONS, EVENTS, experiment_entities

__all__ = ["growthbook_entities"]

_ID = "growthbook"
"""The id of the one record."""


@attrs.frozen(kw_only=True)
class _GrowthBook(Dialect):
    """The endpoint answers with one object, which has no id."""

    def decode(self, found: Any) -> Any:
        """See ``Dialect``."""
        return {**found, "id": _ID} if isinstance(found, dict) else found


def growthbook_entities(
    features: str, events: str = "/experiment-events"
) -> dict[str, EntityConfig]:
    """As ``experiment_entities``, with the definitions of GrowthBook: ``features`` is the endpoint
    with the client key, such as ``"/api/features/sdk-abc123"``, below the engine's ``base_url``.

    A pull replaces all definitions at once. They are read-only here. Encrypted payloads
    are reported by ``Experiments.problems()``.
    """
    read_only = _GrowthBook(
        items=None,
        since=None,
        cursor=None,
        next_page=None,
        version=None,
        send_version=None,
        current=None,
        tombstone=None,
        idempotency=None,
        page_size="",
    )
    return {
        DEFINITIONS: EntityConfig(features, dialect=read_only),
        EVENTS: experiment_entities(events=events)[EVENTS],
    }
