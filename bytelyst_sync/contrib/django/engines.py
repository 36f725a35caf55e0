"""The engines of the queues in the setting ``BYTELYST_SYNC``."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

import attrs
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connections

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.config.validators import unknown_name
from bytelyst_sync.contrib.django.clock import DatabaseClock
from bytelyst_sync.contrib.django.database import vendor_of
from bytelyst_sync.contrib.django.signals import connect_engine
from bytelyst_sync.contrib.django.storage import DjangoStorage
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import SyncResult

__all__ = [
    "QueueSettings",
    "deliver_now",
    "get_engine",
    "new_engine",
    "queue_names",
    "read_settings",
]

SETTING = "BYTELYST_SYNC"
_MARGIN_S = 10.0
_NOT_HERE: Mapping[str, str] = {
    "storage": "the queue is kept in the database that 'using' names",
    "clock": "the engine goes by the database's clock",
    "durability": "the database's own settings decide that",
    "takeover_after": "give 'lease' instead",
    "exit_timeout": "a worker delivers what is left",
}
_ONLY_HERE = ("using", "lease", "listen")
_REQUIRED = ("BASE_URL", "ENTITIES")


@attrs.frozen
class QueueSettings:
    """One queue of ``BYTELYST_SYNC``, checked."""

    name: str
    using: str
    lease_s: float
    config: SyncConfig
    storage: DjangoStorage


def queue_names() -> list[str]:
    """The names of the queues in the settings."""
    return list(_all_settings())


def _all_settings() -> Mapping[str, Any]:
    found = getattr(settings, SETTING, None)
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(
            f"the setting {SETTING} is {'missing' if found is None else repr(found)}; give a dict"
            " of a queue's name to its settings:"
            f' {SETTING} = {{"default": {{"BASE_URL": "https://…", "ENTITIES": {{…}}}}}}',
            field=SETTING,
            value=found,
        )
    return found


def read_settings(name: str, *, deliver: bool = False) -> QueueSettings:
    """The settings of a queue; ``ConfigError`` names the one that is wrong."""
    found = _all_settings()
    if name not in found:
        known = ", ".join(map(repr, found))
        raise ConfigError(
            f"{SETTING} has no queue {name!r}; it has {known}", field=SETTING, value=name
        )
    place = f"{SETTING}[{name!r}]"
    given = found[name]
    if not isinstance(given, Mapping):
        raise ConfigError(f"{place} is {given!r}; give a dict of settings", field=place)
    try:
        _check_names(name, given)
        return _checked(name, {str(key).lower(): value for key, value in given.items()}, deliver)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}", field=error.field, value=error.value) from None


def _check_names(queue: str, given: Mapping[Any, Any]) -> None:
    """``ConfigError`` for a setting that a queue does not have, or that is missing."""
    known = [each.name for each in attrs.fields(SyncConfig) if each.name not in _NOT_HERE]
    known = [each.upper() for each in (*known, *_ONLY_HERE)]
    names = [str(each).upper() for each in given]
    for name in given:
        if str(name).lower() not in _NOT_HERE and str(name).upper() not in known:
            error = unknown_name(str(name).upper(), known)
            raise ConfigError(str(error), field=str(name).lower(), value=error.value)
    for name in _REQUIRED:
        if name not in names:
            raise ConfigError(
                f'{name} is missing and has no default: set {SETTING}["{queue}"]["{name}"]',
                field=name.lower(),
            )


def _checked(name: str, given: dict[str, Any], deliver: bool) -> QueueSettings:
    for setting, reason in _NOT_HERE.items():
        if setting in given:
            raise ConfigError(f"{setting} cannot be set here: {reason}", field=setting)
    using, lease = given.pop("using", "default"), given.pop("lease", None)
    listen = given.pop("listen", None)
    if using not in connections.databases:
        known = ", ".join(map(repr, connections.databases))
        raise ConfigError(
            f"using is {using!r}; allowed: one of the databases {known}", field="using", value=using
        )
    # read once without a store, for the deadline that the lease depends on
    deadline_s = SyncConfig.from_mapping({**given, "storage": ":memory:"}).request_deadline
    lease_s = _lease(lease, deadline_s)
    _check_listen(listen, using)
    storage = DjangoStorage(using, name, lease_s=lease_s, listen=listen)
    options = {
        "auto_flush": False,
        **given,
        "storage": storage,
        "clock": DatabaseClock(storage),
        "exit_timeout": 0.0,
    }
    if deliver:
        options["auto_flush"] = True
    elif not options["auto_flush"]:
        options["pull_interval"] = None
    return QueueSettings(name, using, lease_s, SyncConfig.from_mapping(options), storage)


def _lease(lease: object, deadline_s: float) -> float:
    least = deadline_s + _MARGIN_S
    if lease is None:
        return least
    if isinstance(lease, bool) or not isinstance(lease, (int, float)) or not lease >= least:
        raise ConfigError(
            f"lease is {lease!r}; allowed: seconds, at least request_deadline + {_MARGIN_S:g}"
            f" ({least:g}), so that a request ends before its lease",
            field="lease",
            value=lease,
        )
    return float(lease)


def _check_listen(listen: object, using: str) -> None:
    if listen is None:
        return
    known = ", ".join(map(repr, connections.databases))
    if not isinstance(listen, str) or not (
        listen in connections.databases or "=" in listen or "://" in listen
    ):
        raise ConfigError(
            f"listen is {listen!r}; allowed: one of the databases {known}, or a connection string,"
            " such as 'host=… dbname=…'",
            field="listen",
            value=listen,
        )
    if not vendor_of(connections[using]).notifies:
        raise ConfigError(
            f"listen is for PostgreSQL; database {using!r} has no notifications: leave it out",
            field="listen",
            value=listen,
        )


def new_engine(found: QueueSettings) -> SyncEngine:
    """An engine for these settings, whose callbacks send Django's signals."""
    engine = SyncEngine(found.config)
    connect_engine(engine, found.name)
    return engine


_ENGINES: dict[str, SyncEngine] = {}
_LOCK = threading.Lock()
"""Guards ``_ENGINES``."""


def get_engine(name: str = "default") -> SyncEngine:
    """This process's engine for a queue of the setting ``BYTELYST_SYNC``; made at the first call.

    It runs no thread and delivers nothing until ``flush()`` is called: ``manage.py sync_worker``
    does. With ``"AUTO_FLUSH": True`` it delivers on a thread, from its first push or ``start()``
    on. Any thread may use it. ``ConfigError`` if the settings are wrong.
    """
    with _LOCK:
        engine = _ENGINES.get(name)
        if engine is None:
            engine = _ENGINES[name] = new_engine(read_settings(name))
        return engine


def deliver_now(name: str = "default", timeout: float | None = 30.0) -> SyncResult:
    """In a test: delivers what the test pushed, by ``flush()``; also inside a ``TestCase``.

    There the package's threads use the test's own connection until it returns. The test's
    transaction is rolled back afterwards as ever.
    """
    return get_engine(name).flush(timeout)


def _forget_engines(*, setting: str, **_: object) -> None:
    """A test changed the settings."""
    if setting not in (SETTING, "DATABASES"):
        return
    with _LOCK:
        engines = list(_ENGINES.values())
        _ENGINES.clear()
    for engine in engines:
        engine.close()


def _after_fork() -> None:
    global _LOCK  # noqa: PLW0603 - a thread of the parent may have held it
    _LOCK = threading.Lock()


setting_changed.connect(_forget_engines, dispatch_uid="bytelyst_sync.engines")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
