"""The engine's own probe (``probe="auto"``), and how the probe of a configuration is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bytelyst_sync.config.settings import SyncConfig
from bytelyst_sync.events.notifier import call_user
from bytelyst_sync.http.failures import is_interrupt
from bytelyst_sync.http.redirects import is_from_server
from bytelyst_sync.http.transport import Request, Transport

__all__ = ["BaseUrlProbe", "configured_probe"]

_PROBE_TIMEOUT_S = 5.0


class BaseUrlProbe:
    """Sends ``HEAD base_url`` without credentials. True for any answer, except that of a captive
    portal or of a proxy that asks for a password. Any thread may call it.
    """

    def __init__(self, transport: Transport, config: SyncConfig) -> None:
        self._transport = transport
        self._url = config.base_url
        connect, read = config.timeout
        self._timeout = (min(connect, _PROBE_TIMEOUT_S), min(read, _PROBE_TIMEOUT_S))

    def __call__(self) -> bool:
        """Whether the server answered."""
        # some servers send a body after the answer to a HEAD: this connection is not used again
        headers = {"Connection": "close", "Cache-Control": "no-store"}
        request = Request("HEAD", self._url, headers, timeout=self._timeout, authorize=False)
        try:
            return is_from_server(self._transport.send(request), self._url)
        except BaseException as error:
            if is_interrupt(error):
                raise
            return False  # a user's transport may raise anything


def configured_probe(config: SyncConfig, own: BaseUrlProbe) -> Callable[[], bool] | None:
    """The probe that the configuration asks for: the engine's own one, the user's, or none."""
    probe = config.probe
    if probe is None:
        return None
    return own if probe == "auto" else lambda: _call(probe)


def _call(probe: Callable[[], Any]) -> bool:
    """What a user's probe returns; false if it raises."""
    try:
        return bool(call_user(probe))
    except BaseException as error:
        if is_interrupt(error):
            raise
        return False
