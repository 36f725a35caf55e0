"""Settings: what each takes, what is said of a wrong value, and where they come from."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from requests import PreparedRequest

from bytelyst_sync import (
    ConfigError,
    ConflictStrategy,
    Dialect,
    EntityConfig,
    MemoryStorage,
    RemoteCommands,
    Request,
    Response,
    SyncConfig,
    TcpProbe,
    create_sync_engine,
)
from bytelyst_sync.model import Json
from bytelyst_sync.testing import ManualClock

REQUIRED: Json = {
    "base_url": "https://api.example.com",
    "entities": {"notes": "/notes"},
    "storage": ":memory:",
}


def config(**settings: Any) -> SyncConfig:
    return SyncConfig(**{**REQUIRED, **settings})


def entity(**settings: Any) -> EntityConfig:
    return EntityConfig(settings.pop("endpoint", "/notes"), **settings)


def call(*arguments: object) -> Any:
    return None


class Sends:
    def send(self, request: Request) -> Response:
        raise AssertionError(request)


class RequestsAuth:
    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request


CALLABLE_TOKEN, AUTH, SENDS, STORE = call, RequestsAuth(), Sends(), MemoryStorage()
CLOCK = ManualClock()
PROBE = TcpProbe("api.example.com", 443)
MERGE = ConflictStrategy.MERGE

DEFAULTS: Json = {
    "auth": None,
    "headers": {},
    "timeout": (3.05, 30.0),
    "max_retries": 5,
    "retry_delay": 1.0,
    "max_retry_delay": 300.0,
    "workers": 1,
    "batch_size": 100,
    "max_queue_length": None,
    "auto_flush": True,
    "pull_interval": None,
    "probe": "auto",
    "probe_interval": 15.0,
    "conflict": "server-wins",
    "on_conflict": None,
    "dialect": Dialect.rest(),
    "durability": "full",
    "exit_timeout": 2.0,
    "telemetry": None,
    "session_factory": None,
    "transport": None,
    "clock": None,
    "account": None,
    "order": "record",
    "max_vanish": 0.5,
    "give_up_after": 86400.0,
    "takeover_after": 60.0,
    "heartbeat": None,
    "heartbeat_interval": 300.0,
    "remote_commands": None,
    "request_deadline": 60.0,
    "schema_version": 1,
    "migrate": None,
    "json_default": None,
}
ENTITY_DEFAULTS: Json = {
    "conflict": None,
    "on_conflict": None,
    "id_field": "id",
    "id_source": "client",
    "dedup": "id",
    "references": {},
    "replica": True,
    "indexes": (),
    "params": {},
    "page_size": None,
    "dialect": None,
    "reconcile_interval": None,
}


def test_the_defaults() -> None:
    assert {field: getattr(config(), field) for field in DEFAULTS} == DEFAULTS


def test_an_entitys_defaults() -> None:
    assert {field: getattr(entity(), field) for field in ENTITY_DEFAULTS} == ENTITY_DEFAULTS


def test_there_are_no_other_fields() -> None:
    assert {field.name for field in attrs.fields(SyncConfig)} == {*REQUIRED, *DEFAULTS}
    assert {field.name for field in attrs.fields(EntityConfig)} == {"endpoint", *ENTITY_DEFAULTS}


@pytest.mark.parametrize("field", REQUIRED)
def test_what_has_no_default_must_be_given(field: str) -> None:
    settings: Json = {name: value for name, value in REQUIRED.items() if name != field}
    with pytest.raises(TypeError, match=field):
        SyncConfig(**settings)


GOOD: Json = {
    # of each field: what is given, and what is kept
    "base_url": [
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://[::1]:8443/api/v2/", "https://[::1]:8443/api/v2/"),
    ],
    "entities": [({"notes": "/notes"}, {"notes": EntityConfig("/notes")})],
    "storage": [("app.db", "app.db"), (Path("app.db"), Path("app.db")), (STORE, STORE)],
    "auth": [
        (None, None),
        (("ann", "pw"), ("ann", "pw")),
        (AUTH, AUTH),
        (CALLABLE_TOKEN, CALLABLE_TOKEN),
    ],
    "headers": [({"X-Tenant": "7"}, {"X-Tenant": "7"})],
    "timeout": [(5, (5.0, 5.0)), ((1, 2.5), (1.0, 2.5)), ([1, 2], (1.0, 2.0))],
    "max_retries": [(0, 0), (100, 100)],
    "retry_delay": [(0.01, 0.01), (300, 300)],
    "max_retry_delay": [(1, 1), (3600.5, 3600.5)],
    "workers": [(1, 1), (16, 16)],
    "batch_size": [(1, 1), (1000, 1000)],
    "max_queue_length": [(None, None), (1, 1), (10**6, 10**6)],
    "auto_flush": [(False, False)],
    "pull_interval": [(None, None), (0.5, 0.5)],
    "probe": [("auto", "auto"), (None, None), (PROBE, PROBE), (call, call)],
    "probe_interval": [(0.1, 0.1), (60, 60)],
    "conflict": [(each, each) for each in ConflictStrategy]
    + [(each.value, each) for each in ConflictStrategy],
    "on_conflict": [(None, None), (call, call)],
    "dialect": [(Dialect(items=""), Dialect(items=""))],
    "durability": [("full", "full"), ("normal", "normal")],
    "exit_timeout": [(0, 0), (30.0, 30.0)],
    "telemetry": [(call, call)],
    "session_factory": [(call, call)],
    "transport": [(SENDS, SENDS)],
    "clock": [(None, None), (CLOCK, CLOCK)],
    "account": [(None, None), ("ann@example.com", "ann@example.com")],
    "order": [("strict", "strict")],
    "max_vanish": [(0, 0), (1.0, 1.0)],
    "give_up_after": [(0.5, 0.5)],
    "takeover_after": [(2, 2)],
    "heartbeat": [(None, None), ("notes", "notes")],
    "heartbeat_interval": [(0.5, 0.5), (60, 60)],
    "remote_commands": [
        (None, None),
        (RemoteCommands("notes", call), RemoteCommands("notes", call, ("flush", "retry"))),
        ({"entity": "notes", "key": call}, RemoteCommands("notes", call)),
    ],
    "request_deadline": [(5.0, 5.0)],
    "schema_version": [(7, 7)],
    "migrate": [(call, call)],
    "json_default": [(str, str)],
}
ENTITY_GOOD: Json = {
    "endpoint": [
        ("/notes", "/notes"),
        ("notes", "notes"),
        ("/v1/my/notes/", "/v1/my/notes/"),
        ("/notes:mine", "/notes:mine"),
    ],
    "conflict": [(None, None), ("merge", MERGE), (MERGE, MERGE)],
    "on_conflict": [(call, call)],
    "id_field": [("uid", "uid"), ("_id", "_id")],
    "id_source": [("client", "client"), ("server", "server")],
    "dedup": [("id", "id"), ("content", "content"), ("none", "none")],
    "references": [({"project_id": "projects"}, {"project_id": "projects"})],
    "replica": [(False, False)],
    "indexes": [
        (("project_id",), ("project_id",)),
        (["project_id", "done"], ("project_id", "done")),
        ("project_id", ("project_id",)),
    ],
    "params": [({"mine": True, "tag": ["a", "b"]}, {"mine": True, "tag": ["a", "b"]})],
    "page_size": [(None, None), (1, 1), (500, 500)],
    "dialect": [(Dialect(items=""), Dialect(items=""))],
    "reconcile_interval": [(None, None), (3600, 3600), (0.5, 0.5)],
}


def named(field: str, value: str) -> str:
    """An id that is the same in every run: an object's address is not."""
    kinds = (str, bytes, int, float, bool, type(None), tuple, list, dict)
    return (
        f"{field}={value!r:.40}" if isinstance(value, kinds) else f"{field}={type(value).__name__}"
    )


