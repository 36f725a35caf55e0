"""This device: its id, and its key for remote commands. Owned by the agent's thread."""

from __future__ import annotations

from typing import Any

from bytelyst_sync.agent.rows import device_of
from bytelyst_sync.config.remote_commands import RemoteCommands
from bytelyst_sync.events.notifier import call_user
from bytelyst_sync.events.status import StatusBoard
from bytelyst_sync.http.failures import is_interrupt, kind_and_place
from bytelyst_sync.rules.device_keys import DeviceKey, parse_key
from bytelyst_sync.safe_logging import SafeLogger
from bytelyst_sync.state.unit_of_work import StateStore

__all__ = ["ThisDevice"]

logger = SafeLogger("bytelyst_sync.agent")


class ThisDevice:
    """``principal`` is the account that the store belongs to."""

    def __init__(
        self,
        state: StateStore,
        principal: str,
        settings: RemoteCommands | None,
        board: StatusBoard,
    ) -> None:
        self._state = state
        self._principal = principal
        self._settings = settings
        self._board = board
        self._known: DeviceKey | None = None
        self._reported: set[str] = set()

    def identity(self) -> tuple[str, str]:
        """The id of the device, and the random part of it."""
        return device_of(self._state, self._principal)

    def key(self) -> DeviceKey | None:
        """The key of the device; ``None`` if there is none, or only that of another device.

        What is wrong is logged and shown in the status, once.
        """
        settings = self._settings
        if settings is None or self._known is not None:
            return self._known
        device = self.identity()[0]
        given: Any = settings.key
        if callable(given):
            try:
                given = call_user(given, device)
            except BaseException as error:
                if is_interrupt(error):
                    raise
                what = kind_and_place(error)
                self._report(f"remote_commands: key raised {what}; it is called again")
                return None
        found = parse_key(given)
        if found is None:
            self._report(
                f"remote_commands: key is no key of a device; make that of {device} at the server"
                " with fleet.device_key(master, device_id)"
            )
        elif found.device != device:
            self._report(
                f"remote_commands: the key is that of device {found.device}, and this is {device}:"
                " no command is carried out. Each device has a key of its own; make that of this"
                " device with fleet.device_key(master, device_id)"
            )
        else:
            self._known = found
        return self._known

    def _report(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            logger.error("%s", text)
            self._board.note_error(text, passing=False)
