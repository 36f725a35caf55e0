"""The base of all pages in the admin: the queue that is shown, lists, links, permissions.

The pages call the engine as any program does, outside of a transaction: an action is committed by
itself, and its entry in the admin's log is written afterwards. A form contains fingerprints of the
items that it shows, so that no action is applied to an item that has changed since.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from functools import update_wrapper
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from bytelyst_sync.contrib.django.engines import get_engine, queue_names
from bytelyst_sync.engine import SyncEngine
from bytelyst_sync.errors import ConfigError, StorageError, SyncError
from bytelyst_sync.inspection.text import as_json, clean
from bytelyst_sync.model import SyncItem
from bytelyst_sync.rules.json_text import JsonNumber

__all__ = ["Page", "QueueAdmin", "exact_json", "fingerprint", "item_cells", "key_of", "plain_error"]

T = TypeVar("T")
PAGE = 50
_MOST_SEARCHED = 20_000


class Page(NamedTuple):
    """One page of a list."""

    rows: list[Any]
    number: int
    has_next: bool
    cut: bool
    """Whether the queue is longer than the part that is searched."""


def key_of(queue: str, name: str) -> str:
    """The primary key of the item or conflict with the id ``name`` in a queue."""
    return f"{quote(queue)}:{name}"


def split_key(key: str) -> tuple[str, str]:
    """The queue and the id in a primary key."""
    queue, _, name = key.partition(":")
    return unquote(queue), name


def exact_json(value: Any) -> str:
    """Indented JSON that shows each character, with numbers as they were written."""
    token, numbers = secrets.token_hex(16), list[str]()
    text = as_json(_marked(value, token, numbers), indent=2)
    for place, number in enumerate(numbers):
        text = text.replace(f'"{token}-{place}"', number)
    return text


def _marked(value: Any, token: str, numbers: list[str]) -> Any:
    if isinstance(value, JsonNumber):
        numbers.append(value.text)
        return f"{token}-{len(numbers) - 1}"
    if isinstance(value, dict):
        return {name: _marked(each, token, numbers) for name, each in value.items()}
    if isinstance(value, list):
        return [_marked(each, token, numbers) for each in value]
    return value


def fingerprint(*parts: object) -> str:
    """A hash of the parts."""
    text = json.dumps([each if isinstance(each, str) else exact_json(each) for each in parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def item_cells(item: SyncItem) -> dict[str, object]:
    """The columns of an item in a list."""
    return {
        "name": clean(f"{item.entity}/{item.record_id}"),
        "operation": item.operation.value,
        "state": item.state.value,
        "queued": item.timestamp,
        "tries": item.retry_count,
        "error": clean(item.last_error or ""),
    }


def plain_error(error: SyncError) -> str:
    """An error's message without characters that change how text is shown."""
    return clean(str(error))