def rows(table: dict[str, list[tuple[str, Any]]]) -> list[pytest.ParameterSet]:
    return [
        pytest.param(field, *row, id=named(field, row[0]))
        for field, each in table.items()
        for row in each
    ]


@pytest.mark.parametrize("field", GOOD)
def test_good_values(field: str) -> None:
    for given, kept in GOOD[field]:
        assert (given, getattr(config(**{field: given}), field)) == (given, kept)


@pytest.mark.parametrize("field", ENTITY_GOOD)
def test_good_values_of_an_entity(field: str) -> None:
    for given, kept in ENTITY_GOOD[field]:
        assert (given, getattr(entity(**{field: given}), field)) == (given, kept)


def test_every_field_has_good_values() -> None:
    assert set(GOOD) == {*REQUIRED, *DEFAULTS}
    assert set(ENTITY_GOOD) == {"endpoint", *ENTITY_DEFAULTS}


NOT_NUMBERS = ["5", None, True, float("nan"), float("inf"), [5]]
WRONG: Json = {
    # field: (values, what the message says is allowed)
    "base_url": (
        [
            "",
            "api.example.com",
            "ftp://api.example.com",
            "https://",
            "https://api.example.com?a=b",
            "https://api.example.com#a",
            " https://api.example.com",
            "https://api.example.com:0",
            "https://api.example.com:port",
            "https://[::1",
            "https://api example.com",
            "https://api<1>.example.com",
            "https://api\\.example.com",
            "https://api.exam\nple.com",
            None,
            7,
            b"https://api.example.com",
        ],
        '"https://api.example.com"',
    ),
    "entities": (
        [None, {}, [], "notes", ["notes"], {"": "/notes"}, {7: "/notes"}, {"a\nb": "/notes"}],
        "",
    ),
    "storage": ([None, "", 7, object(), b""], '":memory:"'),
    "auth": (["token", 7, ("ann",), ("ann", "pw", "x"), {"user": "ann"}], "(user, password)"),
    "headers": ([None, "X: y", {"X": 7}, {7: "x"}, {"X": "a\r\nY: b"}, {"X\n": "a"}], ""),
    "timeout": (
        ["5", None, 0, -1, True, (1,), (1, 2, 3), (1, 0), (1, None), float("nan"), float("inf")],
        "seconds above 0, as a number or (connect, read)",
    ),
    "max_retries": ([*NOT_NUMBERS, -1, 1.5], "a whole number from 0"),
    "retry_delay": ([*NOT_NUMBERS, 0, -1, 10**400], "a number above 0"),
    "max_retry_delay": ([*NOT_NUMBERS, 0, -1], "a number above 0"),
    "workers": ([*NOT_NUMBERS, 0, -1, 1.5, 257], "a whole number from 1 to 256"),
    "batch_size": ([*NOT_NUMBERS, 0, 1.5, 10_001], "a whole number from 1 to 10000"),
    "max_queue_length": (["5", True, 0, -1, 1.5], "a whole number from 1, or None"),
    "auto_flush": ([None, 0, 1, "yes"], "True or False"),
    "pull_interval": (["5", True, 0, -1, float("nan")], "a number above 0, or None"),
    "probe": (["tcp", "", True, 7, ("host", 80)], '"auto", TcpProbe'),
    "probe_interval": ([*NOT_NUMBERS, 0, -1], "a number above 0"),
    "conflict": (["client", "SERVER-WINS", "", 7, []], "'last-write-wins'"),
    "on_conflict": (["merge", 7], "a callable, or None"),
    "dialect": (["rest", 7, {}, None, Dialect], "a Dialect"),
    "durability": (["", "FULL", None, "off", True], "'full', 'normal'"),
    "exit_timeout": ([*NOT_NUMBERS, -1], "a number from 0"),
    "telemetry": (["x", 7], "a callable, or None"),
    "session_factory": (["x", 7], "a callable, or None"),
    "transport": (["http", 7, object(), call], "an object with a send(request) method, or None"),
    "clock": (["now", 7, object(), call], "an object with wall() and monotonic(), or None"),
    "account": (["", "a\nb", "a" * 256, 7, b"ann"], "a printable name"),
    "order": (["", "fifo", None, True], "'record', 'strict'"),
    "max_vanish": ([*NOT_NUMBERS, -0.1, 1.1], "a number from 0 to 1"),
    "give_up_after": ([*NOT_NUMBERS, 0, -1], "a number above 0"),
    "takeover_after": ([*NOT_NUMBERS, 0, -1], "a number above 0"),
    "heartbeat": (["", "x", 7, True], "one of the entities 'notes'"),
    "heartbeat_interval": ([*NOT_NUMBERS, 0, -1], "a number above 0"),
    "remote_commands": (["flush", 7, True, RemoteCommands], "RemoteCommands"),
    "request_deadline": ([*NOT_NUMBERS, 0, -1], "a number above 0"),
    "schema_version": ([*NOT_NUMBERS, 0, 1.5], "a whole number from 1"),
    "migrate": (["x", 7], "a callable, or None"),
    "json_default": (["x", 7], "a callable, or None"),
}
ENTITY_WRONG: Json = {
    "endpoint": (
        [
            "",
            "/",
            "//",
            "/notes?a=b",
            "/notes#a",
            "/my notes",
            "/notes\r\n",
            None,
            7,
            "https://elsewhere.example.com/notes",
            "mailto:notes",
            "//elsewhere.example.com/notes",
            "../notes",
            "/v1/../../notes",
        ],
        '"/notes"',
    ),
    "conflict": (["client", 7], "'server-wins'"),
    "on_conflict": (["merge", 7], "a callable, or None"),
    "id_field": (["", None, 7], "the name of a field"),
    "id_source": (["", None, "Server", "both"], "'client', 'server'"),
    "dedup": (["", None, "ids", True], "'id', 'content', 'none'"),
    "references": ([None, "projects", ["projects"], {7: "x"}, {"x": None}], "a dict of strings"),
    "replica": ([None, 1, "no"], "True or False"),
    "indexes": ([None, 7, (7,), ("a", "a"), ("",), {"a": 1}], "names of fields"),
    "params": ([None, "a=b", [("a", "b")], {7: "x"}], "a dict"),
    "page_size": ([0, -1, 1.5, "5", True], "a whole number from 1, or None"),
    "dialect": (["rest", 7, {}, Dialect], "a Dialect"),
    "reconcile_interval": ([0, -1, "5", True, float("inf")], "a number above 0, or None"),
}


