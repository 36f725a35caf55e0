"""A project with an admin, and users who have some permissions."""

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import override_settings

from bytelyst_sync.contrib.django import get_engine
from bytelyst_sync.testing import SyncServer
from tests.dashboard.conftest import Stage

RIGHTS = (
    *("view_queueditem", "view_faileditem", "change_faileditem", "delete_faileditem"),
    *("view_openconflict", "change_openconflict", "view_queuestatus"),
)
PLACE = "/admin/bytelyst_sync"


class OneDatabase:
    """All models are in one database."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **_: object) -> str:
        return self.alias

    db_for_write = db_for_read


@contextlib.contextmanager
def project(alias: str, **more: object) -> Iterator[Stage]:
    """A running server and the settings of a project whose queue is delivered to it."""
    with SyncServer() as server:
        queue = {
            "BASE_URL": server.url,
            "ENTITIES": {"orders": "/orders", "customers": "/customers"},
            "USING": alias,
            "CONFLICT": "manual",
            "PROBE": None,
            "RETRY_DELAY": 1e-5,
            "MAX_RETRY_DELAY": 1e-5,
            "BATCH_SIZE": 1,
            **more,
        }
        with override_settings(
            BYTELYST_SYNC={"default": queue}, DATABASE_ROUTERS=[OneDatabase(alias)]
        ):
            yield Stage(server, get_engine())


@pytest.fixture
def stage(sqlite_database: str) -> Iterator[Stage]:
    empty_admin(sqlite_database)
    with project(sqlite_database) as found:
        yield found


def empty_admin(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        for table in ("django_admin_log", "django_session", "auth_user_user_permissions"):
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("DELETE FROM auth_user")


class NewUser(Protocol):
    """A staff member who has these rights."""

    def __call__(self, *rights: str, name: str = ...) -> User: ...


@pytest.fixture
def new_user(stage: Stage) -> NewUser:
    """``new_user(*rights)``: a staff member who has them."""

    def make(*rights: str, name: str = "operator") -> User:
        user = User.objects.create_user(name, password="secret", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(content_type__app_label="bytelyst_sync", codename__in=rights)
        )
        assert user.user_permissions.count() == len(rights)
        return user

    return make
