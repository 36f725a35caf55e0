"""Checks of the settings."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from bytelyst_sync.cli.case import Case, Check, Finding, fail, ok, warn
from bytelyst_sync.cli.settings import CONFIG_VARIABLE, FILE_NAME
from bytelyst_sync.cli.show import count_of

__all__ = ["CHECKS"]


def settings(case: Case) -> Iterator[Finding]:
    """They can be read, and are right."""
    if case.settings is None:
        name = "" if case.error is None else case.error.field or ""
        yield fail("settings", str(case.error), f"set {name} right" if name else "see above")
        return
    file = case.settings.file
    where = str(file) if file is not None else f"no {FILE_NAME}"
    entities = count_of(len(case.settings.config.entities), "entity", "entities")
    others = sorted(
        {each for each in case.settings.origins.values() if file is None or each != str(file)}
    )
    beside = f", and {', '.join(others)}" if others else ""
    yield ok("settings", f"{where}{beside}: {entities} at {case.settings.config.base_url}")


def credentials(case: Case) -> Iterator[Finding]:
    """Those that are named are there, and do not travel in the clear."""
    if case.settings is None:
        return
    if case.settings.missing is not None:
        yield fail(
            "credentials", case.settings.missing, "export it in this shell, or in the service"
        )
        return
    config = case.settings.config
    secret = config.auth is not None or "authorization" in map(str.lower, config.headers)
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


def file_of_settings(case: Case) -> Iterator[Finding]:
    """Nobody else can change where changes are sent to."""
    file = None if case.settings is None else case.settings.file
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
