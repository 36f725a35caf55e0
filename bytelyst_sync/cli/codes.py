"""Exit codes: what each means, and which one an error leads to."""

from __future__ import annotations

from enum import IntEnum

from bytelyst_sync.errors import (
    AuthError,
    ConfigError,
    InvalidDataError,
    OfflineError,
    StorageError,
    SyncError,
    UnknownEntityError,
)

__all__ = ["MEANINGS", "ExitCode", "code_of"]


class ExitCode(IntEnum):
    """What the command ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    STORAGE = 4
    OFFLINE = 5
    CREDENTIALS = 6
    NOT_INSTALLED = 7
    INTERRUPTED = 130
    PIPE = 141


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "all went well",
    ExitCode.FAILED: "something failed or is left undelivered; doctor found a fault",
    ExitCode.USAGE: "the command or its data is wrong; nothing was done",
    ExitCode.CONFIG: "a setting is missing or wrong",
    ExitCode.STORAGE: "the store cannot be read or written",
    ExitCode.OFFLINE: "the server cannot be reached; what is queued stays queued",
    ExitCode.CREDENTIALS: "the server refused the credentials, or there are none",
    ExitCode.NOT_INSTALLED: 'the extra is not installed: pip install "bytelyst-sync[cli]"',
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C); what is queued stays queued",
    ExitCode.PIPE: "the program that read the output ended (| head)",
}

_KINDS: tuple[tuple[type[SyncError], ExitCode], ...] = (
    (ConfigError, ExitCode.CONFIG),
    (UnknownEntityError, ExitCode.USAGE),
    (InvalidDataError, ExitCode.USAGE),
    (StorageError, ExitCode.STORAGE),
    (OfflineError, ExitCode.OFFLINE),
    (AuthError, ExitCode.CREDENTIALS),
)


def code_of(error: SyncError) -> ExitCode:
    """The exit code that this error leads to."""
    return next((code for kind, code in _KINDS if isinstance(error, kind)), ExitCode.FAILED)
