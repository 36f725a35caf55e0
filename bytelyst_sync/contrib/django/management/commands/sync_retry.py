"""``manage.py sync_retry``: queues failed items again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bytelyst_sync.contrib.django.engines import get_engine
from bytelyst_sync.errors import SyncError


class Command(BaseCommand):
    """``SyncEngine.reprocess_failed``."""

    help = "Queues failed items again, all or those with the given ids."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's arguments."""
        parser.add_argument("id", nargs="*", help="ids of failed items (default: all)")
        parser.add_argument("--queue", default="default", help="the name of a queue")

    def handle(self, *_: Any, **options: Any) -> None:
        """Prints how many; an id that names no failed item is an error."""
        asked = list(dict.fromkeys(options["id"]))
        try:
            engine = get_engine(options["queue"])
            failed = {each.id for each in engine.failed()} if asked else set()
            number = engine.reprocess_failed(asked or None)
        except SyncError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{number} failed item{'' if number == 1 else 's'} queued again")
        if unknown := [each for each in asked if each not in failed]:
            raise CommandError(
                f"no failed item of queue {options['queue']!r} has the id {', '.join(unknown)}"
            )
