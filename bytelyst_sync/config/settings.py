"""Settings of an engine and of its entities, validated when they are created."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.env import known_settings, read_environment
from bytelyst_sync.config.listing_checks import check_listing
from bytelyst_sync.config.remote_commands import RemoteCommands, as_remote_commands
from bytelyst_sync.config.validators import (
    account_name,
    as_strategy,
    as_timeout,
    as_tuple,
    choice,
    endpoint_path,
    field_name,
    field_names,
    flag,
    header_texts,
    hidden,
    http_url,
    is_a,
    is_auth,
    is_callable,
    is_clock,
    is_probe,
    is_storage,
    is_transport,
    number,
    own,
    string_keys,
    strings,
    wrong_value,
)
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import Conflict, ConflictName, ConflictStrategy

if sys.version_info >= (3, 14):
    from annotationlib import Format

if TYPE_CHECKING:
    from requests import PreparedRequest, Session

    from bytelyst_sync.clock import Clock
    from bytelyst_sync.events.telemetry import TelemetryEvent
    from bytelyst_sync.http.transport import Transport
    from bytelyst_sync.storage.base import Storage

    RequestsAuth = tuple[str, str] | Callable[[PreparedRequest], PreparedRequest]
    Auth = Callable[[], str] | RequestsAuth

__all__ = ["EntityConfig", "OnConflict", "SyncConfig", "requests_auth", "token_provider"]

OnConflict = Callable[[Conflict], "dict[str, Any] | str | None"]
Migrate = Callable[[str, int, "dict[str, Any]"], "dict[str, Any] | None"]
"""``migrate(entity, from_version, data)`` returns the data as this program pushes it."""


_IS_DIALECT = is_a(Dialect, "a Dialect")


@attrs.frozen
class EntityConfig:
    """One kind of record: its endpoint and how it is synchronised.

    ``endpoint`` is the path below ``base_url``. ``references`` names the fields that hold the id
    of a record of another entity (``{"project_id": "projects"}``): a child is sent after the
    create of its parent. ``params`` is the query of a pull. Times are in seconds.
    """

    endpoint: str = attrs.field(validator=endpoint_path)
    conflict: ConflictStrategy | None = attrs.field(
        default=None, converter=as_strategy, kw_only=True
    )
    on_conflict: OnConflict | None = attrs.field(default=None, validator=is_callable, kw_only=True)
    id_field: str = attrs.field(default="id", validator=field_name, kw_only=True)
    id_source: Literal["client", "server"] = attrs.field(
        default="client", validator=choice("client", "server"), kw_only=True
    )
    dedup: Literal["id", "content", "none"] = attrs.field(
        default="id", validator=choice("id", "content", "none"), kw_only=True
    )
    references: Mapping[str, str] = attrs.field(
        factory=dict, converter=own, validator=strings, kw_only=True
    )
    replica: bool = attrs.field(default=True, validator=flag, kw_only=True)
    indexes: tuple[str, ...] = attrs.field(
        default=(), converter=as_tuple, validator=field_names, kw_only=True
    )
    params: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=own,
        validator=string_keys,
        kw_only=True,
        repr=lambda value: repr(sorted(value)),
    )
    page_size: int | None = attrs.field(
        default=None, validator=number(1, optional=True, whole=True), kw_only=True
    )
    dialect: Dialect | None = attrs.field(
        default=None, validator=attrs.validators.optional(_IS_DIALECT), kw_only=True
    )
    reconcile_interval: float | None = attrs.field(
        default=None, validator=number(0, optional=True, above=True), kw_only=True
    )


GivenEntity = str | EntityConfig | Mapping[str, Any]
"""A value of ``SyncConfig(entities=...)``: an endpoint, a config, or a dict of its fields."""


def _as_entity(name: object, setting: object) -> EntityConfig:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise wrong_value("entities", name, "names that are printable strings")
    if isinstance(setting, EntityConfig):
        return setting
    if isinstance(setting, str):
        return EntityConfig(setting)
    if not isinstance(setting, Mapping):
        raise wrong_value(f"entities[{name!r}]", setting, "an endpoint or an EntityConfig")
    options = known_settings(setting, EntityConfig, f"entities[{name!r}].")
    if "endpoint" not in options:
        raise wrong_value(f"entities[{name!r}].endpoint", None, 'a path, such as "/notes"')
    try:
        return EntityConfig(**options)
    except ConfigError as error:
        place = f"entities[{name!r}]."
        raise ConfigError(
            f"{place}{error}", field=f"{place}{error.field}", value=error.value
        ) from None


def _as_entities(value: Mapping[str, GivenEntity]) -> dict[str, EntityConfig]:
    if not isinstance(value, Mapping) or not value:
        raise wrong_value(
            "entities", value, 'a dict of at least one name to its endpoint, {"notes": "/notes"}'
        )
    entities = {name: _as_entity(name, setting) for name, setting in value.items()}
    for name, entity in entities.items():
        for field, parent in entity.references.items():
            if parent not in entities:
                raise wrong_value(
                    f"entities[{name!r}].references[{field!r}]",
                    parent,
                    "one of the entities " + ", ".join(map(repr, entities)),
                )
    return entities


def _as_engine_strategy(value: ConflictName) -> ConflictStrategy:
    return as_strategy(value) or ConflictStrategy.SERVER_WINS


@attrs.frozen(kw_only=True)
class SyncConfig:
    """All settings of an engine. Times are in seconds.

    A wrong value raises ``ConfigError``, which names the field, the value and what is allowed.
    """

    base_url: str = attrs.field(validator=http_url)
    entities: Mapping[str, EntityConfig] = attrs.field(converter=_as_entities)
    storage: str | os.PathLike[str] | Storage = attrs.field(
        validator=is_storage,
        repr=lambda value: repr(value) if isinstance(value, str) else type(value).__name__,
    )
    auth: Auth | None = attrs.field(default=None, validator=is_auth, repr=hidden)
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=own, validator=header_texts, repr=lambda value: repr(sorted(value))
    )
    timeout: tuple[float, float] = attrs.field(default=(3.05, 30.0), converter=as_timeout)
    max_retries: int = attrs.field(default=5, validator=number(0, whole=True))
    retry_delay: float = attrs.field(default=1.0, validator=number(0, above=True))
    max_retry_delay: float = attrs.field(default=300.0, validator=number(0, above=True))
    workers: int = attrs.field(default=1, validator=number(1, 256, whole=True))
    batch_size: int = attrs.field(default=100, validator=number(1, 10_000, whole=True))
    max_queue_length: int | None = attrs.field(
        default=None, validator=number(1, optional=True, whole=True)
    )
    auto_flush: bool = attrs.field(default=True, validator=flag)
    pull_interval: float | None = attrs.field(
        default=None, validator=number(0, optional=True, above=True)
    )
    probe: Literal["auto"] | Callable[[], bool] | None = attrs.field(
        default="auto", validator=is_probe
    )
    probe_interval: float = attrs.field(default=15.0, validator=number(0, above=True))
    conflict: ConflictStrategy = attrs.field(
        default=ConflictStrategy.SERVER_WINS, converter=_as_engine_strategy
    )
    on_conflict: OnConflict | None = attrs.field(default=None, validator=is_callable)
    dialect: Dialect = attrs.field(factory=Dialect, validator=_IS_DIALECT)
    durability: Literal["full", "normal"] = attrs.field(
        default="full", validator=choice("full", "normal")
    )
    exit_timeout: float = attrs.field(default=2.0, validator=number(0))
    telemetry: Callable[[TelemetryEvent], object] | None = attrs.field(
        default=None, validator=is_callable
    )
    session_factory: Callable[[], Session] | None = attrs.field(default=None, validator=is_callable)
    transport: Transport | None = attrs.field(default=None, validator=is_transport)
    clock: Clock | None = attrs.field(default=None, validator=is_clock)
    account: str | None = attrs.field(default=None, validator=account_name)
    order: Literal["record", "strict"] = attrs.field(
        default="record", validator=choice("record", "strict")
    )
    max_vanish: float = attrs.field(default=0.5, validator=number(0, 1))
    give_up_after: float = attrs.field(default=86400.0, validator=number(0, above=True))
    takeover_after: float = attrs.field(default=60.0, validator=number(0, above=True))
    heartbeat: str | None = attrs.field(default=None)
    heartbeat_interval: float = attrs.field(default=300.0, validator=number(0, above=True))
    remote_commands: RemoteCommands | None = attrs.field(
        default=None,
        converter=as_remote_commands,
        validator=attrs.validators.optional(is_a(RemoteCommands, "RemoteCommands")),
    )
    request_deadline: float = attrs.field(default=60.0, validator=number(0, above=True))
    schema_version: int = attrs.field(default=1, validator=number(1, whole=True))
    migrate: Migrate | None = attrs.field(default=None, validator=is_callable)
    json_default: Callable[[Any], Any] | None = attrs.field(default=None, validator=is_callable)

    def __attrs_post_init__(self) -> None:
        if self.retry_delay > self.max_retry_delay:
            raise wrong_value(
                "retry_delay",
                self.retry_delay,
                f"at most max_retry_delay ({self.max_retry_delay:g})",
            )
        for name, entity in self.entities.items():
            dialect = self.dialect if entity.dialect is None else entity.dialect
            check_listing(name, dialect, entity.params, entity.page_size)
        commands = self.remote_commands
        _check_reporting("heartbeat", self.heartbeat, self.entities)
        _check_reporting(
            "remote_commands.entity", None if commands is None else commands.entity, self.entities
        )
        if commands is not None and not self.entities[commands.entity].replica:
            raise wrong_value(
                "remote_commands.entity", commands.entity, "an entity that is pulled (replica=True)"
            )
        if commands is not None and commands.entity == self.heartbeat:
            raise wrong_value("heartbeat", self.heartbeat, "another entity than remote_commands")
        if self.order == "strict" and self.workers != 1:
            raise wrong_value(
                "workers", self.workers, "1 with order='strict', which sends one item at a time"
            )
        per_account = isinstance(self.storage, (str, os.PathLike)) and "{account}" in str(
            self.storage
        )
        if per_account and self.account is None:
            raise wrong_value(
                "account", None, f"a name, which replaces {{account}} in {self.storage!r}"
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SyncConfig:
        """From a dict, such as a Django setting or a parsed file. Names may be in upper case."""
        options = known_settings({str(key).lower(): mapping[key] for key in mapping}, cls)
        for name in ("base_url", "entities", "storage"):
            if name not in options:
                raise ConfigError(
                    f"{name} is missing and has no default: pass {name}=…, or set "
                    f"BYTELYST_SYNC_{name.upper()} and use from_env()",
                    field=name,
                )
        return cls(**options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> SyncConfig:
        """From the variables ``BYTELYST_SYNC_*``. Arguments take precedence over them.

        ``ENTITIES`` is JSON, or ``notes=/notes,tasks=/tasks``. ``AUTH`` is ``user:password`` or
        ``Bearer TOKEN``. ``HEADERS`` and ``DIALECT`` are JSON. ``TIMEOUT`` is one number, or two
        with a comma between them. An empty variable counts as not set.
        """
        return cls.from_mapping({**read_environment(environ, arguments), **arguments})


def _check_reporting(field: str, name: object, entities: Mapping[str, EntityConfig]) -> None:
    """The entity of heartbeats, or of commands: their ids are given by clients."""
    if name is None:
        return
    known = entities.get(name) if isinstance(name, str) else None
    if known is None:
        raise wrong_value(field, name, "one of the entities " + ", ".join(map(repr, entities)))
    if known.id_source == "server":
        raise wrong_value(field, name, 'an entity with id_source="client"')


def token_provider(auth: Auth | None) -> Callable[[], str] | None:
    """``auth`` if it is called without arguments for a bearer token, else ``None``."""
    return cast("Callable[[], str]", auth) if _takes_no_arguments(auth) else None


def requests_auth(auth: Auth | None) -> RequestsAuth | None:
    """``auth`` if ``requests`` calls it with the prepared request, or a pair; else ``None``."""
    return None if _takes_no_arguments(auth) else cast("RequestsAuth | None", auth)


def _takes_no_arguments(auth: Auth | None) -> bool:
    if not callable(auth):
        return False
    try:
        _signature(auth).bind()
    except (TypeError, ValueError):
        return False
    return True


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """The parameters. Python 3.14 would evaluate annotations, which may name what is imported for
    type checkers only.
    """
    if sys.version_info >= (3, 14):
        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)
