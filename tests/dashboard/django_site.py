"""The pages in a Django project; the third argument is ``wsgi`` or ``asgi``."""

import os
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from tests.dashboard.serve import STORE, fleet_commands, new_engine, serve_asgi, serve_wsgi

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF="django_site",
    USE_TZ=True,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(STORE).with_name("project.sqlite3"),
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    BYTELYST_SYNC_OPS={"engine": new_engine, "fleet_commands": fleet_commands()},
    LOGIN_URL="/login/",
)
django.setup()

# --- what needs the settings

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import include, path  # noqa: E402

urlpatterns = [path("admin/ops/", include("bytelyst_sync.dashboard.django"))]


def logged_in(name: str, **more: Any) -> str:
    """The session key of a new user."""
    user = User.objects.create_user(name, is_staff=True, **more)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


if __name__ == "__main__":
    sys.modules["django_site"] = sys.modules["__main__"]
    call_command("migrate", verbosity=0)
    keys = {"sessionid": logged_in("sam", is_superuser=True), "staff": logged_in("eve")}
    if sys.argv[3] == "wsgi":
        serve_wsgi(get_wsgi_application(), **keys)
    else:
        os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)
        serve_asgi(get_asgi_application(), **keys)
