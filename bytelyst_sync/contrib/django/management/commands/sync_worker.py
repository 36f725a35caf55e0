"""``manage.py sync_worker``: delivers what is queued until it is told to end."""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from django.db import connections

from bytelyst_sync.contrib.django.engines import QueueSettings, queue_names, read_settings
from bytelyst_sync.contrib.django.worker_start import WorkerStart
from bytelyst_sync.errors import SyncError

_LOOKS_EVERY_S = 10.0
"""Waits are bounded: on some systems no signal ends one that is not."""


class Command(BaseCommand):
    """Runs one engine for each queue, on threads of its own."""

    help = "Delivers the queues of BYTELYST_SYNC until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's arguments."""
        parser.add_argument("queue", nargs="*", help="names of queues (default: all)")
        parser.add_argument(
            "--stop-timeout",
            type=float,
            default=30.0,
            help="seconds that requests under way get to end after the signal (default: 30)",
        )
        parser.add_argument(
            "--no-wait",
            action="store_true",
            help="end with an error if a database cannot be reached, instead of waiting for it",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Runs until a signal comes."""
        news: SimpleQueue[bool] = SimpleQueue()  # a signal handler may use no other queue or lock
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: news.put(True))
        try:
            queues = [
                read_settings(name, deliver=True) for name in options["queue"] or queue_names()
            ]
        except SyncError as error:
            raise CommandError(str(error)) from error
        start = WorkerStart(
            queues,
            wait=not options["no_wait"],
            started=self._tell_started,
            waits=self._tell_waiting,
            finished=lambda: news.put(False),
        )
        try:
            while start.error is None:
                with suppress(Empty):
                    if news.get(timeout=_LOOKS_EVERY_S):
                        break
        finally:
            self._tell(self.stdout, "ending")
            engines = start.end()
            late = [engine for engine in engines if not engine.close(options["stop_timeout"])]
            connections.close_all()
        if isinstance(start.error, SyncError):
            raise CommandError(str(start.error)) from start.error
        if start.error is not None:
            raise start.error
        if late:
            raise CommandError(
                "a request under way did not end in time; its item is sent again by another worker"
            )

    def _tell_started(self, queue: QueueSettings) -> None:
        self._tell(
            self.stdout,
            f"queue {queue.name!r} of database {queue.using!r} is delivered to"
            f" {queue.config.base_url}",
        )

    def _tell_waiting(self, queue: QueueSettings, reason: str, pause_s: float) -> None:
        self._tell(
            self.stderr,
            f"queue {queue.name!r} is not delivered yet: the database {queue.using!r} cannot be"
            f" reached ({reason}); next try in {pause_s:g} s",
        )

    def _tell(self, stream: OutputWrapper, text: str) -> None:
        stream.write(text)
        stream.flush()
