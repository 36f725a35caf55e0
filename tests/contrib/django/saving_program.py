"""Saves an order, and is killed at a moment: ``saving_program.py DATABASE NUMBER``.

The moments are: each statement, the receivers of ``post_save``, and the commit. NUMBER counts them.
"""

import ast
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="tests",
    INSTALLED_APPS=["bytelyst_sync.contrib.django", "tests.contrib.django.shop"],
    DATABASES={"default": ast.literal_eval(sys.argv[1])},
    BYTELYST_SYNC={
        "default": {"BASE_URL": "http://server.invalid", "ENTITIES": {"orders": "/orders"}}
    },
    USE_TZ=True,
)
django.setup()

from django.db import connection  # noqa: E402 - Django wants to be set up first
from django.db.models.signals import post_save  # noqa: E402

from bytelyst_sync.contrib.django import get_engine  # noqa: E402
from tests.contrib.django.shop.models import Order  # noqa: E402

passed: list[str] = []


def moment(name: str) -> None:
    if len(passed) == int(sys.argv[2]):
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    passed.append(name)


def statement(execute: Callable[..., Any], text: str, *arguments: Any) -> Any:
    moment(text.split(maxsplit=1)[0])
    return execute(text, *arguments)


def commit() -> None:
    moment("before commit")
    original()
    moment("after commit")


get_engine()
connection.ensure_connection()
original, connection._commit = connection._commit, commit
post_save.connect(lambda **_: moment("post_save"), sender=Order, weak=False)
with connection.execute_wrapper(statement):
    Order.objects.create(title="tea")
