"""The key of an encrypted store: from a variable of the environment, or typed at the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from getpass import getpass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.errors import ConfigError, StorageError
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.inspection.store_files import INSPECTORS, Inspector
from bytelyst_sync.inspection.text import clean
from bytelyst_sync.storage import EncryptedStorage, Storage
from bytelyst_sync.storage.cipher import Key
from bytelyst_sync.storage.location import open_file_store
from bytelyst_sync.storage.schema import META, SEALED

__all__ = ["encrypted", "key_in", "names_variable", "unlocked"]


def encrypted(kind: str, path: Path, key: Key, config: SyncConfig) -> Storage:
    """The encrypted store in this file; ``ConfigError`` without the extra."""
    if find_spec("cryptography") is None:
        raise ConfigError('an encrypted store needs the extra: pip install "bytelyst-sync[crypto]"')
    return EncryptedStorage(open_file_store(kind, path, config.durability), key)


def key_in(variable: Any, where: str, environ: Mapping[str, str]) -> Key:
    """The key in a variable; ``where`` is the setting that names the variable."""
    if not names_variable(variable):
        raise ConfigError(
            f"{where} takes the name of an environment variable, not the key itself",
            field="key_env",
        )
    text = environ.get(variable, "").strip()
    if not text:
        raise ConfigError(
            f"{where} names the variable {variable}, which is not set: export it", field="key_env"
        )
    return text


def names_variable(name: Any) -> bool:
    """Whether it may be the name of a variable, and no secret."""
    return isinstance(name, str) and name.replace("_", "a").isalnum()


def unlocked(settings: Settings) -> Storage | None:
    """The store, opened with a key from the terminal; ``None`` if it is not encrypted.

    Raises ``StorageError`` without a terminal, or if the settings may be somebody else's. The
    message says how to pass the key.
    """
    path = settings.store
    if not _is_sealed(settings):
        return None
    if settings.untrusted_because is not None:
        raise StorageError(
            f"{path}: the store is encrypted, and its key is not asked for, because"
            f" {settings.untrusted_because}: if you trust {settings.file}, name it with --config"
        )
    if not sys.stdin.isatty():
        raise StorageError(
            f"{path}: the store is encrypted: name the variable with its key (--key-env VARIABLE),"
            " or the program that opens it (--app MODULE:NAME)"
        )
    # Not click.prompt: it shows its text first and turns the echo off after it, so a key that is
    # pasted at once is shown, and lost.
    typed = getpass(f"{clean(f'Key of {path}')}: ")
    return encrypted(settings.kind, path, typed.strip(), settings.config)


def _is_sealed(settings: Settings) -> bool:
    """Whether a store is encrypted; one that cannot be read is reported where it is opened."""
    if not settings.store.is_file():
        return False
    inspector: Inspector = INSPECTORS[settings.kind]
    return bool(inspector.read(settings.store, lambda tx: tx.get(META, SEALED) is not None))
