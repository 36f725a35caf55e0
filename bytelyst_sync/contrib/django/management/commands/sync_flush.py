"""``manage.py sync_flush``: waits until what is queued now is delivered."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bytelyst_sync.contrib.django.engines import new_engine, read_settings
from bytelyst_sync.errors import SyncError


class Command(BaseCommand):
    """Delivers a queue itself where no worker does."""

    help = "Waits until what is queued now is delivered; delivers it itself if no worker runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's arguments."""
        parser.add_argument("queue", nargs="?", default="default", help="the name of a queue")
        parser.add_argument("--timeout", type=float, default=None, help="seconds to wait at most")

    def handle(self, *_: Any, **options: Any) -> None:
        """Prints the result."""
        try:
            with new_engine(read_settings(options["queue"])) as engine:
                result = engine.flush(options["timeout"])
        except SyncError as error:
            raise CommandError(str(error)) from error
        counts = f"{result.remaining} left, {result.failed} failed, {result.parked} in conflict"
        if not result.success:
            first = next((f": {each.message}" for each in result.problems), "")
            raise CommandError(f"not all was delivered; {counts}{first}")
        self.stdout.write(f"all was delivered; {counts}")
