"""``manage.py sync_worker`` of a project: ``worker_program.py SETTINGS``, with a short lease.

SETTINGS is JSON: ``database`` for Django's settings, ``queue`` for those of the queue, and
``options`` of the command.
"""

import json
import sys

import django
from django.conf import settings

given = json.loads(sys.argv[1])
settings.configure(
    SECRET_KEY="tests",
    INSTALLED_APPS=["bytelyst_sync.contrib.django"],
    DATABASES={"default": given["database"]},
    BYTELYST_SYNC={"default": given["queue"]},
    USE_TZ=True,
    SILENCED_SYSTEM_CHECKS=["bytelyst_sync.W003"],
)
if given["database"]["ENGINE"].endswith("mysql"):
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
django.setup()

from django.core.management import call_command  # noqa: E402 - Django wants to be set up first

from bytelyst_sync.contrib.django import engines  # noqa: E402

engines._MARGIN_S = given["margin"]
call_command("sync_worker", **{"stop_timeout": 5.0, **given.get("options", {})})
