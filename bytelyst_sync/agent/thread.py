"""The thread that sends heartbeats and carries out remote commands, if the settings ask for them.
In a worker of a shared store, it also stores that the worker is alive.

Who owns what: everything but ``wake``, ``start``, ``look_at_commands`` and ``close`` runs in this
thread, and it owns heartbeats and commands. No push and no delivery waits for it: it sends its own
requests, one at a time, and their answers do not change the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from bytelyst_sync.agent.commands import CommandRunner
from bytelyst_sync.agent.heartbeats import Heartbeats
from bytelyst_sync.agent.presence import SIGN_EVERY_S, Presence
from bytelyst_sync.background_thread import BackgroundThread
from bytelyst_sync.clock import Clock
from bytelyst_sync.errors import EngineClosedError
from bytelyst_sync.safe_logging import SafeLogger

__all__ = ["DeviceAgent", "Duties", "look_at_commands"]

logger = SafeLogger("bytelyst_sync.agent")
_LOOK_AGAIN_S = 1.0
"""How often it checks whether requests may be sent again, or whether a flush has ended."""
_AFTER_CRASH_S = 30.0
_SPREAD = 0.1
"""The part of an interval by which each heartbeat is moved at random, so that the devices of a
fleet do not report at the same time.
"""


class Duties(NamedTuple):
    """The tasks of an agent; ``None``: not this one."""

    heartbeats: Heartbeats | None = None
    commands: CommandRunner | None = None
    presence: Presence | None = None


class DeviceAgent(BackgroundThread):
    """``may_send`` says whether requests may be sent: not while offline, paused or throttled."""

    def __init__(
        self,
        duties: Duties,
        *,
        clock: Clock,
        interval_s: float,
        may_send: Callable[[], bool],
        random: Callable[[], float],
    ) -> None:
        super().__init__("bytelyst-sync-agent")
        self._heartbeats = duties.heartbeats
        self._commands = duties.commands
        self._presence = duties.presence
        self._clock = clock
        self._interval_s = interval_s
        self._may_send = may_send
        self._random = random
        now = clock.monotonic()
        self._report_at = self._pull_at = now
        self._kept_until = self._acknowledge_at = self._sign_at = now

    # --- from any thread

    def start(self) -> None:
        """Starts the thread unless it runs."""
        with suppress(RuntimeError):  # there are too many threads, or the interpreter ends
            super().start()

    def look_at_commands(self) -> None:
        """Records were pulled; there may be commands among them."""
        if self._commands is not None:
            self._commands.has_new = True
            self.wake()

    # --- in the thread

    def _run(self) -> None:
        try:
            while not self.closing:
                self._clear()
                self._wait(self._guarded_round())
        finally:
            if self._presence is not None:
                with suppress(Exception):  # the row grows old
                    self._presence.leave()

    def _guarded_round(self) -> float:
        try:
            waits = [self._sign(), self._report(), self._run_commands()]
            return max(0.0, min(wait for wait in waits if wait is not None))
        except EngineClosedError:
            pass
        except Exception as error:  # noqa: BLE001 - the thread must not end
            logger.failure(
                error, "a heartbeat or a remote command failed; next try in %.0f s", _AFTER_CRASH_S
            )
        return _AFTER_CRASH_S

    def _next_turn(self) -> float:
        spread = 1.0 - _SPREAD + 2.0 * _SPREAD * self._random()
        return self._clock.monotonic() + self._interval_s * spread

    def _sign(self) -> float | None:
        """Stores that this worker is alive; returns the seconds until the next time."""
        if self._presence is None:
            return None
        if self._clock.monotonic() >= self._sign_at:
            self._presence.sign()
            self._sign_at = self._clock.monotonic() + SIGN_EVERY_S
        return self._sign_at - self._clock.monotonic()

    # --- heartbeats

    def _report(self) -> float | None:
        """Sends the heartbeat if it is due; returns the seconds until there is something to do."""
        if self._heartbeats is None:
            return None
        now = self._clock.monotonic()
        if now >= self._report_at:
            others_s = self._heartbeats.others_report_s(self._clock.wall())
            if others_s > 0.0:
                self._report_at = now + others_s
            elif self._may_send():
                turn = self._next_turn()
                asked_s = self._heartbeats.send()
                self._report_at = max(turn, now + (asked_s or 0.0))
            else:
                if now >= self._kept_until:
                    self._heartbeats.keep()
                    self._kept_until = self._next_turn()
                return _LOOK_AGAIN_S
        return self._report_at - self._clock.monotonic()

    # --- remote commands

    def _run_commands(self) -> float | None:
        """Pulls, carries out and acknowledges commands; returns the seconds until more is due."""
        commands = self._commands
        if commands is None:
            return None
        now, may_send = self._clock.monotonic(), self._may_send()
        if now >= self._pull_at and may_send:
            self._pull_at = self._next_turn()
            commands.has_new |= commands.pull()
        if commands.has_new:
            commands.note_time()
            commands.run_new()
        commands.finish_flushes()
        if may_send and now >= self._acknowledge_at and not commands.acknowledge():
            self._acknowledge_at = self._next_turn()
        if commands.flushing or (now >= self._pull_at and not may_send):
            return _LOOK_AGAIN_S
        return max(0.0, self._pull_at - self._clock.monotonic())


def look_at_commands(agent: DeviceAgent | None) -> None:
    """Records were pulled: an agent, if there is one, looks for commands among them."""
    if agent is not None:
        agent.look_at_commands()
