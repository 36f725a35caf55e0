"""Settings, checked once, when they are made; what comes after may trust them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bytelyst_sync.checks import (
    as_strategy,
    as_timeout,
    choice,
    endpoint_path,
    field_name,
    flag,
    hidden,
    http_url,
    is_auth,
    is_callable,
    is_clock,
    is_dialect,
    is_probe,
    is_storage,
    is_transport,
    number,
    own_dict,
    parameters,
    strings,
    wrong_value,
)
from bytelyst_sync.dialect import Dialect
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import Conflict, ConflictStrategy
from bytelyst_sync.settings import known_settings, read_environment

__all__ = ["EntityConfig", "OnConflict", "SyncConfig", "is_token_provider"]

OnConflict = Callable[[Conflict], "dict[str, Any] | str | None"]


@attrs.frozen
class EntityConfig:
    """One kind of record: where it lives and how it is treated (SPEC §1).

    ``endpoint`` is the path below ``base_url``. ``references`` names the fields that hold the id
    of a record of another entity (``{"project_id": "projects"}``): a child waits for its parent's
    create. ``params`` is the query of a pull. Times are in seconds.
    """

    endpoint: str = attrs.field(validator=endpoint_path)
    conflict: ConflictStrategy | None = attrs.field(
        default=None, converter=as_strategy, kw_only=True
    )
    on_conflict: OnConflict | None = attrs.field(default=None, validator=is_callable, kw_only=True)
    id_field: str = attrs.field(default="id", validator=field_name, kw_only=True)
    id_source: str = attrs.field(
        default="client", validator=choice("client", "server"), kw_only=True
    )
    dedup: str = attrs.field(default="id", validator=choice("id", "content", "none"), kw_only=True)
    references: Mapping[str, str] = attrs.field(
        factory=dict, converter=own_dict, validator=strings, kw_only=True
    )
    replica: bool = attrs.field(default=True, validator=flag, kw_only=True)
    params: Mapping[str, Any] = attrs.field(
        factory=dict,
        converter=own_dict,
        validator=parameters,
        kw_only=True,
        repr=lambda value: repr(sorted(value)),
    )
    page_size: int | None = attrs.field(
        default=None, validator=number(1, optional=True, whole=True), kw_only=True
    )
    dialect: Dialect | None = attrs.field(
        default=None, validator=attrs.validators.optional(is_dialect), kw_only=True
    )
    reconcile_interval: float | None = attrs.field(
        default=None, validator=number(0, optional=True, above=True), kw_only=True
    )


def _as_entity(name: Any, given: Any) -> EntityConfig:
    if not isinstance(name, str) or not name or not name.isprintable():
        raise wrong_value("entities", name, "names that are printable strings")
    if isinstance(given, EntityConfig):
        return given
    if isinstance(given, str):
        return EntityConfig(given)
    if not isinstance(given, Mapping):
        raise wrong_value(f"entities[{name!r}]", given, "an endpoint or an EntityConfig")
    options = known_settings(given, EntityConfig, f"entities[{name!r}].")
    if "endpoint" not in options:
        raise wrong_value(f"entities[{name!r}].endpoint", None, 'a path, such as "/notes"')
    try:
        return EntityConfig(**options)
    except ConfigError as error:
        place = f"entities[{name!r}]."
        raise ConfigError(
            f"{place}{error}", field=f"{place}{error.field}", value=error.value
        ) from None


def _as_entities(value: Any) -> dict[str, EntityConfig]:
    if not isinstance(value, Mapping) or not value:
        raise wrong_value(
            "entities", value, 'a dict of at least one name to its endpoint, {"notes": "/notes"}'
        )
    made = {name: _as_entity(name, given) for name, given in value.items()}
    for name, entity in made.items():
        for field, parent in entity.references.items():
            if parent not in made:
                raise wrong_value(
                    f"entities[{name!r}].references[{field!r}]",
                    parent,
                    "one of the entities " + ", ".join(map(repr, made)),
                )
    return made


def _as_engine_strategy(value: Any) -> ConflictStrategy:
    made: ConflictStrategy | None = as_strategy(value)
    return made or ConflictStrategy.SERVER_WINS


@attrs.frozen(kw_only=True)
class SyncConfig:
    """All settings of an engine (SPEC §1). Times are in seconds.

    A wrong value raises ``ConfigError``, which names the field, the value and what is allowed.
    """

    base_url: str = attrs.field(validator=http_url)
    entities: Mapping[str, EntityConfig] = attrs.field(converter=_as_entities)
    storage: Any = attrs.field(
        validator=is_storage,
        repr=lambda value: repr(value) if isinstance(value, str) else type(value).__name__,
    )
    auth: Any = attrs.field(default=None, validator=is_auth, repr=hidden)
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=own_dict, validator=strings, repr=lambda value: repr(sorted(value))
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
    probe: Any = attrs.field(default="auto", validator=is_probe)
    probe_interval: float = attrs.field(default=15.0, validator=number(0, above=True))
    conflict: ConflictStrategy = attrs.field(
        default=ConflictStrategy.SERVER_WINS, converter=_as_engine_strategy
    )
    on_conflict: OnConflict | None = attrs.field(default=None, validator=is_callable)
    dialect: Dialect = attrs.field(factory=Dialect, validator=is_dialect)
    durability: str = attrs.field(default="full", validator=choice("full", "normal"))
    exit_timeout: float = attrs.field(default=2.0, validator=number(0))
    telemetry: Any = attrs.field(default=None, validator=is_callable)
    session_factory: Callable[[], Any] | None = attrs.field(default=None, validator=is_callable)
    transport: Any = attrs.field(default=None, validator=is_transport)
    clock: Any = attrs.field(default=None, validator=is_clock)

    def __attrs_post_init__(self) -> None:
        if self.retry_delay > self.max_retry_delay:
            raise wrong_value(
                "retry_delay",
                self.retry_delay,
                f"at most max_retry_delay ({self.max_retry_delay:g})",
            )

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> SyncConfig:
        """From a dict, such as a Django setting or a parsed file; names in either case."""
        options = known_settings({str(key).lower(): mapping[key] for key in mapping}, cls)
        for name in ("base_url", "entities", "storage"):
            if name not in options:
                raise ConfigError(
                    f"{name} is missing; it has no default: give it as {name}=…, or as "
                    f"BYTELYST_SYNC_{name.upper()} to from_env()",
                    field=name,
                )
        return cls(**options)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **arguments: Any) -> SyncConfig:
        """From ``BYTELYST_SYNC_*``; arguments go before the environment, it before defaults.

        ``ENTITIES`` is JSON, or ``notes=/notes,tasks=/tasks``; ``AUTH`` is ``user:password`` or
        ``Bearer TOKEN``; ``HEADERS`` and ``DIALECT`` are JSON; ``TIMEOUT`` is one number or two
        with a comma between; an empty variable counts as not set.
        """
        return cls.from_mapping({**read_environment(environ, arguments), **arguments})


def is_token_provider(auth: Any) -> bool:
    """Whether this ``auth`` is called without arguments for a bearer token.

    What ``requests`` takes as auth is called with the prepared request instead.
    """
    if not callable(auth):
        return False
    try:
        inspect.signature(auth).bind()
    except TypeError:
        return False
    except ValueError:
        return False
    return True
