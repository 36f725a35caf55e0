"""System checks: wrong settings, and databases that cannot hold a queue."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import connections, router, transaction
from django.db.migrations.loader import MigrationLoader

from bytelyst_sync.contrib.django.database import vendor_of
from bytelyst_sync.contrib.django.engines import SETTING, QueueSettings, queue_names, read_settings
from bytelyst_sync.contrib.django.models import MODELS
from bytelyst_sync.contrib.django.queue_report import queue_report
from bytelyst_sync.errors import ConfigError, SyncError

__all__ = ["check_databases", "check_settings"]

_APP = "bytelyst_sync"


def check_settings(**_: Any) -> list[CheckMessage]:
    """The setting ``BYTELYST_SYNC``, and the databases that it names."""
    try:
        names = queue_names()
    except ConfigError as error:
        return [Error(str(error), id=f"{_APP}.E001")]
    found: list[CheckMessage] = []
    for name in names:
        found += _check_queue(name)
    return found


def _check_queue(name: str) -> list[CheckMessage]:
    try:
        settings = read_settings(name)
        vendor_of(connections[settings.using])
    except ConfigError as error:
        return [Error(str(error), id=f"{_APP}.E001")]
    return list(_check_alias(settings))


def _check_alias(settings: QueueSettings) -> Iterable[CheckMessage]:
    using, place = settings.using, f"{SETTING}[{settings.name!r}]"
    if not router.allow_migrate(using, _APP):
        yield Error(
            f"{place}: a database router keeps the tables of {_APP!r} out of database {using!r}",
            hint=f"let allow_migrate({using!r}, {_APP!r}) return True or None",
            id=f"{_APP}.E002",
        )
    options = connections[using].settings_dict["OPTIONS"]
    if connections[using].vendor == "sqlite" and options.get("transaction_mode") != "IMMEDIATE":
        yield CheckWarning(
            f"{place}: database {using!r} is SQLite with deferred transactions; one that reads"
            " before it pushes may fail with 'database is locked'",
            hint='set OPTIONS["transaction_mode"] to "IMMEDIATE"',
            id=f"{_APP}.W003",
        )


def check_databases(databases: Iterable[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The tables of each queue, the isolation of transactions, whether a worker runs, and whether
    workers hear of pushes; run by ``migrate`` and by ``check --database``.
    """
    found: list[CheckMessage] = []
    for alias in databases or ():
        if queues := _queues_in(alias):
            tables = list(_check_tables(alias))
            found += tables or [
                *_check_isolation(alias),
                *_check_workers(queues),
                *_check_wake_ups(queues),
            ]
    return found


def _queues_in(alias: str) -> list[str]:
    try:
        return [name for name in queue_names() if read_settings(name).using == alias]
    except ConfigError:
        return []  # the other check reports it


def _check_isolation(alias: str) -> Iterable[CheckMessage]:
    """The isolation level of the application's transactions; the queue's own set theirs."""
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return
    asked = "SHOW transaction_isolation"
    if connection.vendor == "mysql":  # versions of MariaDB differ in the name
        asked = (
            "SHOW SESSION VARIABLES"
            " WHERE variable_name IN ('tx_isolation', 'transaction_isolation')"
        )
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        cursor.execute(asked)
        level = str(cursor.fetchone()[-1]).replace("-", " ").lower()
    reasons = {
        "serializable": "one that reads a queue may fail whenever a worker changes it",
        "read uncommitted": "reads of a queue may show pushes that are not committed",
    }
    if level in reasons and not (connection.vendor == "postgresql" and level != "serializable"):
        yield CheckWarning(
            f"transactions of database {alias!r} are {level.upper()}: {reasons[level]}",
            hint="use READ COMMITTED or REPEATABLE READ for this alias, or give the queue another"
            " one with USING",
            id=f"{_APP}.W010",
        )


def _check_workers(queues: Iterable[str]) -> Iterable[CheckMessage]:
    for name in queues:
        try:
            report = queue_report(name)
        except SyncError:
            continue  # not migrated yet
        if report["stuck"]:
            seen_s = report["worker_seen_s"]
            since = "was ever seen" if seen_s is None else f"was seen for {seen_s:g} s"
            yield CheckWarning(
                f"{SETTING}[{name!r}]: {report['queued']} queued, and no worker {since}",
                hint=f"start `manage.py sync_worker {name}`, or restart it",
                id=f"{_APP}.W011",
            )


def _check_tables(alias: str) -> Iterable[CheckMessage]:
    connection = connections[alias]
    loader = MigrationLoader(connection)
    there_are = {name for app, name in loader.disk_migrations if app == _APP}
    applied = {name for app, name in loader.applied_migrations if app == _APP}
    if left := sorted(there_are - applied):
        # no error: that would keep ``migrate`` itself from running
        yield CheckWarning(
            f"database {alias!r} lacks migrations of {_APP}: {', '.join(left)}",
            hint=f"run `manage.py migrate --database {alias}`",
            id=f"{_APP}.W004",
        )
        return
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
        wanted = {f"bytelyst_sync_{name}" for name in (*MODELS, "queues", "leases")}
        if missing := sorted(wanted - there):
            yield Error(
                f"database {alias!r} lacks tables of the queue: {', '.join(missing)}",
                hint="their migrations are applied, so somebody dropped them: restore a backup, or"
                f" run `manage.py migrate {_APP} zero --fake` and `migrate` if the queue is empty",
                id=f"{_APP}.E004",
            )
        elif wrong := _wrong_collations(connection, cursor):
            yield Error(
                f"database {alias!r} compares texts of the queue by rules of a language:"
                f" {', '.join(wrong)}",
                hint="give these columns the collation that the migrations of the queue chose",
                id=f"{_APP}.E005",
            )


def _check_wake_ups(queues: Iterable[str]) -> Iterable[CheckMessage]:
    for name in queues:
        with closing(read_settings(name).storage) as storage:
            why = storage.find_listen_problem()
        if why is not None:
            yield CheckWarning(
                f"{SETTING}[{name!r}]: workers do not hear of pushes, and look every second: {why}",
                hint=(
                    "set LISTEN to an alias or a connection string that leads to the same"
                    " PostgreSQL past any connection pooler"
                ),
                id=f"{_APP}.W012",
            )


def _wrong_collations(connection: Any, cursor: Any) -> list[str]:
    """Columns whose collation is not the one that the migrations set."""
    if connection.vendor == "sqlite":
        return []
    right = "C" if connection.vendor == "postgresql" else "utf8mb4_nopad_bin"
    schema = "current_schema()" if connection.vendor == "postgresql" else "database()"
    cursor.execute(
        "SELECT table_name, column_name FROM information_schema.columns"  # noqa: S608
        f" WHERE table_schema = {schema} AND table_name LIKE 'bytelyst_sync_%%'"
        " AND data_type IN ('text', 'longtext', 'varchar')"
        " AND (collation_name IS NULL OR collation_name <> %s)",
        [right],
    )
    return sorted(f"{table}.{column}" for table, column in cursor.fetchall())


register(check_settings, _APP)
register(check_databases, Tags.database)