def check_error(
    make: Callable[..., SyncConfig | EntityConfig], field: str, value: object, allowed: str
) -> None:
    try:
        make(**{field: value})
    except ConfigError as caught:
        error = caught
    else:
        pytest.fail(f"{field}={value!r} was accepted", pytrace=False)
    assert error.field == field
    message = str(error)
    assert message.startswith(f"{field} is ")
    shown, _, said = message.partition("; allowed: ")
    assert allowed in said
    assert said
    if field not in ("base_url", "entities", "auth", "headers"):  # may hold secrets, or be long
        assert shown == f"{field} is {value!r}"


@pytest.mark.parametrize("field", WRONG)
def test_wrong_values_name_the_field_the_value_and_what_is_allowed(field: str) -> None:
    values, allowed = WRONG[field]
    for value in values:
        check_error(config, field, value, allowed)


@pytest.mark.parametrize("field", ENTITY_WRONG)
def test_wrong_values_of_an_entity(field: str) -> None:
    values, allowed = ENTITY_WRONG[field]
    for value in values:
        check_error(entity, field, value, allowed)


def test_every_field_has_wrong_values() -> None:
    assert set(WRONG) == {*REQUIRED, *DEFAULTS}
    assert set(ENTITY_WRONG) == {"endpoint", *ENTITY_DEFAULTS}


