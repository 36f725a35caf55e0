"""The loggers of the package, which write all of its log lines.

Filters and handlers of logging are code of the program. If one raises any exception, only its line
is lost. Nothing is logged while a lock of the package is held, so a handler may use the engine.

A line of level ``WARNING`` or above is logged once in ``BURST_S`` seconds; those like it (of the
same logger and message) that follow meanwhile are counted, and the next one says how many there
were. So a handler that sends the package's own warnings through the engine causes one more line,
not an endless number of them.

Exceptions are logged as their kind and their traceback's lines: their text may quote a payload or a
token, whoever raised them.

No lock guards ``_bursts``: two threads at the same instant may log a line each.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from contextlib import suppress
from typing import Final

from bytelyst_sync.clock import SystemClock

__all__ = ["BURST_S", "SafeLogger", "forget_bursts", "shield_dependencies"]

BURST_S: Final = 10.0
THREAD_PREFIX: Final = "bytelyst-sync"
"""The prefix of the names of the package's threads."""
_DEPENDENCIES = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
    "filelock",
)
_CLOCK = SystemClock()
_bursts: dict[tuple[str, str], tuple[float, int]] = {}
"""When a line was last logged, and how many similar lines were dropped since."""


class SafeLogger:
    """A logger of the package; none of its methods raises."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def is_enabled_for(self, level: int) -> bool:
        """Whether a line of this level is handled by any handler."""
        return self._logger.isEnabledFor(level)

    def debug(self, message: str, *args: object) -> None:
        """For developers: every line is logged."""
        self._log(logging.DEBUG, message, args)

    def info(self, message: str, *args: object) -> None:
        """Normal operation: every line is logged."""
        self._log(logging.INFO, message, args)

    def warning(self, message: str, *args: object) -> None:
        """Something to look into; one line per burst."""
        self._log(logging.WARNING, message, args)

    def error(self, message: str, *args: object) -> None:
        """Something does not work; one line per burst."""
        self._log(logging.ERROR, message, args)

    def failure(self, error: BaseException, message: str, *args: object) -> None:
        """An error with the exception's kind and its traceback's lines; one line per burst."""
        where = "".join(traceback.format_tb(error.__traceback__))
        self._log(logging.ERROR, message + ": %s\n%s", (*args, type(error).__name__, where))

    def log(self, level: int, message: str, *args: object) -> None:
        """Logs a line of this level."""
        self._log(level, message, args)

    def _log(self, level: int, message: str, args: tuple[object, ...]) -> None:
        logger = self._logger
        if not logger.isEnabledFor(level):
            return
        if level >= logging.WARNING:
            left_out = _left_out_before(logger.name, message)
            if left_out is None:
                return
            if left_out:
                message = message if args else message.replace("%", "%%")
                message, args = message + " (%d more like this were left out)", (*args, left_out)
        try:
            logger.log(level, message, *args, stacklevel=3)
        except BaseException as error:  # noqa: BLE001 - the program's filters may raise anything
            _lose_line(error)


def _left_out_before(name: str, message: str) -> int | None:
    """How many similar lines were dropped before this one; ``None`` if this one is dropped too."""
    key, now = (name, message), _CLOCK.monotonic()
    last, count = _bursts.get(key, (None, 0))
    if last is not None and now - last < BURST_S:
        _bursts[key] = (last, count + 1)
        return None
    _bursts[key] = (now, 0)
    return count


def forget_bursts() -> None:
    """For tests: the next line of each kind is logged."""
    _bursts.clear()


def _lose_line(error: BaseException) -> None:
    """Drops the line. A ``KeyboardInterrupt`` in the main thread is raised again."""
    if isinstance(error, KeyboardInterrupt) and _is_main_thread():
        raise error
    kind = type(error).__name__
    # reported like logging itself reports a handler that raises, but one line per burst
    if logging.raiseExceptions and _left_out_before("", kind) is not None:
        with suppress(Exception):
            sys.stderr.write(f"bytelyst_sync: a filter or handler of logging raised {kind}\n")


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class _Shield(logging.Filter):
    """Passes log records of a library to the handlers such that an exception in these ends neither
    the request nor the thread. Applies to the package's threads only.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def filter(self, record: logging.LogRecord) -> bool:
        if not threading.current_thread().name.startswith(THREAD_PREFIX):
            return True
        try:
            if self._passes_the_others(record):
                self._logger.callHandlers(record)
        except BaseException as error:  # noqa: BLE001 - the program's filters may raise anything
            _lose_line(error)
        return False

    def _passes_the_others(self, record: logging.LogRecord) -> bool:
        """Runs the logger's filters that come after this one."""
        filters = self._logger.filters
        later = logging.Filterer()
        later.filters = filters[filters.index(self) + 1 :]
        return bool(later.filter(record))


def shield_dependencies() -> None:
    """Makes the loggers of the libraries that send requests as safe as the package's own, where
    they are used by the package's threads.
    """
    for name in _DEPENDENCIES:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Shield) for each in logger.filters):
            logger.addFilter(_Shield(logger))
