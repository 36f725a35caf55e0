"""The options that all verbs take, and data given as an argument, a file or standard input.

The common options may stand before or after the verb; the later one counts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click
from click.shell_completion import CompletionItem

from bytelyst_sync.cli.settings import Flags, load
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.inspection.settings import Settings

__all__ = [
    "ENTITY",
    "CliContext",
    "common_options",
    "json_argument",
    "object_argument",
    "pass_context",
    "text_argument",
]

F = TypeVar("F", bound=Callable[..., Any])


@attrs.define
class CliContext:
    """The common options of one run of the command."""

    flags: Flags = attrs.field(factory=Flags)
    as_json: bool = False
    quiet: bool = False
    verbose: int = 0
    _screen: Screen | None = None

    @property
    def screen(self) -> Screen:
        """Where to write."""
        if self._screen is None:
            self._screen = Screen(as_json=self.as_json, quiet=self.quiet)
        return self._screen

    def settings(self) -> Settings:
        """The settings, read and checked."""
        return load(self.flags)


pass_context = click.make_pass_decorator(CliContext, ensure=True)


def _keeps(where: str, name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that stores the value in the ``CliContext``; without a value it does nothing."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        context = ctx.ensure_object(CliContext)
        if value in (None, (), False, 0):
            return
        if isinstance(value, tuple):
            _require_pairs(ctx, param, value)
        target = context.flags if where == "flags" else context
        before = getattr(target, name)
        setattr(target, name, before + value if isinstance(value, tuple) else value)

    return keep


def _require_pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> None:
    for each in values:
        name, sign, _ = each.partition("=")
        if not sign or not name.strip():
            raise click.BadParameter(f"{each!r}: say {param.make_metavar(ctx)}", ctx, param)


_COMMON: tuple[tuple[tuple[str, ...], str, str, dict[str, Any]], ...] = (
    (("--config",), "flags.config",
     "The configuration file (default: ./bytelyst-sync.toml).", {"metavar": "FILE"}),
    (("--app",), "flags.app",
     "The engine of a program, its SyncConfig, or a function that returns one.",
     {"metavar": "MODULE:NAME"}),
    (("--key-env",), "flags.key_env", "The variable with the key of an encrypted store.",
     {"metavar": "VARIABLE"}),
    (("--base-url",), "flags.base_url", "Where the API is.", {"metavar": "URL"}),
    (("--storage",), "flags.storage", "Where the queue lives.", {"metavar": "FILE"}),
    (("--entity",), "flags.entities", "An entity beside those of the file; repeatable.",
     {"metavar": "NAME=/ENDPOINT", "multiple": True}),
    (("--set",), "flags.sets", "Any other setting, such as max_retries=3; repeatable.",
     {"metavar": "NAME=VALUE", "multiple": True}),
    (("--json",), "context.as_json", "Results as JSON.", {"is_flag": True}),
    (("-q", "--quiet"), "context.quiet", "No notes and no progress.", {"is_flag": True}),
    (("-v", "--verbose"), "context.verbose", "Log to standard error; -vv logs more.",
     {"count": True}),
)  # fmt: skip
"""Flags, where their value is kept, help, and how they are read."""


def common_options(function: F, *, hidden: bool = True) -> F:
    """Adds the options that every verb takes."""
    for flags, place, text, how in reversed(_COMMON):
        where, _, name = place.partition(".")
        function = click.option(
            *flags,
            f"common_{name}",
            callback=_keeps(where, name),
            expose_value=False,
            hidden=hidden,
            help=text,
            **how,
        )(function)
    return function


# --- entities


class EntityName(click.types.StringParamType):
    """The name of an entity; the shell completes it from the settings."""

    name = "entity"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that are configured."""
        del param
        try:
            names = load(ctx.ensure_object(CliContext).flags).config.entities
        except ConfigError:
            return []
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


ENTITY = EntityName()


# --- data


def text_argument(text: str, what: str = "the data") -> str:
    """The text itself, the content of ``@file``, or that of standard input (``-``)."""
    if text == "-":
        return _decoded(sys.stdin.buffer.read(), f"{what} from standard input")
    if text.startswith("@"):
        path = Path(text[1:])
        try:
            return _decoded(path.read_bytes(), str(path))
        except OSError as error:
            raise click.UsageError(f"{path} cannot be read ({error.strerror or error})") from None
    return text


def _decoded(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{where} is not UTF-8 (byte {error.start})") from None


def json_argument(text: str, what: str = "the data") -> Any:
    """The JSON value of an argument; see ``text_argument``."""
    content = text_argument(text, what)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise click.UsageError(
            f"{what} is not JSON ({error.msg}, line {error.lineno} column {error.colno}): give an "
            'object such as \'{"title": "x"}\', @file, or - for standard input'
        ) from None
    except RecursionError:
        raise click.UsageError(f"{what} is nested too deeply") from None


def object_argument(text: str, what: str = "the data") -> dict[str, Any]:
    """The JSON object of an argument; ``UsageError`` for any other value."""
    value = json_argument(text, what)
    if not isinstance(value, dict):
        raise click.UsageError(f'{what} must be a JSON object, such as \'{{"title": "x"}}\'')
    return value