@pytest.mark.parametrize(
    ("field", "value"),
    [("workers", 0), ("retry_delay", -1), ("durability", "off"), ("storage", 7)],
)
def test_the_wrong_value_is_shown_and_kept(field: str, value: int | str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{field} is {value!r};")) as caught:
        config(**{field: value})
    assert caught.value.value == value


def test_the_first_delay_is_at_most_the_longest() -> None:
    assert config(retry_delay=5.0, max_retry_delay=5.0).retry_delay == 5.0
    with pytest.raises(ConfigError, match=r"retry_delay is 6.0; .* max_retry_delay \(5\)"):
        config(retry_delay=6.0, max_retry_delay=5.0)


def test_a_path_with_an_account_needs_an_account() -> None:
    assert config(storage="{account}.db", account="ann").account == "ann"
    for path in ("{account}.db", Path("data/{account}/app.db")):
        with pytest.raises(ConfigError, match=r"account is None; allowed: a name, .*\{account\}"):
            config(storage=path)


def test_settings_are_keywords_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        SyncConfig("https://api.example.com", {"notes": "/notes"}, ":memory:")  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(TypeError, match="positional"):
        EntityConfig("/notes", "merge")  # type: ignore[call-arg]  # wrong on purpose


@pytest.mark.parametrize("value", [config(), entity()], ids=["engine", "entity"])
def test_settings_are_frozen(value: SyncConfig | EntityConfig) -> None:
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)


