"""Reads the settings from a file, the environment and flags. The later ones take precedence.

A file in the working directory that was not named explicitly is trusted only in part: see
``trust.py``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import attrs

from bytelyst_sync.cli.flags import Flags, settings_of_flags
from bytelyst_sync.cli.keys import encrypted, key_in, names_variable
from bytelyst_sync.cli.program import APP_VARIABLE, program_config
from bytelyst_sync.cli.suggestions import suggested
from bytelyst_sync.cli.trust import check_untrusted, remedy, untrusted_reason
from bytelyst_sync.config.dialect import Dialect
from bytelyst_sync.config.env import known_settings, read_environment
from bytelyst_sync.config.settings import EntityConfig, SyncConfig
from bytelyst_sync.config.validators import nearest
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.inspection.settings import (
    CONFIG_VARIABLE,
    FILE_NAME,
    NoCredentials,
    Settings,
)
from bytelyst_sync.storage import MemoryStorage
from bytelyst_sync.storage.cipher import Key
from bytelyst_sync.storage.location import (
    account_in_path,
    join_location,
    split_location,
    store_kind,
)

__all__ = ["Flags", "config_path", "load"]

_PREFIX = "BYTELYST_SYNC_"
_REQUIRED = {
    "base_url": "--base-url URL",
    "entities": "--entity NAME=/ENDPOINT",
    "storage": "--storage FILE",
}
Json = dict[str, Any]


def config_path(flags: Flags, environ: Mapping[str, str]) -> tuple[Path, str | None]:
    """The configuration file, and the flag or variable that names it (``None``: none does)."""
    if flags.config is not None:
        return Path(flags.config).expanduser(), "--config"
    value = environ.get(CONFIG_VARIABLE, "").strip()
    if value:
        return Path(value).expanduser(), CONFIG_VARIABLE
    return Path(FILE_NAME), None


def load(flags: Flags, environ: Mapping[str, str] | None = None) -> Settings:
    """Reads and checks all settings; ``ConfigError`` names the wrong one and its source."""
    try:
        return _loaded(flags, os.environ if environ is None else environ)
    except ConfigError as error:
        raise suggested(error) from None


def _loaded(flags: Flags, environ: Mapping[str, str]) -> Settings:
    app, where = _app(flags, environ)
    if app is not None:
        return _of_program(flags, app, where, environ)
    path, named_by = config_path(flags, environ)
    file: Path | None = path if named_by or path.exists() else None
    options: Json = {}
    origins: dict[str, str] = {}
    missing: str | None = None
    untrusted_because: str | None = None
    key: Key | None = None

    def take(more: Json, where: str) -> None:
        options.update(more)
        origins.update(dict.fromkeys(more, where))

    if file is not None:
        table, status = _read(file, named_by)
        untrusted_because = None if named_by else untrusted_reason(file, status)
        if untrusted_because is not None:
            check_untrusted(table, file, untrusted_because)
        missing = _secrets(table, file, environ)
        key_env = table.pop("key_env", None)
        key = None if key_env is None else key_in(key_env, f"{file}: key_env", environ)
        take(table, str(file))
    variables = {name: environ[name] for name in environ if name != CONFIG_VARIABLE}
    for name, value in read_environment(variables, {}).items():
        take({name: value}, _PREFIX + name.upper())
    take(settings_of_flags(flags, options), "the command line")
    if "auth" in options:
        missing = None
    if file is not None and untrusted_because is not None and origins.get("base_url") == str(file):
        if flags.key_env is not None:
            origins["key"] = "--key-env"
        missing = _withheld(options, origins, file, untrusted_because)
    if flags.key_env is not None:
        key = key_in(flags.key_env, "--key-env", environ)
    config = _checked(options, origins, file)
    kind, store = _kind_and_path(config)
    storage = None if key is None else encrypted(kind, store, key, config)
    return Settings(config, store, file, origins, missing, untrusted_because, storage, kind=kind)


# --- a program's own engine


def _app(flags: Flags, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The value of ``--app`` or of its variable, and which of them it is."""
    if flags.app is not None:
        if flags.config is not None:
            raise ConfigError("--config and --app: give one of them, both say all settings")
        return flags.app, "--app"
    value = environ.get(APP_VARIABLE, "").strip()
    return (value, APP_VARIABLE) if value and flags.config is None else (None, "")


