"""The verb that ends an account's session: sign-out."""

from __future__ import annotations

import sys

import click

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import CliContext
from bytelyst_sync.cli.session import exists, local_engine
from bytelyst_sync.inspection.text import clean

__all__: list[str] = []


@verb(root, name="sign-out", short_help="Remove an account's records and queue from this machine.")
@click.option("--keep", is_flag=True, help="Keep the store; only check that all was delivered.")
@click.option("--force", is_flag=True, help="Also where changes were not delivered: they are lost.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _sign_out(context: CliContext, keep: bool, force: bool, yes: bool) -> int:
    """Remove everything of the account from the store: records, queue, conflicts, keys.

    Refused while changes wait that the server has not accepted.
    """
    settings, screen = context.settings(), context.screen
    if not exists(settings):
        raise click.UsageError(f"{settings.store} is not there: nobody is signed in")
    if not (keep or yes):
        _confirm(f"Remove all records and changes from {settings.store}?")
    with local_engine(settings) as engine:
        engine.sign_out(wipe=not keep, force=force)
    if screen.json:
        screen.document({"wiped": not keep})
    else:
        screen.say("signed out" if keep else f"signed out; {settings.store} is empty")
    return ExitCode.OK


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("sign-out removes what is here: confirm with --yes")
    if not click.confirm(clean(question), err=True):
        raise click.exceptions.Exit(ExitCode.FAILED)