def test_the_callers_dicts_are_not_aliased() -> None:
    entities, given = {"notes": "/notes"}, {"a": "notes"}
    made = config(entities=entities, headers=given)
    one = entity(references=given, params=given)
    entities["tasks"] = "/tasks"
    given["b"] = "notes"
    assert list(made.entities) == ["notes"]
    assert made.headers == one.references == one.params == {"a": "notes"}


# --- entities


def test_an_entity_is_an_endpoint_a_config_or_a_mapping() -> None:
    made = config(
        entities={
            "notes": "/notes",
            "tasks": EntityConfig("/tasks", conflict="merge"),
            "people": {"endpoint": "/people", "id_source": "server", "dialect": {"items": ""}},
        }
    )
    assert made.entities == {
        "notes": EntityConfig("/notes"),
        "tasks": EntityConfig("/tasks", conflict="merge"),
        "people": EntityConfig("/people", id_source="server", dialect=Dialect(items="")),
    }


ENTITY_MISTAKES = {
    "an unknown field": (
        {"notes": {"endpoint": "/notes", "dedupe": "id"}},
        r"entities\['notes'\].dedupe is .*; allowed: .*dedup",
    ),
    "no endpoint": (
        {"notes": {"dedup": "id"}},
        r"entities\['notes'\].endpoint is None; allowed: a path",
    ),
    "no entity": ({"notes": 7}, r"entities\['notes'\] is 7; allowed: an endpoint"),
    "a wrong endpoint": ({"notes": ""}, "endpoint is ''; allowed: a path"),
    "a reference to no entity": (
        {"notes": EntityConfig("/notes", references={"project_id": "projects"})},
        r"entities\['notes'\].references\['project_id'\] is 'projects'; .*the entities 'notes'",
    ),
}


