"""Where the settings come from: a file, then the environment, then flags; the later ones win."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from bytelyst_sync.config import EntityConfig, SyncConfig
from bytelyst_sync.errors import AuthError, ConfigError
from bytelyst_sync.settings import known_settings, read_environment

__all__ = ["CONFIG_VARIABLE", "FILE_NAME", "Given", "Settings", "config_path", "load"]

FILE_NAME = "bytelyst-sync.toml"
CONFIG_VARIABLE = "BYTELYST_SYNC_CONFIG"
_PREFIX = "BYTELYST_SYNC_"
_REQUIRED = {
    "base_url": "--base-url URL",
    "entities": "--entity NAME=/ENDPOINT",
    "storage": "--storage FILE",
}
Json = dict[str, Any]


@attrs.define
class Given:
    """What the flags say."""

    config: str | None = None
    base_url: str | None = None
    storage: str | None = None
    entities: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()


@attrs.frozen
class Settings:
    """Everything that a verb needs to know. ``missing`` says which credentials are not there."""

    config: SyncConfig
    store: Path
    file: Path | None
    origins: Mapping[str, str]
    missing: str | None = None

    def require_credentials(self) -> None:
        """``AuthError`` if the settings promise credentials that are not there."""
        if self.missing is not None:
            raise AuthError(self.missing)


def config_path(given: Given, environ: Mapping[str, str]) -> tuple[Path, str | None]:
    """The configuration file, and who named it (``None``: nobody did)."""
    if given.config is not None:
        return Path(given.config).expanduser(), "--config"
    named = environ.get(CONFIG_VARIABLE, "").strip()
    if named:
        return Path(named).expanduser(), CONFIG_VARIABLE
    return Path(FILE_NAME), None


def load(given: Given, environ: Mapping[str, str] | None = None) -> Settings:
    """Reads and checks all settings; ``ConfigError`` names the one that is wrong, and its place."""
    environ = os.environ if environ is None else environ
    path, named = config_path(given, environ)
    file: Path | None = path if named or path.exists() else None
    options: Json = {}
    origins: dict[str, str] = {}
    missing: str | None = None

    def take(more: Json, where: str) -> None:
        options.update(more)
        origins.update(dict.fromkeys(more, where))

    if file is not None:
        found = _read(file, named)
        missing = _secrets(found, file, environ)
        take(found, str(file))
    variables = {name: environ[name] for name in environ if name != CONFIG_VARIABLE}
    for name, value in read_environment(variables, {}).items():
        take({name: value}, _PREFIX + name.upper())
    take(_flags(given, options), "the command line")
    if "auth" in options:
        missing = None
    return _made(options, origins, file, missing)


def _made(
    options: Json, origins: dict[str, str], file: Path | None, missing: str | None
) -> Settings:
    for name, flag in _REQUIRED.items():
        if name not in options:
            place = f"in {file}" if file else f"in {FILE_NAME} (`bytelyst-sync init` writes one)"
            raise ConfigError(
                f"{name} is missing: set it {place}, with {flag}, or as {_PREFIX}{name.upper()}",
                field=name,
            )
    if options["storage"] == ":memory:":
        raise ConfigError(
            'storage is ":memory:", which ends with every command: name a file',
            field="storage",
            value=":memory:",
        )
    try:
        entities = options["entities"]
        if isinstance(entities, Mapping):
            options["entities"] = {name: _entity(name, entities[name]) for name in entities}
        if options.get("probe") in (False, "none"):
            options["probe"] = None
        options["dialect"] = _without_false(options.get("dialect", "rest"))
        config = SyncConfig.from_mapping(options)
    except ConfigError as error:
        name = (error.field or "").split("[")[0].split(".")[0]
        where = origins.get(name) or (str(file) if file else "")
        raise _placed(error, where) from None
    return Settings(config, Path(config.storage).resolve(), file, origins, missing)


def _placed(error: ConfigError, where: str) -> ConfigError:
    text = f"{where}: {error}" if where and where not in str(error) else str(error)
    return ConfigError(text, field=error.field, value=error.value)


def _entity(name: str, given: Any) -> Any:
    """The entity, so that what is wrong with it is told with its name."""
    if not isinstance(given, Mapping):
        return given
    table = dict(given)
    if "dialect" in table:
        table["dialect"] = _without_false(table["dialect"])
    text = 'endpoint is missing: a path below base_url, such as "/notes"'
    try:
        options = known_settings(table, EntityConfig)
        if "endpoint" in options:
            return EntityConfig(**options)
    except ConfigError as error:
        text = str(error)
    raise ConfigError(f"entity {name!r}: {text}", field=f"entities[{name!r}]")


_FLAGS_OF_A_DIALECT = frozenset({"partial_answer", "quote_version", "check_before_write"})


def _without_false(dialect: Any) -> Any:
    """TOML has no null: ``false`` says it, where a field is no flag."""
    if not isinstance(dialect, Mapping):
        return dialect
    return {
        name: None if value is False and name not in _FLAGS_OF_A_DIALECT else value
        for name, value in dialect.items()
    }


# --- the file


def _read(path: Path, named: str | None) -> Json:
    toml = import_module("tomllib" if find_spec("tomllib") else "tomli")
    try:
        with path.open("rb") as file:
            found: Json = toml.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file ({named}); `bytelyst-sync init` writes one"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror or error})") from None
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    storage = found.get("storage")
    if isinstance(storage, str) and storage != ":memory:":
        found["storage"] = str(path.parent / Path(storage).expanduser())
    return found


def _secrets(found: Json, path: Path, environ: Mapping[str, str]) -> str | None:
    """Puts in what the file names by variables; returns what is missing of it."""
    if "auth" in found:
        raise ConfigError(
            f'{path}: auth does not belong into a file: put it into a variable and say auth_env = "'
            f'NAME", or set {_PREFIX}AUTH',
            field="auth",
        )
    missing = None
    name = found.pop("auth_env", None)
    if name is not None:
        text = environ.get(_variable("auth_env", name, path), "").strip()
        if text:
            found["auth"] = _auth(text)
        else:
            missing = f"{path}: auth_env names the variable {name}, which is not set: export it"
    headers = found.pop("headers_env", {})
    if not isinstance(headers, Mapping):
        raise ConfigError(f"{path}: headers_env is no table of headers to variables")
    for header, variable in headers.items():
        text = environ.get(_variable("headers_env", variable, path), "").strip()
        if text:
            found["headers"] = {**found.get("headers", {}), header: text}
        else:
            missing = f"{path}: headers_env names the variable {variable}, which is not set"
    return missing


def _variable(setting: str, name: Any, path: Path) -> str:
    if not isinstance(name, str) or not name.replace("_", "a").isalnum():
        raise ConfigError(
            f"{path}: {setting} takes the name of an environment variable, not the secret itself",
            field=setting,
        )
    return name


def _auth(text: str) -> Any:
    """``user:password``, ``Bearer TOKEN``, or a bare token."""
    bare = " " not in text and ":" not in text
    given = {f"{_PREFIX}AUTH": f"Bearer {text}" if bare else text}
    return read_environment(given, {})["auth"]


# --- the flags


def _flags(given: Given, so_far: Json) -> Json:
    made: Json = {}
    for text in given.sets:
        name, value = _pair(text, "--set", "NAME=VALUE")
        if name in ("auth", "headers"):
            raise ConfigError(
                f"--set {name}: arguments can be read by everybody on this machine: use "
                f"{_PREFIX}{name.upper()}",
                field=name,
            )
        made.update(_as_text(name, value))
    if given.base_url is not None:
        made["base_url"] = given.base_url
    if given.storage is not None:
        made["storage"] = str(Path(given.storage).expanduser())
    if given.entities:
        known = so_far.get("entities", {})
        entities = dict(known) if isinstance(known, Mapping) else {}
        for text in given.entities:
            name, endpoint = _pair(text, "--entity", "NAME=/ENDPOINT")
            before = entities.get(name)
            table = dict(before) if isinstance(before, Mapping) else {}
            entities[name] = {**table, "endpoint": endpoint}
        made["entities"] = entities
    return made


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ConfigError(f"{flag} {text!r}: say {flag} {form}")
    return name.strip(), value.strip()


def _as_text(name: str, value: str) -> Json:
    """Read as a variable of the environment is."""
    variable = _PREFIX + name.upper()
    try:
        return read_environment({variable: value}, {})
    except ConfigError as error:
        text = str(error).replace(variable, f"--set {name}").replace(_PREFIX, "")
        raise ConfigError(text, field=error.field, value=error.value) from None