def _of_program(flags: Flags, app: str, where: str, environ: Mapping[str, str]) -> Settings:
    """The settings of a program, with those in the flags replaced."""
    config = program_config(app, where)
    options = attrs.asdict(config, recurse=False)
    changes = settings_of_flags(flags, options)
    if changes:
        try:
            config = SyncConfig.from_mapping({**options, **changes})
        except ConfigError as error:
            raise _placed(error, "the command line") from None
    program = f"{where} {app}"
    origins = {
        each.name: "the command line" if each.name in changes else program
        for each in attrs.fields(SyncConfig)
    }
    storage = None if isinstance(config.storage, (str, os.PathLike)) else config.storage
    if storage is None:
        kind, store = _kind_and_path(config)
        if flags.key_env is not None:
            key = key_in(flags.key_env, "--key-env", environ)
            storage = encrypted(kind, store, key, config)
        return Settings(config, store, None, origins, storage=storage, program=program, kind=kind)
    kind = type(storage).__name__
    if flags.key_env is not None:
        raise ConfigError(f"--key-env: the program opens its {kind} itself: leave it out")
    if isinstance(storage, MemoryStorage):
        raise _in_memory(f"a {kind}")
    path = getattr(storage, "path", None)
    store = Path(kind if path is None else path)
    in_file = path is not None
    return Settings(
        config,
        store,
        None,
        origins,
        storage=storage,
        program=program,
        kind=store_kind(storage),
        in_file=in_file,
    )


_OF_THE_USER = ("auth", "headers", "storage", "key")


def _withheld(options: Json, origins: dict[str, str], file: Path, because: str) -> str | None:
    """Removes the credentials, which must not be sent to the server of an untrusted file; returns
    a text that names them.
    """
    withheld = [name for name in _OF_THE_USER if origins.get(name, str(file)) != str(file)]
    for name in ("auth", "headers"):
        options.pop(name, None)
    options["auth"] = NoCredentials()
    if not withheld:
        return None
    names = " and ".join(f"{name} ({origins[name]})" for name in withheld)
    server = f"{options['base_url']}, the server that {file} names"
    return f"{names} is not for {server}, because {because}: {remedy(file)}"


def _checked(options: Json, origins: dict[str, str], file: Path | None) -> SyncConfig:
    """The configuration."""
    for name, flag in _REQUIRED.items():
        if name not in options:
            place = f"in {file}" if file else f"in {FILE_NAME} (`bytelyst-sync init` writes one)"
            raise ConfigError(
                f"{name} is missing: set it {place}, with {flag}, or as {_PREFIX}{name.upper()}",
                field=name,
            )
    if options["storage"] == ":memory:":
        raise _in_memory('":memory:"')
    try:
        _check_names(options, SyncConfig)
        entities = options["entities"]
        if isinstance(entities, Mapping):
            options["entities"] = {name: _entity(name, entities[name]) for name in entities}
        if options.get("probe") in (False, "none"):
            options["probe"] = None
        options["dialect"] = _without_false(options.get("dialect", "rest"))
        return SyncConfig.from_mapping(options)
    except ConfigError as error:
        name = (error.field or "").split("[")[0].split(".")[0]
        where = origins.get(name) or (str(file) if file else "")
        raise _placed(error, where) from None


def _in_memory(what: str) -> ConfigError:
    return ConfigError(
        f"storage is {what}, which ends with every command: name a file",
        field="storage",
        value=what,
    )


def _kind_and_path(config: SyncConfig) -> tuple[str, Path]:
    """The kind of the store, and its path."""
    path = os.fspath(cast("str | os.PathLike[str]", config.storage))
    if path == ":memory:":
        raise _in_memory('":memory:"')
    if config.account is not None:
        path = path.replace("{account}", account_in_path(config.account))
    kind, path = split_location(path)
    return kind, Path(path).expanduser().resolve()


