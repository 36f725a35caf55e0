"""Finds local ids in a record's data, and the fields that refer to the record itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bytelyst_sync.config.entity import Entity
from bytelyst_sync.rules.ids import LOCAL_ID
from bytelyst_sync.rules.references import find_references

__all__ = ["find_local_ids", "own_fields", "texts_in"]

Json = dict[str, Any]


def find_local_ids(data: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """The local ids in the texts and member names of the data, each with its path."""
    if isinstance(data, str):
        yield from ((path, each) for each in LOCAL_ID.findall(data))
    elif isinstance(data, list):
        for number, each in enumerate(data):
            yield from find_local_ids(each, f"{path}[{number}]")
    elif isinstance(data, dict):
        for name, each in data.items():
            below = f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]"
            yield from ((below, local_id) for local_id in LOCAL_ID.findall(name))
            yield from find_local_ids(each, below)


def texts_in(data: Any, path: str = "$") -> Iterator[tuple[str, str]]:
    """The texts among the values of the data, each with its path."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, list):
        for number, each in enumerate(data):
            yield from texts_in(each, f"{path}[{number}]")
    elif isinstance(data, dict):
        for name, each in data.items():
            below = f"{path}.{name}" if name.isidentifier() else f"{path}[{json.dumps(name)}]"
            yield from texts_in(each, below)


def own_fields(entity: Entity, data: Json, key: str) -> frozenset[str]:
    """The fields through which a record refers to itself. If the server gives the ids, a create is
    sent without them, and an update with them follows.
    """
    return frozenset(
        field if field in data else field.partition(".")[0].partition("[]")[0]
        for field, parent, record in find_references(entity.config.references, data)
        if parent == entity.name and record == key
    )
