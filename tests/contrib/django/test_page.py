"""``docs/howto/django.rst`` keeps its word: its files are a project, and its commands run in it."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from bytelyst_sync.testing import SyncServer

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/howto/django.rst"
FILE = re.compile(
    r"^\.\. code-block:: python3\n   :caption: (?P<name>\S+)\n\n(?P<code>(?:(?: {4}.*)?\n)+)",
    re.MULTILINE,
)
SNIPPET = re.compile(r"^  \.\. code-block:: python3\n\n(?P<code>(?:(?: {6}.*)?\n)+)", re.MULTILINE)
COMMANDS = re.compile(r"^\.\. code-block:: console\n\n(?P<code>(?:(?: {4}.*)?\n)+)", re.MULTILINE)

SETTINGS = """
SECRET_KEY = "page"
INSTALLED_APPS = ["orders"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": "project.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""
MODELS = """
from django.db import models

class Order(models.Model):
    title = models.TextField()
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
IMPORTS = """
from django.db import transaction
from bytelyst_sync.contrib.django import get_engine
from orders.models import Delivery, Reorder
Delivery.objects.create(number="D-1", place="Oslo")
Reorder.objects.create(title="tea", pk=70)
"""
PLACE = "from orders.services import place_order; place_order('tea')"


def project(folder: Path, url: str) -> None:
    files = {
        "settings.py": SETTINGS,
        "manage.py": MANAGE,
        "orders/__init__.py": "",
        "orders/models.py": MODELS,
    }
    for found in FILE.finditer(PAGE.read_text("utf-8")):
        code = textwrap.dedent(found["code"]).replace("https://api.example.com", url)
        files[found["name"]] = files.get(found["name"], "") + code
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    assert len(files) == 7


def manage(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_page_is_a_project_that_works(tmp_path: Path) -> None:
    with SyncServer() as server:
        project(tmp_path, server.url)
        assert "no issues" in manage(tmp_path, "check")
        manage(tmp_path, "makemigrations", "orders", "-v", "0")
        manage(tmp_path, "migrate", "-v", "0")
        manage(tmp_path, "shell", "-v", "0", "-c", PLACE)
        blocks = COMMANDS.findall(PAGE.read_text("utf-8"))
        (shown,) = [textwrap.dedent(each) for each in blocks if "sync_status" in each]
        parts = [part.split("\n", 1) for part in shown.split("$ python manage.py ")[1:]]
        assert [command for command, _ in parts] == ["sync_status", "sync_flush", "sync_retry"]
        for command, expected in parts:
            assert manage(tmp_path, *command.split()).strip() == expected.strip()
        assert [each["title"] for each in server.records("orders").values()] == ["tea"]
        (snippet,) = SNIPPET.findall(PAGE.read_text("utf-8"))
        manage(tmp_path, "shell", "-v", "0", "-c", IMPORTS + textwrap.dedent(snippet))
        assert manage(tmp_path, "sync_flush").startswith("all was delivered")
        assert server.records("orders")["D-1"]["title"] == "to Oslo"
        assert server.records("orders")["70"]["quantity"] == 2
        assert "OK" in manage(tmp_path, "test", "orders")


COMMAND = re.compile(r'manage\.py(?:", "| )(sync_\w+(?:(?:", "| )[\w-]+)*)')
DEPLOYED = [each.replace('", "', " ").split() for each in COMMAND.findall(PAGE.read_text("utf-8"))]


def test_the_page_has_the_commands_of_a_unit_and_of_a_container() -> None:
    assert DEPLOYED.count(["sync_worker", "--stop-timeout", "30"]) == 2


@pytest.mark.parametrize("command", DEPLOYED, ids=" ".join)
def test_a_command_of_the_page_takes_its_arguments(command: list[str]) -> None:
    name, *arguments = command
    found = load_command_class(get_commands()[name], name)
    found.create_parser("manage.py", name).parse_args(arguments)