@pytest.mark.parametrize(
    ("entities", "message"), ENTITY_MISTAKES.values(), ids=list(ENTITY_MISTAKES)
)
def test_a_mistake_in_the_entities(entities: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(entities=entities)


def test_a_record_may_refer_to_its_own_kind() -> None:
    made = config(entities={"notes": EntityConfig("/notes", references={"parent": "notes"})})
    assert made.entities["notes"].references == {"parent": "notes"}


# --- no secret is shown

SECRETS = {
    "a password": {"auth": ("ann", "s3cret")},
    "a header": {"headers": {"Authorization": "Bearer s3cret"}},
    "an entity's parameter": {
        "entities": {"notes": EntityConfig("/notes", params={"api_key": "s3cret"})}
    },
    "a dialect's header": {"dialect": Dialect(headers={"X-Api-Key": "s3cret"})},
    "a dialect's query": {"dialect": Dialect(query={"api_key": "s3cret"})},
    "a dialect's extra member": {"dialect": Dialect(extra={"api_key": "s3cret"})},
    "an entity's dialect": {
        "entities": {
            "notes": EntityConfig("/notes", dialect=Dialect(headers={"X-Api-Key": "s3cret"}))
        }
    },
}


@pytest.mark.parametrize("settings", SECRETS.values(), ids=list(SECRETS))
def test_the_repr_shows_no_secret(settings: dict[str, Any]) -> None:
    assert "s3cret" not in repr(config(**settings))
    assert "s3cret" not in str(config(**settings))


def test_the_repr_shows_whether_there_is_one() -> None:
    assert "auth=None" in repr(config())
    assert "auth='***'" in repr(config(auth=("ann", "pw")))
    assert "headers=['X-Tenant']" in repr(config(headers={"X-Tenant": "7"}))
    assert "https://api.example.com" in repr(config())


WRONG_SECRETS = {
    "a URL with a password": {"base_url": "https://ann:s3cret@api.example.com"},
    "a URL with a query": {"base_url": "https://api.example.com?key=s3cret"},
    "a token as it is": {"auth": "s3cret"},
    "too much of a pair": {"auth": ("ann", "s3cret", "x")},
    "headers as a text": {"headers": "Authorization: Bearer s3cret"},
    "a header of bytes": {"headers": {"Authorization": b"Bearer s3cret"}},
    "a header with a line break": {"headers": {"Authorization": "Bearer s3cret\n"}},
}


@pytest.mark.parametrize("settings", WRONG_SECRETS.values(), ids=list(WRONG_SECRETS))
def test_an_error_shows_no_secret(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**settings)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value)
    assert "s3cret" not in repr(caught.value.value)


# --- from a mapping


def test_from_a_mapping_with_names_in_either_case() -> None:
    made = SyncConfig.from_mapping(
        {
            "BASE_URL": "https://api.example.com",
            "Entities": {"notes": "/notes"},
            "storage": "app.db",
            "WORKERS": 4,
            "CONFLICT": "merge",
        }
    )
    assert made == config(storage="app.db", workers=4, conflict="merge")


DIALECTS = {
    "a preset by name": ("rest", Dialect.rest()),
    "fields": ({"items": "", "next_page": "rel:next"}, Dialect(items="", next_page="rel:next")),
    "a preset and fields": ({"preset": "rest", "items": ""}, Dialect(items="")),
    "a dialect": (Dialect(items=""), Dialect(items="")),
}


@pytest.mark.parametrize(("given", "made"), DIALECTS.values(), ids=list(DIALECTS))
def test_a_dialect_from_a_mapping(given: str | Json | Dialect, made: Dialect) -> None:
    assert SyncConfig.from_mapping({**REQUIRED, "dialect": given}).dialect == made
    entities = {"notes": {"endpoint": "/notes", "dialect": given}}
    from_entity = SyncConfig.from_mapping({**REQUIRED, "entities": entities})
    assert from_entity.entities["notes"].dialect == made


MAPPING_MISTAKES = {
    "an unknown setting": ({**REQUIRED, "worker": 1}, "worker is .*; allowed: .*workers"),
    "no base_url": ({**REQUIRED, "base_url": None}, "base_url is None; allowed: an http or https"),
    "an unknown preset": ({**REQUIRED, "dialect": "soap"}, "dialect is 'soap'; allowed: 'rest'"),
    "an unknown field of a dialect": (
        {**REQUIRED, "dialect": {"itmes": ""}},
        "Dialect.itmes is ''; allowed: the fields .*items",
    ),
    "a wrong value": ({**REQUIRED, "workers": "4"}, "workers is '4'; allowed: a whole number"),
}