def _check_names(table: Mapping[str, Any], kind: type, more: tuple[str, ...] = ()) -> None:
    """Raises ``ConfigError`` for the first name that is no setting; the error suggests a name."""
    known = [each.name for each in attrs.fields(kind)] + list(more)
    for name in table:
        if name not in known:
            near = nearest(name, known)
            hint = f"do you mean {near}?" if near else "allowed: " + ", ".join(sorted(known))
            raise ConfigError(f"{name} is no setting; {hint}", field=name, value="…")


def _placed(error: ConfigError, where: str) -> ConfigError:
    text = f"{where}: {error}" if where and where not in str(error) else str(error)
    return ConfigError(text, field=error.field, value=error.value)


def _entity(name: str, value: Any) -> Any:
    """The entity; an error in it names the entity."""
    if not isinstance(value, Mapping):
        return value
    table = dict(value)
    if "dialect" in table:
        table["dialect"] = _without_false(table["dialect"])
    text = 'endpoint is missing: a path below base_url, such as "/notes"'
    try:
        _check_names(table, EntityConfig)
        options = known_settings(table, EntityConfig)
        if "endpoint" in options:
            return EntityConfig(**options)
    except ConfigError as error:
        text = str(error)
    raise ConfigError(f"entity {name!r}: {text}", field=f"entities[{name!r}]")


_FLAGS_OF_A_DIALECT = frozenset({"partial_answer", "quote_version", "check_before_write"})


def _without_false(dialect: Any) -> Any:
    """A dialect with ``None`` for ``false`` in fields that are no flags: TOML has no null."""
    if not isinstance(dialect, Mapping):
        return dialect
    _check_names(dialect, Dialect, ("preset",))
    return {
        name: None if value is False and name not in _FLAGS_OF_A_DIALECT else value
        for name, value in dialect.items()
    }


# --- the file


def _read(path: Path, named_by: str | None) -> tuple[Json, os.stat_result]:
    """The settings of a file, and its status when it was read."""
    toml = import_module("tomllib" if find_spec("tomllib") else "tomli")
    try:
        # opening a pipe would block the command
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is no regular file")
            table: Json = toml.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file ({named_by}); `bytelyst-sync init` writes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from None
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    storage = table.get("storage")
    if isinstance(storage, str) and storage != ":memory:":
        kind, name = split_location(storage)
        table["storage"] = join_location(kind, path.parent / Path(name).expanduser())
    return table, status


def _secrets(table: Json, path: Path, environ: Mapping[str, str]) -> str | None:
    """Reads the variables that the file names; returns an error text if one is missing."""
    if "auth" in table:
        raise ConfigError(
            f'{path}: auth does not belong into a file: put it into a variable and say auth_env = "'
            f'NAME", or set {_PREFIX}AUTH',
            field="auth",
        )
    missing = None
    name = table.pop("auth_env", None)
    if name is not None:
        text = environ.get(_variable("auth_env", name, path), "").strip()
        if text:
            table["auth"] = _auth(text)
        else:
            missing = f"{path}: auth_env names the variable {name}, which is not set: export it"
    headers = table.pop("headers_env", {})
    if not isinstance(headers, Mapping):
        raise ConfigError(f"{path}: headers_env is no table of headers to variables")
    for header, variable in headers.items():
        text = environ.get(_variable("headers_env", variable, path), "").strip()
        if text:
            table["headers"] = {**table.get("headers", {}), header: text}
        else:
            missing = f"{path}: headers_env names the variable {variable}, which is not set"
    return missing


def _variable(setting: str, name: Any, path: Path) -> str:
    if not names_variable(name):
        raise ConfigError(
            f"{path}: {setting} takes the name of an environment variable, not the secret itself",
            field=setting,
        )
    return str(name)


def _auth(text: str) -> Any:
    """``user:password``, ``Bearer TOKEN``, or a bare token."""
    bare = " " not in text and ":" not in text
    variables = {f"{_PREFIX}AUTH": f"Bearer {text}" if bare else text}
    return read_environment(variables, {})["auth"]
