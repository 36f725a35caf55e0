"""The tables of a queue in Django's database, as models, so that migrations make them.

Each model is made from the declaration of its table in ``storage/schema.py``, with the name of the
queue before its key: several queues share the tables. Read them through an engine. A row that a
program changes here may be one that a worker is delivering.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from django.db import models

from bytelyst_sync.contrib.django.admin_models import (
    FailedItem,
    OpenConflict,
    QueuedItem,
    QueueStatus,
)
from bytelyst_sync.contrib.django.fields import ExactTextField, KeyField, SparseIndex
from bytelyst_sync.storage.base import Table
from bytelyst_sync.storage.shared_schema import INBOX, SHARED_TABLES

__all__ = [
    "LENGTHS",
    "LONGEST",
    "LONGEST_QUEUE_NAME",
    "MODELS",
    "FailedItem",
    "Lease",
    "OpenConflict",
    "Queue",
    "QueueStatus",
    "QueuedItem",
    "key_columns",
    "kinds",
]

LONGEST_QUEUE_NAME = 32
LONGEST = 255
LENGTHS: Mapping[str, int] = {"entity": 100, "field": 150, "digest": 150, "kind": 50}
"""The longest text in an indexed column, in characters: indexes of MariaDB hold 3,072 bytes. It is
255 for columns that are not listed, among them the ids of records.
"""


def _attribute_of(column: str) -> str:
    """The model's attribute for a column: ``id`` would be the primary key of a model."""
    return "item_id" if column == "id" else column


def key_columns(table: Table[Any]) -> set[str]:
    """The columns that some index of the table holds."""
    return set(table.key).union(*table.indexes.values())


def kinds(table: Table[Any]) -> dict[str, tuple[type, bool]]:
    """The type of each column and whether it may be NULL; ``object``: an int or a text."""
    found: dict[str, tuple[type, bool]] = {}
    for column, hint in get_type_hints(table.row).items():
        types = [each for each in get_args(hint) or (hint,) if each is not type(None)]
        kind = types[0] if len(types) == 1 else object
        found[column] = kind, type(None) in get_args(hint)
    return found


def _field(table: Table[Any], column: str, kind: type, *, null: bool) -> models.Field:
    options: dict[str, Any] = {"null": null, "db_column": column}
    if kind is int:
        return models.BigIntegerField(**options)
    if kind is float:
        return models.FloatField(**options)
    if column in key_columns(table):
        return KeyField(max_length=LENGTHS.get(column, LONGEST), **options)
    return ExactTextField(**options)


def _index(table: Table[Any], name: str, nullable: set[str]) -> SparseIndex:
    columns = ("queue", *table.order(name))
    sparse = tuple(_attribute_of(each) for each in table.indexes[name] if each in nullable)
    return SparseIndex(
        fields=[_attribute_of(each) for each in columns],
        name=f"bs_{table.name}_{name}",
        sparse=sparse,
    )


def _model(table: Table[Any]) -> type[models.Model]:
    columns = kinds(table)
    attributes: dict[str, Any] = {"queue": KeyField(max_length=LONGEST_QUEUE_NAME)}
    for column, (kind, null) in columns.items():
        attributes[_attribute_of(column)] = _field(table, column, kind, null=null)
    if table is INBOX:
        attributes["number"] = models.BigAutoField(primary_key=True)
    else:
        attributes["pk"] = models.CompositePrimaryKey("queue", *map(_attribute_of, table.key))
    nullable = {column for column, (_, null) in columns.items() if null}
    options: dict[str, Any] = {
        "app_label": "bytelyst_sync",
        "db_table": f"bytelyst_sync_{table.name}",
        "indexes": [_index(table, name, nullable) for name in table.indexes],
        "default_permissions": (),
    }
    if table is INBOX:  # its primary key does not begin with the queue
        options["indexes"].append(SparseIndex(fields=["queue", "number"], name="bs_inbox_queue"))
    attributes["Meta"] = type("Meta", (), options)
    name = "".join(part.title() for part in table.name.split("_"))
    return type(name, (models.Model,), {**attributes, "__module__": __name__})


class Queue(models.Model):
    """One queue: the row that each change of its state locks."""

    name = KeyField(max_length=LONGEST_QUEUE_NAME, primary_key=True)
    version = models.BigIntegerField(default=0)
    """Changes with each commit."""
    number = models.BigIntegerField(default=0)
    """The last number of its sequence."""
    counts = ExactTextField(default="{}")
    """The numbers of rows, as JSON."""

    class Meta:
        """Its table."""

        app_label = "bytelyst_sync"
        db_table = "bytelyst_sync_queues"
        default_permissions = ()


class Lease(models.Model):
    """Which process pulls in the background, and when a worker was last alive."""

    queue = KeyField(max_length=LONGEST_QUEUE_NAME, primary_key=True)
    owner = ExactTextField()
    """The process that pulls; empty: none."""
    until = models.FloatField(default=0.0)
    """Until when it has the right to pull, by the database's clock, in seconds since the epoch."""
    seen = models.FloatField(null=True)
    """When a worker of the queue was last alive, by the same clock."""

    class Meta:
        """Its table."""

        app_label = "bytelyst_sync"
        db_table = "bytelyst_sync_leases"
        default_permissions = ()


MODELS = {table.name: _model(table) for table in SHARED_TABLES}
"""The models by the names of their tables."""