@pytest.mark.parametrize(
    ("mapping", "message"), MAPPING_MISTAKES.values(), ids=list(MAPPING_MISTAKES)
)
def test_a_mistake_in_a_mapping(mapping: Json, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SyncConfig.from_mapping(mapping)


@pytest.mark.parametrize("field", REQUIRED)
def test_what_is_missing_in_a_mapping(field: str) -> None:
    mapping = {name: value for name, value in REQUIRED.items() if name != field}
    message = f"{field} is missing and has no default: .* {field}=….* BYTELYST_SYNC_{field.upper()}"
    with pytest.raises(ConfigError, match=message) as caught:
        SyncConfig.from_mapping(mapping)
    assert caught.value.field == field


# --- from the environment

ENVIRONMENT = {
    "BYTELYST_SYNC_BASE_URL": "https://env.example.com",
    "BYTELYST_SYNC_ENTITIES": "notes=/notes, tasks=/tasks",
    "BYTELYST_SYNC_STORAGE": "env.db",
}


def from_env(more: Json | None = None, **arguments: Any) -> SyncConfig:
    given = {f"BYTELYST_SYNC_{name}": text for name, text in (more or {}).items()}
    return SyncConfig.from_env({**ENVIRONMENT, **given}, **arguments)


def test_from_the_environment() -> None:
    assert from_env() == SyncConfig(
        base_url="https://env.example.com",
        entities={"notes": "/notes", "tasks": "/tasks"},
        storage="env.db",
    )


READ: Json = {
    # of each variable: its text, and the value read from it
    "ENTITIES": [
        ('{"notes": {"endpoint": "/n"}}', {"notes": EntityConfig("/n")}),
        ("notes=/n", {"notes": EntityConfig("/n")}),
    ],
    "AUTH": [("ann:s3:cret", ("ann", "s3:cret"))],
    "HEADERS": [('{"X-Tenant": "7"}', {"X-Tenant": "7"})],
    "TIMEOUT": [("5", (5.0, 5.0)), ("3.05, 27", (3.05, 27.0))],
    "MAX_RETRIES": [("7", 7)],
    "RETRY_DELAY": [("0.5", 0.5)],
    "MAX_RETRY_DELAY": [("60", 60.0)],
    "WORKERS": [(" 4 ", 4)],
    "BATCH_SIZE": [("10", 10)],
    "MAX_QUEUE_LENGTH": [("1000", 1000), ("none", None)],
    "AUTO_FLUSH": [
        ("0", False),
        ("false", False),
        ("No", False),
        ("OFF", False),
        ("1", True),
        ("True", True),
        ("yes", True),
        ("on", True),
    ],
    "PULL_INTERVAL": [("60", 60.0), ("None", None)],
    "PROBE": [("auto", "auto"), ("none", None)],
    "PROBE_INTERVAL": [("5", 5.0)],
    "CONFLICT": [("merge", MERGE)],
    "DIALECT": [("rest", Dialect.rest()), ('{"items": ""}', Dialect(items=""))],
    "DURABILITY": [("normal", "normal")],
    "EXIT_TIMEOUT": [("0", 0.0)],
    "ACCOUNT": [("ann@example.com", "ann@example.com"), ("none", None)],
    "ORDER": [("strict", "strict")],
    "MAX_VANISH": [("1", 1.0)],
    "GIVE_UP_AFTER": [("3600", 3600.0)],
    "TAKEOVER_AFTER": [("30", 30.0)],
    "REQUEST_DEADLINE": [("20", 20.0)],
    "SCHEMA_VERSION": [("2", 2)],
}


@pytest.mark.parametrize(("variable", "text", "value"), rows(READ))
def test_a_variable(variable: str, text: str, value: object) -> None:
    assert getattr(from_env({variable: text}), variable.lower()) == value


def test_a_bearer_token_of_the_environment() -> None:
    made = from_env({"AUTH": "Bearer s3cret"})
    assert cast("Callable[[], str]", made.auth)() == "s3cret"
    assert "s3cret" not in repr(made)


def test_an_argument_goes_before_the_environment_it_before_the_default() -> None:
    more = {"WORKERS": "4", "CONFLICT": "merge"}
    made = from_env(more, workers=2, base_url="https://argument.example.com")
    assert made.workers == 2
    assert made.base_url == "https://argument.example.com"
    assert made.conflict is MERGE
    assert made.storage == "env.db"
    assert made.batch_size == 100


def test_an_argument_of_none_goes_before_the_environment() -> None:
    assert from_env({"AUTH": "ann:pw"}, auth=None).auth is None


def test_an_argument_saves_from_a_variable_that_cannot_be_read() -> None:
    assert from_env({"WORKERS": "many"}, workers=2).workers == 2


def test_an_empty_variable_counts_as_not_set() -> None:
    assert from_env({"WORKERS": "", "AUTH": "  "}) == from_env()


def test_other_variables_are_left_alone() -> None:
    others = {"PATH": "/bin", "BYTELYST_OTHER": "x"}
    assert SyncConfig.from_env({**ENVIRONMENT, **others}) == from_env()


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("BYTELYST_SYNC_")]:
        monkeypatch.delenv(variable)
    for variable, text in ENVIRONMENT.items():
        monkeypatch.setenv(variable, text)
    assert SyncConfig.from_env() == from_env()


