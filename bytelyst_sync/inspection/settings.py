"""The settings of a store that is inspected, and their sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from requests.auth import AuthBase

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.errors import AuthError
from bytelyst_sync.storage.base import Storage
from bytelyst_sync.storage.location import SQLITE, join_location

__all__ = ["CONFIG_VARIABLE", "FILE_NAME", "NoCredentials", "Settings"]

FILE_NAME = "bytelyst-sync.toml"
CONFIG_VARIABLE = "BYTELYST_SYNC_CONFIG"


class NoCredentials(AuthBase):
    """Sends no credentials, not even those of netrc, which may have an entry for any host."""

    def __call__(self, request: Any) -> Any:
        """Changes nothing."""
        return request


@attrs.frozen
class Settings:
    """The settings of one run of a command."""

    config: SyncConfig
    store: Path
    file: Path | None
    origins: Mapping[str, str]
    missing: str | None = None
    """Why there are no credentials although the settings name some."""
    untrusted_because: str | None = None
    """Why somebody else may have written the file; ``None``: it is trusted."""
    storage: Storage | None = None
    """The store as the program opens it, or with its key; ``None``: the file at ``store``."""
    program: str | None = None
    """Where the settings of a program's own engine come from, such as ``--app notes:engine``."""
    kind: str = SQLITE
    """The kind of store in the file."""
    in_file: bool = True
    """Whether the store is the file at ``store``, else ``store`` only names it."""

    @property
    def location(self) -> str:
        """The value of ``storage`` that names the store."""
        return join_location(self.kind, self.store)

    def require_credentials(self) -> None:
        """Raises ``AuthError`` if the settings name credentials that do not exist."""
        if self.missing is not None:
            raise AuthError(self.missing)
