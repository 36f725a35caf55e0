"""The verb that queries the local view: records."""

from __future__ import annotations

import json
from typing import Any

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import ENTITY, CliContext
from bytelyst_sync.cli.session import local_engine
from bytelyst_sync.cli.store_verbs import note_missing
from bytelyst_sync.config.entity import Entity, compile_entities
from bytelyst_sync.rules.where import OPERATORS

__all__ = ["conditions"]


@verb(root, name="records", short_help="Print the local view as JSON lines.")
@click.argument("entity", type=ENTITY)
@click.option("--where", multiple=True, metavar="FIELD[__OP]=VALUE", help="Only those; repeatable.")
@click.option(
    "--order-by", multiple=True, metavar="[-]FIELD", help="The order; -FIELD descends; repeatable."
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@click.option("--state", is_flag=True, help='Lines {"state": …, "record": …}.')
def _records(
    context: CliContext,
    entity: str,
    where: tuple[str, ...],
    order_by: tuple[str, ...],
    limit: int | None,
    state: bool,
) -> int:
    r"""Print the local view as JSON lines: the server's state with queued changes on top.

    \b
    --where done=false --where "n__gte=2" --where "title__contains=tea"
    Operators: ne gt gte lt lte in contains isnull.
    A value is JSON, and a text where it is none; FIELD=7 also finds the text "7".
    """
    settings, screen = context.settings(), context.screen
    known = compile_entities(settings.config).get(entity)
    query = conditions(where, known)
    order = list(order_by) or None
    note_missing(screen, settings)
    with local_engine(settings) as engine:
        if state:
            for view in engine.record_views(entity, query, order, limit):
                screen.record({"state": view.state, "record": view.data})
        else:
            for record in engine.records(entity, query, order, limit):
                screen.record(record)
    return ExitCode.OK


def conditions(texts: tuple[str, ...], entity: Entity | None) -> dict[str, Any] | None:
    """The ``where`` of a query; ``UsageError`` for an invalid text."""
    query: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        name = name.strip()
        if not sign or not name:
            raise click.UsageError(
                f"--where {text!r}: say FIELD=VALUE or FIELD__OPERATOR=VALUE, such as done=false"
            )
        key, condition = _condition(name, value, entity)
        if key in query:
            raise click.UsageError(f"--where {text!r}: {name} is given twice")
        query[key] = condition
    return query or None


def _condition(name: str, text: str, entity: Entity | None) -> tuple[str, Any]:
    """The key and the value of one condition. Equality finds the JSON value and the text."""
    field, _, operator = name.rpartition("__")
    if not field:
        field, operator = name, "eq"
    if operator not in OPERATORS or operator == "isnull":
        return name, _value(text)  # the engine names what is wrong with it
    is_id = entity is not None and entity.ids_at(field) is not None
    if operator in ("eq", "in"):
        values = _value(text) if operator == "in" else text
        if isinstance(values, list):
            return name, values
        parts = [text] if operator == "eq" else [part.strip() for part in text.split(",")]
        return f"{field}__in", [
            each for part in parts for each in ([part] if is_id else _readings(part))
        ]
    return name, text if is_id else _value(text)


def _readings(text: str) -> list[Any]:
    value = _value(text)
    return [text] if value == text else [value, text]


def _value(text: str) -> Any:
    """The JSON value, or the text itself if it is no JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and value - value != 0 else value
