"""The operations pages in a Django project, with its users, permissions and CSRF protection.

``path("ops/", include("bytelyst_sync.dashboard.django"))`` in the URLs, and in the settings
``BYTELYST_SYNC_OPS = {"engine": "shop.sync.engine"}``: the dotted path of an engine, or of a
function that returns it. Staff members see what their permissions allow; others are sent to the
login page. It works under WSGI and ASGI.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

try:
    from django.conf import settings
    from django.contrib.auth.views import redirect_to_login
    from django.core.exceptions import ImproperlyConfigured
    from django.db import transaction
    from django.http import HttpRequest, HttpResponse, HttpResponseBase
    from django.middleware.csrf import get_token
    from django.urls import re_path
    from django.utils.module_loading import import_string
    from django.views.decorators.csrf import csrf_protect
except ImportError as error:
    raise ImportError("bytelyst_sync.dashboard.django needs Django: pip install Django") from error

from bytelyst_sync.dashboard.access import Actor, FormToken, Right
from bytelyst_sync.dashboard.app import OpsApp, ops_app
from bytelyst_sync.dashboard.http import Form, Request
from bytelyst_sync.engine import SyncEngine

__all__ = ["app_name", "urlpatterns"]

_SETTING = "BYTELYST_SYNC_OPS"
_PERMISSIONS: Mapping[Right, str] = {
    "view": "bytelyst_sync.view_ops",
    "operate": "bytelyst_sync.operate_ops",
    "payload": "bytelyst_sync.payload_ops",
    "command": "bytelyst_sync.command_ops",
}
"""What a staff member needs for each right; a superuser has all of them."""
_OPTIONS = {"engine", "permissions", "redact", "read_only", "fleet_master", "fleet_commands"}
_REQUEST = "bytelyst_sync.django_request"


def _options() -> dict[str, Any]:
    options = getattr(settings, _SETTING, None)
    if not isinstance(options, dict) or "engine" not in options:
        raise ImproperlyConfigured(
            f'{_SETTING} = {{"engine": "shop.sync.engine"}}: name the engine of the pages'
        )
    unknown = set(options) - _OPTIONS
    if unknown:
        raise ImproperlyConfigured(
            f"{_SETTING} knows {', '.join(sorted(_OPTIONS))}; not {', '.join(sorted(unknown))}"
        )
    return options


def _imported(value: Any) -> Any:
    return import_string(value) if isinstance(value, str) else value


@cache
def _app() -> OpsApp:
    options = _options()
    engine = _imported(options["engine"])
    if callable(engine):
        engine = engine()
    if not isinstance(engine, SyncEngine):
        raise ImproperlyConfigured(
            f"{_SETTING}['engine'] is no SyncEngine, and no function that returns one"
        )
    return ops_app(
        engine,
        authorize=_actor,
        redact=_imported(options.get("redact")),
        read_only=bool(options.get("read_only", False)),
        fleet_master=options.get("fleet_master"),
        fleet_commands=_imported(options.get("fleet_commands")),
        hosts=None,  # get_host() checks ALLOWED_HOSTS
        form_tokens=_form_token,
    )


def _actor(environ: Mapping[str, Any]) -> Actor | None:
    user = environ[_REQUEST].user
    if not user.is_active or not user.is_staff:
        return None
    permissions = {**_PERMISSIONS, **_options().get("permissions", {})}
    rights = [right for right, name in permissions.items() if user.has_perm(name)]
    return Actor(user.get_username(), rights)


def _form_token(request: Request, actor: Actor) -> FormToken:
    """Django's own token; ``csrf_protect`` has checked it before."""
    del actor
    return FormToken("csrfmiddlewaretoken", get_token(request.environ[_REQUEST]), valid=True)


def _ops(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answers with a page."""
    request.get_host()
    user = getattr(request, "user", None)
    if user is None:
        raise ImproperlyConfigured("the operations pages need Django's AuthenticationMiddleware")
    if not user.is_authenticated and not path.startswith("static/"):
        return redirect_to_login(request.get_full_path())
    response = _app().respond(_request(request, path))
    answer = HttpResponse(response.body, status=response.status, content_type=response.content_type)
    for name, text in response.headers:
        answer[name] = text
    return answer


def _request(request: HttpRequest, path: str) -> Request:
    prefix = request.path[: len(request.path) - len(path)].rstrip("/")
    sent = request.POST.lists() if request.method == "POST" else ()
    return Request(
        method=request.method or "GET",
        path=f"/{path}",
        script_name=prefix,
        query=Form.parse(request.META.get("QUERY_STRING", "")),
        form=Form(tuple((str(name), str(text)) for name, texts in sent for text in texts)),
        headers={name.lower(): text for name, text in request.headers.items()},
        scheme=request.scheme or "http",
        environ={**request.META, _REQUEST: request},
    )


# the engine has a store of its own: a page is no part of a transaction of the project
_view = transaction.non_atomic_requests(csrf_protect(_ops))

app_name = "bytelyst_sync_ops"
urlpatterns = [re_path(r"^(?P<path>.*)$", _view, name="ops")]
