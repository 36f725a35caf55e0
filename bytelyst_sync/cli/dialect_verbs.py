"""The verb ``dialect guess``: a draft of a dialect, as a part of the configuration file."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import Any

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext, text_argument
from bytelyst_sync.inspection.guess import Draft, Guess, draft_of
from bytelyst_sync.inspection.samples import sample_of

__all__: list[str] = []

_WIDTH = 96


@root.group("dialect")
def _dialect() -> None:
    """How an API speaks: draft a mapping from its answers."""


@verb(_dialect, name="guess", short_help="Draft a dialect from sample answers.")
@click.argument("listing", metavar="GET.json|-")
@click.argument("others", metavar="[POST.json …]", nargs=-1)
@click.option("--name", default="notes", show_default=True, help="What the entity is called.")
def _guess(context: CliContext, listing: str, others: tuple[str, ...], name: str) -> int:
    """Draft a dialect from the answer to a listing, and from answers to writes.

    The files are JSON, or what `curl -i` saves: with headers more can be seen. The draft goes
    into the configuration file; each line says why. Check it with `bytelyst-sync doctor`, then with
    `bytelyst-sync doctor --write-trial`.
    """
    screen = context.screen
    try:
        first, *rest = (
            sample_of(each, text_argument(each if each == "-" else f"@{each}", each))
            for each in (listing, *others)
        )
        draft = draft_of(first, rest)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if screen.json:
        screen.document(_as_json(draft))
    else:
        for line in _toml(draft, name):
            screen.say(line)
    return ExitCode.OK


def _as_json(draft: Draft) -> dict[str, Any]:
    """The documented shape."""

    def shown(guesses: list[Guess]) -> list[dict[str, Any]]:
        return [{"field": each.field, "value": each.value, "why": each.why} for each in guesses]

    return {
        "preset": draft.preset,
        "entity": shown(draft.entity),
        "dialect": shown(draft.dialect),
    }


def _toml(draft: Draft, name: str) -> list[str]:
    lines = [f"[entities.{json.dumps(name) if not name.isidentifier() else name}]"]
    lines.append(f'endpoint = "/{name}"    # the path below base_url: a guess')
    lines += _lines(draft.entity)
    lines += ["", "[dialect]"]
    if draft.preset is not None:
        lines += _lines([Guess("preset", draft.preset, draft.why_preset)])
    return lines + _lines(draft.dialect)


def _lines(guesses: list[Guess]) -> list[str]:
    lines: list[str] = []
    last = ""
    for guess in guesses:
        if guess.why != last:
            lines += [f"# {line}" for line in wrap(guess.why, _WIDTH)]
        last = guess.why
        lines.append(f"{guess.field} = {_value(guess.value)}")
    return lines


def _value(value: Any) -> str:
    """A TOML value; ``false`` stands for none."""
    if value is None:
        return "false"
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(name)} = {_value(each)}" for name, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(value, ensure_ascii=False)
