"""``manage.py sync_status``: what is queued, and who delivers it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from contextlib import closing
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from bytelyst_sync.contrib.django.engines import queue_names, read_settings
from bytelyst_sync.contrib.django.queue_report import queue_report
from bytelyst_sync.errors import SyncError


class Command(BaseCommand):
    """Prints one line for each queue."""

    help = "Shows what is queued, failed and in conflict, and whether a worker runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The command's arguments."""
        parser.add_argument("queue", nargs="*", help="names of queues (default: all)")
        parser.add_argument("--json", action="store_true", help="one JSON object for each queue")
        parser.add_argument(
            "--check",
            action="store_true",
            help="end with an error if something has failed, or is queued and no worker runs",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        """Prints the lines."""
        try:
            found = [_report(name) for name in options["queue"] or queue_names()]
        except SyncError as error:
            raise CommandError(str(error)) from error
        for each in found:
            self.stdout.write(json.dumps(each) if options["json"] else _line(each))
        wrong = [each["queue"] for each in found if each["failed"] or each["stuck"]]
        if options["check"] and wrong:
            raise CommandError(f"these queues need attention: {', '.join(wrong)}")


def _report(name: str) -> dict[str, Any]:
    with closing(read_settings(name).storage) as storage:
        return {**queue_report(name), "listen_problem": storage.find_listen_problem()}


def _line(each: dict[str, Any]) -> str:
    seen = each["worker_seen_s"]
    worker = "no worker was ever seen" if seen is None else f"a worker was seen {seen:g} s ago"
    if each["stuck"]:
        worker += ": start `manage.py sync_worker`"
    if each["listen_problem"]:
        worker += "; workers do not hear of pushes, and look every second: see `manage.py check`"
    return (
        f"{each['queue']}: {each['queued']} queued, {each['failed']} failed,"
        f" {each['conflicts']} in conflict; {worker}"
    )
