"""The Django application: ``INSTALLED_APPS += ["bytelyst_sync.contrib.django"]``."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

__all__ = ["BytelystSyncConfig"]


class BytelystSyncConfig(AppConfig):
    """Its tables, checks and commands."""

    name = "bytelyst_sync.contrib.django"
    label = "bytelyst_sync"
    verbose_name = "Sync queue"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Registers the system checks."""
        import_module("bytelyst_sync.contrib.django.checks")
        import_module("bytelyst_sync.contrib.django.pushed_checks")
