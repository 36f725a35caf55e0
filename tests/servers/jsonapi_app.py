"""djangorestframework-jsonapi with sessions and CSRF: ``jsonapi_app.py PORT DATABASE``.

Anybody may log in by a POST to ``/login``; its answer has the CSRF token.
"""

import sys
from pathlib import Path
from typing import Any

import django
import waitress
from django.apps import AppConfig
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest

PORT, DATABASE = sys.argv[1:]


class Api(AppConfig):
    path = str(Path(__file__).parent)
    label = "api"


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "api.example.com"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework",
        "rest_framework_json_api",
        "django_filters",
        Api("api", sys.modules[__name__]),
    ],
    JSON_API_FORMAT_FIELD_NAMES="camelize",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
        "DEFAULT_FILTER_BACKENDS": [
            "rest_framework_json_api.django_filters.DjangoFilterBackend",
            "rest_framework_json_api.filters.OrderingFilter",
        ],
        "DEFAULT_METADATA_CLASS": "rest_framework_json_api.metadata.JSONAPIMetadata",
        "DEFAULT_PARSER_CLASSES": ["rest_framework_json_api.parsers.JSONParser"],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework_json_api.renderers.JSONRenderer"],
        "EXCEPTION_HANDLER": "rest_framework_json_api.exceptions.exception_handler",
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret",
    TIME_ZONE="UTC",
    USE_TZ=True,
)
django.setup(set_prefix=False)

from django.contrib.auth import login  # noqa: E402 - Django wants to be set up first
from django.contrib.auth.models import User  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import include, path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from rest_framework import routers  # noqa: E402
from rest_framework_json_api import pagination, serializers, views  # noqa: E402


class Pages(pagination.JsonApiPageNumberPagination):
    page_size = 5


class Project(models.Model):
    title = models.CharField(max_length=40)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "api"

    class JSONAPIMeta:
        resource_name = "projects"


class Task(models.Model):
    title = models.CharField(max_length=40)
    is_done = models.BooleanField(default=False)
    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "api"

    class JSONAPIMeta:
        resource_name = "tasks"


def viewset(of: Any) -> type:
    class Serializer(serializers.ModelSerializer):
        class Meta:
            model = of
            fields = "__all__"

    class ViewSet(views.ModelViewSet):
        queryset = of.objects.order_by("updated_at", "id")
        serializer_class = Serializer
        pagination_class = Pages
        filterset_fields = {"updated_at": ("gte",)}  # noqa: RUF012 - as its documentation has it

    return ViewSet


@csrf_exempt  # type: ignore[untyped-decorator]  # Django has no types
def log_in(request: HttpRequest) -> JsonResponse:
    user, _ = User.objects.get_or_create(username="ada")
    login(request, user)
    return JsonResponse({"csrf": get_token(request)})


router = routers.DefaultRouter(trailing_slash=False)
router.register("projects", viewset(Project))
router.register("tasks", viewset(Task))
urlpatterns = [path("login", log_in), path("api/", include(router.urls))]


def create_tables() -> None:
    there = connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for model in django.apps.apps.get_models():
            if model._meta.db_table not in there:
                editor.create_model(model)


if __name__ == "__main__":
    create_tables()
    waitress.serve(get_wsgi_application(), host="127.0.0.1", port=int(PORT), threads=4)
