"""Settings, system checks, commands and tests of a Django project."""

import io
import json
import re
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import TestCase, override_settings

from bytelyst_sync import ConfigError, SyncItem
from bytelyst_sync.contrib.django import declarations, deliver_now, get_engine
from bytelyst_sync.contrib.django.engines import new_engine, read_settings
from bytelyst_sync.contrib.django.signals import item_failed, record_changed, status_changed
from bytelyst_sync.testing import Reply, SyncServer
from tests.contrib.django.conftest import NewDatabase
from tests.typed import Eventually

BOUND_S = 20.0


@pytest.fixture
def project(
    sqlite_database: str, server: SyncServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """The settings of a project with one queue, and no pushed models."""
    monkeypatch.setattr(declarations, "_DECLARED", {})
    queue = {
        "BASE_URL": server.url,
        "ENTITIES": {"notes": "/notes"},
        "USING": sqlite_database,
        "PROBE": None,
        "MAX_RETRIES": 0,
    }
    with override_settings(BYTELYST_SYNC={"default": queue}):
        yield queue


def run(command: str, *arguments: str, **options: Any) -> str:
    output = io.StringIO()
    call_command(command, *arguments, stdout=output, **options)
    return output.getvalue()


# --- settings


def test_an_engine_is_made_once_and_again_after_a_change_of_the_settings(
    project: dict[str, Any],
) -> None:
    engine = get_engine()
    assert get_engine() is engine
    with override_settings(BYTELYST_SYNC={"default": {**project, "ACCOUNT": "a"}}):
        assert get_engine() is not engine
        assert get_engine().config.account == "a"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "storage": ({"STORAGE": "app.db"}, r"BYTELYST_SYNC\['default'\]: storage cannot be set here"),
    "unknown": ({"BASE_URI": "x"}, r"BASE_URI is .*LISTEN\. Did you mean BASE_URL\?$"),
    "url": ({"BASE_URL": "nonsense"}, "base_url"),
    "using": ({"USING": "nowhere"}, "using is 'nowhere'; allowed: one of the databases"),
    "lease": (
        {"LEASE": 30},
        r"lease is 30; allowed: seconds, at least request_deadline \+ 10 \(70",
    ),
    "exit": ({"EXIT_TIMEOUT": 1}, "exit_timeout cannot be set here: a worker delivers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(project: dict[str, Any], name: str) -> None:
    changed, message = WRONG[name]
    with (
        override_settings(BYTELYST_SYNC={"default": {**project, **changed}}),
        pytest.raises(ConfigError, match=message),
    ):
        get_engine()


def test_a_misspelt_setting_lists_those_of_a_queue(project: dict[str, Any]) -> None:
    given = {**project, "BASEURL": project["BASE_URL"]}
    del given["BASE_URL"]
    with (
        override_settings(BYTELYST_SYNC={"default": given}),
        pytest.raises(ConfigError, match=r"Did you mean BASE_URL\?") as caught,
    ):
        get_engine()
    listed = re.findall(r"[A-Z_]{4,}", str(caught.value).partition("allowed:")[2])
    assert {"USING", "LEASE", "LISTEN", "ENTITIES"} <= set(listed)
    assert {"STORAGE", "CLOCK", "DURABILITY", "TAKEOVER_AFTER", "EXIT_TIMEOUT"}.isdisjoint(listed)


@pytest.mark.parametrize("name", ["BASE_URL", "ENTITIES"])
def test_a_setting_that_is_needed_says_where(project: dict[str, Any], name: str) -> None:
    given = {key: value for key, value in project.items() if key != name}
    with (
        override_settings(BYTELYST_SYNC={"default": given}),
        pytest.raises(ConfigError) as caught,
    ):
        get_engine()
    assert str(caught.value) == (
        f"BYTELYST_SYNC['default']: {name} is missing and has no default: "
        f'set BYTELYST_SYNC["default"]["{name}"]'
    )
    assert caught.value.field == name.lower()


@override_settings(BYTELYST_SYNC=None)  # type: ignore[untyped-decorator]  # Django has no types
def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="the setting BYTELYST_SYNC is missing"):
        get_engine()


def test_a_queue_that_is_not_there_is_named(project: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no queue 'other'; it has 'default'"):
        get_engine("other")


def test_the_lease_outlasts_a_request(project: dict[str, Any]) -> None:
    assert read_settings("default").lease_s == 70.0
    with override_settings(BYTELYST_SYNC={"default": {**project, "REQUEST_DEADLINE": 5}}):
        assert read_settings("default").lease_s == 15.0


# --- checks


def found_by_checks(**options: Any) -> list[str]:
    return sorted(each.id for each in run_checks(tags=["bytelyst_sync", "database"], **options))


def test_a_sound_project_passes_the_checks(project: dict[str, Any], sqlite_database: str) -> None:
    assert found_by_checks(databases=[sqlite_database]) == []


def test_the_checks_report_what_is_wrong(project: dict[str, Any], sqlite_database: str) -> None:
    with override_settings(BYTELYST_SYNC={"default": {**project, "USING": "nowhere"}}):
        assert found_by_checks() == ["bytelyst_sync.E001"]
    with override_settings(BYTELYST_SYNC={"default": {**project, "USING": "default"}}):
        assert found_by_checks(databases=[]) == ["bytelyst_sync.W003"]

    class Router:
        def allow_migrate(self, db: str, app_label: str, **_: object) -> bool | None:
            return False if app_label == "bytelyst_sync" else None

    with override_settings(DATABASE_ROUTERS=[Router()]):
        assert found_by_checks() == ["bytelyst_sync.E002"]


def test_the_checks_report_a_missing_migration_and_let_it_run(
    project: dict[str, Any], sqlite_database: str, tmp_path: Path
) -> None:
    connections.databases["bare"] = {
        **connections.databases[sqlite_database],
        "NAME": str(tmp_path / "bare.sqlite3"),
    }
    try:
        with override_settings(BYTELYST_SYNC={"default": {**project, "USING": "bare"}}):
            for target in ("zero", "0001"):
                call_command("migrate", "bytelyst_sync", target, database="bare", verbosity=0)
                assert found_by_checks(databases=["bare"]) == ["bytelyst_sync.W004"]
            output = io.StringIO()
            call_command("migrate", database="bare", skip_checks=False, stdout=output)
            assert found_by_checks(databases=["bare"]) == []
    finally:
        connections["bare"].close()
        del connections.databases["bare"]


def test_the_checks_report_a_missing_table(project: dict[str, Any], sqlite_database: str) -> None:
    with connections[sqlite_database].cursor() as cursor:
        cursor.execute("ALTER TABLE bytelyst_sync_links RENAME TO elsewhere")
        try:
            assert found_by_checks(databases=[sqlite_database]) == ["bytelyst_sync.E004"]
        finally:
            cursor.execute("ALTER TABLE elsewhere RENAME TO bytelyst_sync_links")


def test_the_checks_report_a_collation_of_a_language(
    project: dict[str, Any], server_database: str
) -> None:
    quote = connections[server_database].ops.quote_name
    is_postgresql = connections[server_database].vendor == "postgresql"
    column = f"{quote('given')} TYPE text" if is_postgresql else f"{quote('given')} longtext"
    wrong, right = (
        ('COLLATE "default"', 'COLLATE "C"')
        if is_postgresql
        else ("COLLATE utf8mb4_general_ci NOT NULL", "COLLATE utf8mb4_nopad_bin NOT NULL")
    )
    verb = "ALTER COLUMN" if is_postgresql else "MODIFY"
    with (
        override_settings(BYTELYST_SYNC={"default": {**project, "USING": server_database}}),
        connections[server_database].cursor() as cursor,
    ):
        # through a pooler, workers do not hear of pushes
        sound = ["bytelyst_sync.W012"] if server_database == "pgbouncer" else []
        assert found_by_checks(databases=[server_database]) == sound
        cursor.execute(f"ALTER TABLE bytelyst_sync_aliases {verb} {column} {wrong}")
        try:
            assert found_by_checks(databases=[server_database]) == ["bytelyst_sync.E005"]
        finally:
            cursor.execute(f"ALTER TABLE bytelyst_sync_aliases {verb} {column} {right}")


def test_the_checks_report_queued_items_without_a_worker(
    project: dict[str, Any], sqlite_database: str
) -> None:
    get_engine().push("notes", {"id": "1"})
    assert found_by_checks(databases=[sqlite_database]) == ["bytelyst_sync.W011"]
    (found,) = run_checks(tags=["database"], databases=[sqlite_database])
    assert "1 queued, and no worker was ever seen" in found.msg
    assert "manage.py sync_worker default" in found.hint
    read_settings("default").storage.note_deliverer()
    assert found_by_checks(databases=[sqlite_database]) == []
    with connections[sqlite_database].cursor() as cursor:
        cursor.execute("UPDATE bytelyst_sync_leases SET seen = seen - 211")
    (found,) = run_checks(tags=["database"], databases=[sqlite_database])
    assert "no worker was seen for 211" in found.msg


LEVELS = {
    "postgresql": [("serializable", True), ("repeatable read", False), ("read uncommitted", False)],
    "mariadb": [("serializable", True), ("read uncommitted", True), ("repeatable read", False)],
}


@pytest.mark.parametrize("kind", LEVELS)
def test_the_checks_report_the_isolation_of_transactions(
    project: dict[str, Any], new_database: NewDatabase, kind: str
) -> None:
    alias = new_database(kind)
    options = connections.databases[alias]["OPTIONS"]
    with override_settings(BYTELYST_SYNC={"default": {**project, "USING": alias}}):
        for level, is_reported in LEVELS[kind]:
            given = {"isolation_level": level}
            if kind == "postgresql":
                name = level.replace(" ", "\\ ")
                given = {"options": f"-c default_transaction_isolation={name}"}
            connections[alias].close()
            connections[alias].settings_dict["OPTIONS"] = {**options, **given}
            try:
                expected = ["bytelyst_sync.W010"] if is_reported else []
                assert found_by_checks(databases=[alias]) == expected, level
            finally:
                connections[alias].close()
                connections[alias].settings_dict["OPTIONS"] = options


def test_the_migrations_are_up_to_date(sqlite_database: str) -> None:
    call_command("makemigrations", "bytelyst_sync", check=True, dry_run=True, verbosity=0)


# --- commands


def test_status_flush_and_retry(project: dict[str, Any], server: SyncServer) -> None:
    server.script(Reply(422, {"error": "too long"}))
    get_engine().push("notes", {"id": "1"})
    assert run("sync_status").startswith("default: 1 queued, 0 failed, 0 in conflict; no worker")
    with pytest.raises(CommandError, match="need attention: default"):
        run("sync_status", check=True)
    with pytest.raises(CommandError, match="not all was delivered; 0 left, 1 failed"):
        run("sync_flush")
    assert json.loads(run("sync_status", json=True))["failed"] == 1
    assert run("sync_retry") == "1 failed item queued again\n"
    assert run("sync_flush").startswith("all was delivered")
    run("sync_status", check=True)
    assert set(server.records("notes")) == {"1"}


def test_retry_names_ids_that_have_not_failed(project: dict[str, Any], server: SyncServer) -> None:
    server.script(Reply(422, {"error": "too long"}))
    get_engine().push("notes", {"id": "1"})
    get_engine().flush(BOUND_S)
    (item,) = get_engine().failed()
    output = io.StringIO()
    with pytest.raises(CommandError, match="no failed item of queue 'default' has the id other"):
        call_command("sync_retry", item.id, "other", item.id, stdout=output)
    assert output.getvalue() == "1 failed item queued again\n"
    assert not list(get_engine().failed())


def test_a_command_names_a_wrong_queue(project: dict[str, Any]) -> None:
    for command in ("sync_flush", "sync_status", "sync_worker"):
        with pytest.raises(CommandError, match="no queue 'other'"):
            run(command, "other")
    with pytest.raises(CommandError, match="no queue 'other'"):
        run("sync_retry", queue="other")


# --- tests of a project


def test_deliver_now_delivers_within_a_test_case(
    project: dict[str, Any], server: SyncServer, database: str
) -> None:
    """As ``TestCase`` runs a test: in a transaction that is rolled back."""
    queue = {**project, "USING": database}

    class Case(TestCase):
        databases = (database,)

        def test(self) -> None:
            with transaction.atomic(using=database):
                get_engine().push("notes", {"id": "1"})
            result = deliver_now()
            assert result.success, result
            assert result.pushed == 1
            assert get_engine().queue_length == 0
            item = get_engine().push("notes", {"id": "2"})
            assert get_engine().cancel(item)

    with override_settings(BYTELYST_SYNC={"default": queue}):
        result = unittest.TestResult()
        unittest.TestSuite([Case("test")]).run(result)
        assert result.errors == result.failures == []
        assert result.testsRun == 1
        assert get_engine().queue_length == 0
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM bytelyst_sync_receipts")
            assert cursor.fetchone() == (0,)
    assert set(server.records("notes")) == {"1"}


# --- signals


def test_signals_report_what_callbacks_report(
    project: dict[str, Any], server: SyncServer, eventually: Eventually
) -> None:
    server.script(Reply(422, {"error": "too long"}))
    seen: list[tuple[str, str, Any]] = []

    def receive(signal: object, sender: object, queue: str, **values: Any) -> None:
        seen.extend((queue, name, value) for name, value in values.items())

    signals = (record_changed, item_failed, status_changed)
    for signal in signals:
        signal.connect(receive)
    try:
        with new_engine(read_settings("default")) as engine:
            engine.push("notes", {"id": "1"})
            engine.flush(BOUND_S)
            eventually(lambda: {name for _, name, _ in seen} == {"change", "item", "status"})
    finally:
        for signal in signals:
            signal.disconnect(receive)
    assert {queue for queue, _, _ in seen} == {"default"}
    assert [value.record_id for _, name, value in seen if name == "item"] == ["1"]
    with new_engine(read_settings("default")) as quiet:
        quiet.push("notes", {"id": "2"})
        quiet.flush(BOUND_S)
    assert all(value.record_id == "1" for _, name, value in seen if name == "change")


def test_a_receiver_that_is_connected_later_gets_the_signals(
    project: dict[str, Any], server: SyncServer, eventually: Eventually
) -> None:
    server.script(Reply(422, {"error": "too long"}))
    seen = []

    def receive(sender: object, item: SyncItem, **_: object) -> None:
        seen.append(item.record_id)

    with new_engine(read_settings("default")) as engine:
        for _ in range(2):  # Django connects a receiver once
            item_failed.connect(receive)
        try:
            engine.push("notes", {"id": "1"})
            engine.flush(BOUND_S)
            eventually(lambda: seen)
        finally:
            item_failed.disconnect(receive)
        server.script(Reply(422, {"error": "too long"}))
        engine.push("notes", {"id": "2"})
        engine.flush(BOUND_S)
    assert seen == ["1"]
