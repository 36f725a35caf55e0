"""The verbs that set things up: init and completion."""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import PROGRAM, root, verb
from bytelyst_sync.cli.options import CliContext
from bytelyst_sync.cli.settings import config_path
from bytelyst_sync.cli.template import configuration
from bytelyst_sync.config.settings import SyncConfig

__all__: list[str] = []

_COMPLETE_VARIABLE = "_BYTELYST_SYNC_COMPLETE"


@verb(root, name="init", short_help="Write a commented configuration file.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def _init(context: CliContext, force: bool) -> int:
    """Write a commented configuration file, with the values given as flags."""
    flags, screen = context.flags, context.screen
    path, _ = config_path(flags, os.environ)
    entities = dict(_endpoint(each) for each in flags.entities) or {"notes": "/notes"}
    base_url = flags.base_url or "https://api.example.com"
    storage = flags.storage or "bytelyst-sync.db"
    SyncConfig(
        base_url=base_url, entities=entities, storage=storage
    )  # raises ConfigError for wrong values
    text = configuration(base_url, storage, entities)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.UsageError(
            f"{path} is there already: --force overwrites it, --config FILE names another"
        ) from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written ({error.strerror or error})") from None
    if screen.json:
        screen.document({"config": str(path.resolve())})
        return ExitCode.OK
    screen.say(f"wrote {path}")
    if flags.base_url is None:
        screen.note(f"set base_url and entities in it, then: {PROGRAM} doctor", style="dim")
    else:
        screen.note(f"next: {PROGRAM} doctor", style="dim")
    return ExitCode.OK


def _endpoint(text: str) -> tuple[str, str]:
    name, _, endpoint = text.partition("=")
    return name.strip(), endpoint.strip()


@verb(root, name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def _completion(_: CliContext, shell: str) -> int:
    r"""Print the completion script of a shell.

    \b
    bash:  eval "$(bytelyst-sync completion bash)"   in ~/.bashrc
    zsh:   eval "$(bytelyst-sync completion zsh)"    in ~/.zshrc
    fish:  bytelyst-sync completion fish > ~/.config/fish/completions/bytelyst-sync.fish
    """
    kind = get_completion_class(shell)
    if kind is not None:
        script = kind(root, {}, PROGRAM, _COMPLETE_VARIABLE)
        # not source(): it runs the shell, to check its version
        text = script.source_template % script.source_vars()
        # click's script for fish truncates a description at its first comma
        click.echo(text.replace('string split ","', 'string split --max 1 ","'))
    return ExitCode.OK
