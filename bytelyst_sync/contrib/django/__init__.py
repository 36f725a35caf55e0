"""The queue in the database of a Django project: see ``docs/howto/django.rst``.

``get_engine()`` is this process's engine; ``deliver_now()`` delivers in tests. ``pushed`` and
``PushedModelMixin`` push the rows of models; ``without_pushes()`` keeps them from it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bytelyst_sync.contrib.django.engines import deliver_now, get_engine
    from bytelyst_sync.contrib.django.pushed_models import PushedModelMixin, pushed, without_pushes
    from bytelyst_sync.contrib.django.storage import DjangoStorage

__all__ = [
    "DjangoStorage",
    "PushedModelMixin",
    "deliver_now",
    "get_engine",
    "pushed",
    "without_pushes",
]

_LAZY = {
    "DjangoStorage": "bytelyst_sync.contrib.django.storage",
    "PushedModelMixin": "bytelyst_sync.contrib.django.pushed_models",
    "deliver_now": "bytelyst_sync.contrib.django.engines",
    "get_engine": "bytelyst_sync.contrib.django.engines",
    "pushed": "bytelyst_sync.contrib.django.pushed_models",
    "without_pushes": "bytelyst_sync.contrib.django.pushed_models",
}


def __getattr__(name: str) -> Any:
    """Imports a name at its first use: models can be imported only when Django is set up."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
