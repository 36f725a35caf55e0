"""The configuration of a program's own engine: ``--app module:name``.

A module is searched in ``sys.path``, and then in the working directory. That directory is used only
if it and the module's file belong to the user and nobody else may write to them, because importing
a module runs it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from operator import attrgetter
from pathlib import Path
from typing import Any

from bytelyst_sync.cli.trust import untrusted_reason
from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import ConfigError

__all__ = ["APP_VARIABLE", "program_config"]

APP_VARIABLE = "BYTELYST_SYNC_APP"
_ALLOWED = "a SyncEngine, a SyncConfig, or a function without arguments that returns one"
_CLOSE_S = 5.0


def program_config(app: str, where: str) -> SyncConfig:
    """The configuration that ``app`` (``module:name``) names; ``where`` is the source of the name.

    If it is an engine, its configuration is read and the engine closed. Raises ``ConfigError``.
    """
    module_name, sign, name = app.partition(":")
    parts = [*module_name.split("."), *name.split(".")]
    if not sign or not all(each.isidentifier() for each in parts):
        raise ConfigError(f"{where} {app!r}: say MODULE:NAME, such as myprogram.sync:engine")
    with contextlib.redirect_stdout(sys.stderr):  # output of the program is no result of a verb
        target = _attribute(_module(module_name, app, where), name, app, where)
        if callable(target) and not isinstance(target, SyncEngine):
            target = _called(target, app, where)
        return _config(target, app, where)


def _config(target: Any, app: str, where: str) -> SyncConfig:
    if isinstance(target, SyncEngine):
        config = target.config
        target.close(_CLOSE_S)
        return config
    if isinstance(target, SyncConfig):
        return target
    raise ConfigError(f"{where} {app}: it is {type(target).__name__}; allowed: {_ALLOWED}")


def _module(name: str, app: str, where: str) -> Any:
    try:
        there = importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        there = False
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a program may raise anything
        raise _failed(error, app, where) from None
    if not there:
        _look_in_working_directory(name, app, where)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a program may raise anything
        raise _failed(error, app, where) from None


def _look_in_working_directory(name: str, app: str, where: str) -> None:
    """Appends the working directory to ``sys.path``, if the module there is safe."""
    folder = Path.cwd()
    files = _files(folder, name)
    if not files:
        raise ConfigError(
            f"{where} {app}: there is no module {name}, neither among the installed ones nor in"
            f" {folder}: run this in the program's directory, or add it to PYTHONPATH"
        )
    for file in files:
        reason = untrusted_reason(file, file.stat())
        if reason is not None:
            raise ConfigError(
                f"{where} {app}: {file} is not run, because {reason}: if you trust it, say"
                " PYTHONPATH=."
            )
    sys.path.append(str(folder))


def _files(folder: Path, name: str) -> list[Path]:
    """The files of the packages and the module of that name below ``folder``; empty if there are
    none.
    """
    paths: list[Path] = []
    *packages, module = name.split(".")
    for package in packages:
        folder /= package
        paths.append(folder)
    candidates = [folder / f"{module}.py", folder / module / "__init__.py", folder / module]
    last = next((each for each in candidates if each.exists()), None)
    if last is None:
        return []
    if last.parent != folder:
        paths.append(folder / module)
    return [*paths, last]


def _attribute(module: Any, name: str, app: str, where: str) -> Any:
    try:
        return attrgetter(name)(module)
    except AttributeError:
        raise ConfigError(
            f"{where} {app}: the module {module.__name__} has no {name}; it should be {_ALLOWED}"
        ) from None


def _called(factory: Any, app: str, where: str) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a program may raise anything
        raise _failed(error, app, where) from None


def _failed(error: BaseException, app: str, where: str) -> ConfigError:
    """The error for an exception of the program: its class and place, as its text may quote a
    secret.
    """
    frames = [
        each
        for each in traceback.extract_tb(error.__traceback__)
        if "importlib" not in each.filename
    ]
    place = f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else "?"  # noqa: PTH119
    detail = f" ({error.name})" if isinstance(error, ImportError) and error.name else ""
    if isinstance(error, ConfigError):
        detail = f" ({error})"
    return ConfigError(
        f"{where} {app}: the program raised {type(error).__name__}{detail} at {place};"
        f" see python -c 'import {app.partition(':')[0]}'"
    )
