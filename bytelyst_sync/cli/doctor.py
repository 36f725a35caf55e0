"""The verb that looks for what is wrong, and says what to do about it.

Each check is one function of a ``Case`` that gives findings; it stands in a list of its module,
and that is all there is to add one. A check whose ground is missing (no network, no store) gives
none. Nothing that is looked at is changed: the store is opened read-only and without its locks.
"""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.table import Table
from rich.text import Text

from bytelyst_sync.cli import (
    checks_config,
    checks_network,
    checks_queue,
    checks_server,
    checks_storage,
)
from bytelyst_sync.cli.case import Case, Finding, Level
from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import Said
from bytelyst_sync.cli.show import Screen, clean, count_of
from bytelyst_sync.errors import ConfigError

__all__ = ["examine"]

_AT_HOME = (checks_config.CHECKS, checks_storage.CHECKS, checks_queue.CHECKS)
_ABROAD = (checks_network.CHECKS, checks_server.CHECKS)
_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@verb(root, name="doctor", short_help="Look for faults, and say what to do about them.")
@click.option("--no-network", is_flag=True, help="Only what can be checked on this machine.")
def _doctor(said: Said, no_network: bool) -> int:
    """Check the settings, the store, the queue, the network and the server's answers."""
    screen = said.screen
    try:
        case = Case(said.settings(), None)
    except ConfigError as error:
        case = Case(None, error)
    found: list[Finding] = []
    with case:
        for finding in examine(case, network=not no_network):
            found.append(finding)
            if not screen.json:
                _show(screen, finding)
    fails = sum(each.level is Level.FAIL for each in found)
    warns = sum(each.level is Level.WARN for each in found)
    if screen.json:
        screen.document({"ok": not fails, "checks": [each.as_json() for each in found]})
    else:
        told = [count_of(fails, "fault")] if fails else []
        told += [count_of(warns, "warning")] if warns else []
        screen.say(", ".join(told) or "all is well", None if told else "green")
    return ExitCode.FAILED if fails else ExitCode.OK


def examine(case: Case, *, network: bool = True) -> Iterator[Finding]:
    """Every finding, as it is made."""
    for checks in (*_AT_HOME, *(_ABROAD if network else ())):
        for check in checks:
            yield from check(case)


def _show(screen: Screen, finding: Finding) -> None:
    if screen.rich:
        table = Table.grid(padding=(0, 1))
        for width in (4, 11, None):
            table.add_column(width=width)
        style = _STYLES[finding.level]
        about = Text(finding.about, style="bold")
        table.add_row(Text(finding.level.value, style=style), about, Text(clean(finding.text)))
        if finding.remedy:
            table.add_row("", "", Text(f"→ {clean(finding.remedy)}", style=style))
        screen.show(table)
        return
    screen.say(f"{finding.level.value:<5}{finding.about:<12}{finding.text}")
    if finding.remedy:
        screen.say(f"{'':<17}→ {finding.remedy}")
    screen.flush()