UNREADABLE = {
    # variable, text, the message
    "no number": ("WORKERS", "many", "BYTELYST_SYNC_WORKERS is 'many'; .* as workers"),
    "no flag": ("AUTO_FLUSH", "maybe", "AUTO_FLUSH is 'maybe'; .*write true or false"),
    "no timeout": ("TIMEOUT", "1,x", "BYTELYST_SYNC_TIMEOUT is '1,x'"),
    "no entities": ("ENTITIES", "notes", "BYTELYST_SYNC_ENTITIES is 'notes'; .*name=/endpoint"),
    "no JSON": ("ENTITIES", "{notes}", "BYTELYST_SYNC_ENTITIES is '{notes}'"),
    "a wrong value": ("WORKERS", "0", "workers is 0; allowed: a whole number from 1"),
    "no finite number": ("RETRY_DELAY", "nan", "retry_delay is nan; allowed: a number above 0"),
    "three times": ("TIMEOUT", "1,2,3", "timeout is .*; allowed: seconds above 0"),
    "an unknown strategy": ("CONFLICT", "mine", "conflict is 'mine'; allowed: 'server-wins'"),
    "an unknown name": ("WORKER", "1", "BYTELYST_SYNC_WORKER is .*; .*BYTELYST_SYNC_WORKERS"),
    "what no text can say": ("ON_CONFLICT", "x", "BYTELYST_SYNC_ON_CONFLICT is .*; allowed"),
    "no credentials": ("AUTH", "s3cret", "BYTELYST_SYNC_AUTH is .*user:password or Bearer TOKEN"),
    "no headers": ("HEADERS", "X: s3cret", "BYTELYST_SYNC_HEADERS is .* as headers"),
    "headers of another kind": ("HEADERS", '["s3cret"]', "headers is .*; allowed: a dict"),
}


@pytest.mark.parametrize(("variable", "text", "message"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_variable_that_cannot_be_read(variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_env({variable: text})
    assert "s3cret" not in str(caught.value)


def test_the_nearest_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"retry_dely is .*\. Did you mean retry_delay\?$"):
        create_sync_engine(**REQUIRED, retry_dely=1)  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(ConfigError, match=r"entities\['a'\]\.endpont is .*mean endpoint\?$"):
        from_env(entities={"a": {"endpont": "/a"}})
    with pytest.raises(ConfigError, match=r"zzzz is .*[^?]$"):
        from_env(zzzz=1)


def test_an_unknown_argument() -> None:
    with pytest.raises(ConfigError, match=r"worker is .*; allowed: the settings .*workers"):
        from_env(worker=1)


@pytest.mark.parametrize("field", REQUIRED)
def test_what_is_missing_in_the_environment(field: str) -> None:
    variable = f"BYTELYST_SYNC_{field.upper()}"
    environ = {name: text for name, text in ENVIRONMENT.items() if name != variable}
    with pytest.raises(ConfigError, match=f"{field} is missing and has no default: .*{variable}"):
        SyncConfig.from_env(environ)


def test_what_a_file_says_is_what_the_environment_says() -> None:
    text = json.dumps({"notes": {"endpoint": "/notes", "params": {"mine": True}}})
    in_file = SyncConfig.from_mapping({**REQUIRED, "entities": json.loads(text)})
    assert from_env({"ENTITIES": text}).entities == in_file.entities
