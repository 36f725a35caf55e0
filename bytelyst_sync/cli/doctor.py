"""The verb ``doctor``: looks for faults and says what to do about them.

``bytelyst_sync.inspection.doctor`` has the checks. Nothing is changed.
"""

from __future__ import annotations

from itertools import chain

import click
from rich.table import Table
from rich.text import Text

from bytelyst_sync.cli.codes import ExitCode
from bytelyst_sync.cli.group import root, verb
from bytelyst_sync.cli.options import ENTITY, CliContext, object_argument
from bytelyst_sync.cli.show import Screen
from bytelyst_sync.errors import ConfigError, UnknownEntityError
from bytelyst_sync.inspection.doctor import examine
from bytelyst_sync.inspection.doctor_context import DoctorContext, Finding, Level
from bytelyst_sync.inspection.text import clean, count_of
from bytelyst_sync.inspection.trial import try_writes

__all__: list[str] = []

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@verb(root, name="doctor", short_help="Look for faults, and say what to do about them.")
@click.option("--no-network", is_flag=True, help="Only what can be checked on this machine.")
@click.option(
    "--write-trial",
    is_flag=True,
    help="Also create, change and delete records of its own at the server.",
)
@click.option(
    "--trial-entity",
    "names",
    type=ENTITY,
    multiple=True,
    help="Only this entity; repeatable (default: all).",
)
@click.option("--trial-record", metavar="JSON|-|@FILE", help="The record that is created.")
def _doctor(
    context: CliContext,
    no_network: bool,
    write_trial: bool,
    names: tuple[str, ...],
    trial_record: str | None,
) -> int:
    """Check the settings, the store, the queue, the network and the server's answers.

    Nothing is changed, unless --write-trial is given: then a few records are created at the server,
    read back, changed and deleted, to see whether the mapping fits.
    """
    screen = context.screen
    if (names or trial_record) and not write_trial:
        raise click.UsageError("--trial-entity and --trial-record go with --write-trial")
    if write_trial and no_network:
        raise click.UsageError("--write-trial needs the network: leave out --no-network")
    record = None if trial_record is None else object_argument(trial_record, "the trial's record")
    try:
        settings = context.settings()
        diagnosis = DoctorContext(settings, storage=None if settings.in_file else settings.storage)
    except ConfigError as error:
        diagnosis = DoctorContext(None, error)
    for name in names:
        if diagnosis.config is not None and name not in diagnosis.config.entities:
            known = ", ".join(map(repr, sorted(diagnosis.config.entities)))
            raise UnknownEntityError(f"unknown entity {name!r}; configured are {known}")
    findings: list[Finding] = []
    with diagnosis:
        checks = examine(diagnosis, network=not no_network)
        if write_trial:
            checks = chain(checks, try_writes(diagnosis, names, record))
        for finding in checks:
            findings.append(finding)
            if not screen.json:
                _show(screen, finding)
    fails = sum(each.level is Level.FAIL for each in findings)
    warns = sum(each.level is Level.WARN for each in findings)
    if screen.json:
        screen.document({"ok": not fails, "checks": [each.as_json() for each in findings]})
    else:
        counts = [count_of(fails, "fault")] if fails else []
        counts += [count_of(warns, "warning")] if warns else []
        screen.say(", ".join(counts) or "all is well", None if counts else "green")
    return ExitCode.FAILED if fails else ExitCode.OK


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
