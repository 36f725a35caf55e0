"""Checks of the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bytelyst_sync.inspection.doctor_context import Check, DoctorContext, Finding, fail, ok, warn
from bytelyst_sync.inspection.settings import CONFIG_VARIABLE, FILE_NAME, NoCredentials
from bytelyst_sync.inspection.text import count_of

__all__ = ["CHECKS"]


def settings(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the settings can be read and are valid."""
    if context.settings is None:
        name = "" if context.error is None else context.error.field or ""
        yield fail("settings", str(context.error), f"correct {name}" if name else "see above")
        return
    file = context.settings.file
    program = context.settings.program
    where = program or (f"no {FILE_NAME}" if file is None else str(file))
    entities = count_of(len(context.settings.config.entities), "entity", "entities")
    others = sorted(
        {each for each in context.settings.origins.values() if each not in (str(file), program)}
    )
    beside = f", and {', '.join(others)}" if others else ""
    yield ok("settings", f"{where}{beside}: {entities} at {context.settings.config.base_url}")


def credentials(context: DoctorContext) -> Iterator[Finding]:
    """Checks that the credentials exist, and are not sent unencrypted."""
    if context.settings is None:
        return
    if context.settings.missing is not None:
        yield fail(
            "credentials", context.settings.missing, "export it in this shell, or in the service"
        )
        return
    config = context.settings.config
    has_auth = config.auth is not None and not isinstance(config.auth, NoCredentials)
    secret = has_auth or "authorization" in map(str.lower, config.headers)
    if not secret:
        return
    if config.base_url.startswith("http://") and not _is_here(config.base_url):
        yield warn(
            "credentials",
            f"they travel to {config.base_url} unencrypted",
            "use an https:// base_url",
        )
        return
    yield ok("credentials", "given (never shown)")


def file_of_settings(context: DoctorContext) -> Iterator[Finding]:
    """Checks that nobody else can change the file of the settings."""
    file = None if context.settings is None else context.settings.file
    if file is None or not hasattr(Path, "owner"):
        return
    if file.stat().st_mode & 0o002:
        yield warn(
            "settings",
            f"everybody on this machine can change {file} (or {CONFIG_VARIABLE}'s file)",
            f"chmod o-w {file}",
        )


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


CHECKS: tuple[Check, ...] = (settings, file_of_settings, credentials)
