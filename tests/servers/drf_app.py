"""What a tutorial of Django REST Framework comes to, in one file: ``drf_app.py PORT DATABASE``."""

import sys
from pathlib import Path
from typing import Any

import django
import waitress
from django.apps import AppConfig
from django.conf import settings
from django.core.wsgi import get_wsgi_application

PORT, DATABASE = sys.argv[1:]


class Api(AppConfig):
    path = str(Path(__file__).parent)


settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DATABASE,
            "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["rest_framework", "django_filters", Api("api", sys.modules[__name__])],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="not a secret",
    TIME_ZONE="UTC",
    USE_TZ=True,
)
django.setup(set_prefix=False)

from django.db import connection, models  # noqa: E402 - Django wants to be set up first
from django.urls import include, path  # noqa: E402
from django_filters import rest_framework as filters  # noqa: E402
from rest_framework import pagination, routers, serializers, viewsets  # noqa: E402


class Project(models.Model):
    title = models.CharField(max_length=200)
    code = models.CharField(max_length=40, unique=True, null=True, blank=True)
    notes = models.TextField(blank=True, default="")
    done = models.BooleanField(default=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "api"


class Task(models.Model):
    title = models.CharField(max_length=200)
    project = models.ForeignKey(Project, models.CASCADE, null=True, blank=True)
    notes = models.TextField(blank=True, default="")
    done = models.BooleanField(default=False)
    priority = models.IntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "api"


class Pages(pagination.PageNumberPagination):
    page_size = 5
    page_size_query_param = "page_size"
    max_page_size = 100


class Since(filters.FilterSet):
    updated_after = filters.IsoDateTimeFilter("updated_at", lookup_expr="gte")


def viewset(of: Any) -> type:
    class Serializer(serializers.ModelSerializer):
        class Meta:
            model = of
            fields = "__all__"

    class ViewSet(viewsets.ModelViewSet):
        queryset = of.objects.order_by("updated_at", "id")
        serializer_class = Serializer
        pagination_class = Pages
        filter_backends = (filters.DjangoFilterBackend,)
        filterset_class = Since

    return ViewSet


router = routers.DefaultRouter()
router.register("projects", viewset(Project))
router.register("tasks", viewset(Task))
urlpatterns = [path("api/", include(router.urls))]


def create_tables() -> None:
    there = connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for model in (Project, Task):
            if model._meta.db_table not in there:
                editor.create_model(model)


if __name__ == "__main__":
    create_tables()
    waitress.serve(get_wsgi_application(), host="127.0.0.1", port=int(PORT), threads=8)