class QueueAdmin(admin.ModelAdmin):
    """The base of the pages about the items or conflicts of a queue."""

    all_of: staticmethod[[SyncEngine], Iterable[Any]]
    """The items or conflicts of an engine; each has an ``id``."""
    label: staticmethod[[Any], str]
    """The name that the admin shows for one of them."""

    def get_urls(self) -> list[URLPattern]:
        """Only the pages that work without a table: Django's others need one."""
        names = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("", self._wrapped(self.changelist_view), name=f"{names}_changelist"),
            path(
                "<path:object_id>/history/",
                self._wrapped(self.history_view),
                name=f"{names}_history",
            ),
            path(
                "<path:object_id>/change/", self._wrapped(self.change_view), name=f"{names}_change"
            ),
        ]

    def _wrapped(self, view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        """The view, for users of the admin only, and outside of the request's transaction."""

        def call(request: HttpRequest, *arguments: Any, **options: Any) -> Any:
            try:
                return self.admin_site.admin_view(view)(request, *arguments, **options)
            except (ConfigError, StorageError) as error:
                title, text = "The queue cannot be shown", plain_error(error)
                return self.render(request, "queue_error.html", title, status=503, error=text)

        update_wrapper(call, view)
        call.model_admin = self  # type: ignore[attr-defined]
        # as transaction.non_atomic_requests does, for all databases
        call._non_atomic_requests = set(connections)  # type: ignore[attr-defined] # noqa: SLF001
        return call

    def has_add_permission(self, request: HttpRequest) -> bool:
        """False: items are added by ``push`` only."""
        del request
        return False

    # --- the queue

    def queue_of(self, request: HttpRequest) -> str:
        """The name of the queue that a list shows."""
        names, asked = queue_names(), request.GET.get("queue")
        return asked if asked in names else names[0]

    def find(self, engine: SyncEngine, name: str) -> Any:
        """The item or conflict with the id ``name``, or ``None``."""
        return next((each for each in self.all_of(engine) if each.id == name), None)

    def shown(self, queue: str, found: Any) -> Any:
        """The model's object for an item or conflict."""
        return self.model(key=key_of(queue, found.id), label=self.label(found))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The model's object with this key, or ``None``; Django's history page calls it."""
        del request, from_field
        queue, name = split_key(object_id)
        if queue not in queue_names():
            return None
        found = self.find(get_engine(queue), name)
        return None if found is None else self.shown(queue, found)

    def link(self, queue: str, name: str) -> str:
        """The URL of the page of one item or conflict."""
        key = quote(key_of(queue, name))
        return str(reverse(f"admin:{self._names()}_change", args=(key,), current_app=self._site()))

    def list_link(self, queue: str) -> str:
        """The URL of the list."""
        address = reverse(f"admin:{self._names()}_changelist", current_app=self._site())
        return f"{address}?{urlencode({'queue': queue})}"

    def _names(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def _site(self) -> str:
        return str(self.admin_site.name)

    # --- pages

    def require(self, request: HttpRequest, right: str) -> None:
        """``PermissionDenied`` for a user without the right ``view``, ``change`` or ``delete``."""
        if not getattr(self, f"has_{right}_permission")(request):
            raise PermissionDenied

    def render(
        self, request: HttpRequest, template: str, title: str, *, status: int = 200, **context: Any
    ) -> HttpResponse:
        """A page of the admin."""
        request.current_app = self._site()
        return TemplateResponse(
            request,
            f"admin/bytelyst_sync/{template}",
            {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": title,
                "may_change": self.has_change_permission(request),
                "may_delete": self.has_delete_permission(request),
                **context,
            },
            status=status,
        )

    def render_list(
        self, request: HttpRequest, queue: str, rows: Page, **context: Any
    ) -> HttpResponse:
        """A list with its filters."""
        kept = {"queue": queue, **{name: request.GET.get(name, "") for name in ("entity", "q")}}
        kept = {name: value for name, value in kept.items() if value}

        def page_link(number: int) -> str:
            return "?" + urlencode({**kept, "p": number})

        return self.render(
            request,
            f"{self.opts.model_name}_list.html",
            self.opts.verbose_name_plural.capitalize(),
            queue=queue,
            queues=queue_names(),
            entities=sorted(get_engine(queue).config.entities),
            entity=request.GET.get("entity", ""),
            q=request.GET.get("q", ""),
            rows=rows.rows,
            number=rows.number,
            previous=page_link(rows.number - 1) if rows.number > 1 else None,
            next=page_link(rows.number + 1) if rows.has_next else None,
            cut=_MOST_SEARCHED if rows.cut else None,
            **context,
        )

    def page(self, request: HttpRequest, found: Iterable[T]) -> Page:
        """The page of the list that the request asks for, after the filters."""
        text = request.GET.get("p", "")
        number = max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 6 else 1
        seen = _Counted(islice(found, _MOST_SEARCHED))
        kept = (each for each in seen if self._matches(request, each))
        rows = list(islice(kept, (number - 1) * PAGE, number * PAGE + 1))
        return Page(rows[:PAGE], number, len(rows) > PAGE, seen.number >= _MOST_SEARCHED)

    @staticmethod
    def _matches(request: HttpRequest, found: Any) -> bool:
        entity, text = request.GET.get("entity"), request.GET.get("q", "")
        return entity in (None, "", found.entity) and text in found.record_id

    def gone(self, request: HttpRequest, queue: str, what: str) -> HttpResponse:
        """Redirects to the list, with a message that the item or conflict no longer exists."""
        messages.warning(request, f"{what} is no longer there: it was delivered or decided.")
        return HttpResponseRedirect(self.list_link(queue))

    def asked(self, object_id: str) -> tuple[str, str, Any]:
        """The queue, the name and the thing that an address names; the thing may be ``None``."""
        queue, name = split_key(unquote(object_id))
        if queue not in queue_names():
            return queue_names()[0], name, None
        return queue, name, self.find(get_engine(queue), name)


class _Counted(Generic[T]):
    """Counts the elements that are taken from an iterable."""

    def __init__(self, found: Iterable[T]) -> None:
        self._found = found
        self.number = 0

    def __iter__(self) -> Iterator[T]:
        for each in self._found:
            self.number += 1
            yield each
