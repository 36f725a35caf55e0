"""Drafts a dialect from sample answers: ``bytelyst-sync dialect guess``.

Each rule sets one part of the draft, with the reason. If the answers do not show a value, the draft
has one with which a pull reads everything or fails, but never omits rows silently. Its comment says
what to search for in the API's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import attrs

from bytelyst_sync.inspection.guess_pages import NEXT_URLS, PAGE_NUMBERS, next_page_of
from bytelyst_sync.inspection.samples import Sample, first_at, times_in
from bytelyst_sync.rules.paths import MISSING, at

__all__ = ["Draft", "Guess", "draft_of"]

Json = dict[str, Any]
_LISTS = (
    *("items", "results", "data", "records", "value", "rows", "content", "entries", "objects"),
    *("hydra:member", "member", "list", "Resources", "data.items", "data.list", "data.rows"),
    *("data.records", "data.results", "result.items", "result.data", "result", "response.data"),
)
_IDS = ("id", "_id", "uuid", "Id", "ID", "documentId", "objectId", "guid", "key", "slug")
_INNER = ("doc", "node", "resource", "record", "item")
_RECORDS = ("data", "result", "record", "item", "rows.0", "data.item", "data.0", "0")
_SIZES = ("size", "limit", "per_page", "perPage", "page_size", "pageSize", "pagination.limit")
_TOTALS = (
    *("total", "count", "totalCount", "total_count", "totalElements", "totalItems", "totalResults"),
    *("@odata.count", "hydra:totalItems", "meta.total", "meta.count", "meta.total_count"),
    *("meta.pagination.total", "meta.page.total", "pagination.total", "page.totalElements"),
)
_TOTAL_HEADERS = ("X-Total-Count", "X-Total", "Total-Count", "X-Count", "Total-Records")
_CURSORS = ("cursor", "sync_token", "syncToken", "nextSyncToken", "last_seq", "change_token")
_VERSIONS = (
    *("version", "_version", "_rev", "rev", "revision", "@odata.etag", "etag", "_etag"),
    *("lock_version", "row_version", "rowVersion", "resourceVersion", "meta.version"),
)
_TOMBSTONES = (
    *("deleted", "_deleted", "is_deleted", "isDeleted", "deleted_at", "deletedAt", "removed"),
    *("archived_at", "archivedAt", "trashed"),
)
_CREATED = ("created", "created_at", "createdAt", "date_created", "inserted_at", "creationDate")
_TIMES_OF_PRESETS = {
    "drf": "updated_at",
    "odata": "modifiedAt",
    "pocketbase": "updated",
    "strapi": "updatedAt",
}
_PRESETS_WITH_OWN_IDS = ("kinto", "couchdb")
_OWNED = ("_links", "links", "url", "href", "self", "html_url", "node_id")


@attrs.frozen
class Guess:
    """A field of the dialect or of the entity, its value (``None``: none), and why."""

    field: str
    value: Any
    why: str


@attrs.frozen
class Draft:
    """A draft of a dialect. ``preset`` is an included dialect, if the answers look like its own."""

    preset: str | None
    why_preset: str
    entity: list[Guess]
    dialect: list[Guess]

    def fields(self) -> Json:
        """The fields of the dialect."""
        return {each.field: each.value for each in self.dialect}


def draft_of(listing: Sample, others: Sequence[Sample] = ()) -> Draft:
    """A draft from the answer to a listing, and answers to writes or reads of one record.

    ``ValueError`` if there is no list of records in the listing.
    """
    return _Guessing(listing, others).draft()


class _Guessing:
    """Builds one draft."""

    def __init__(self, listing: Sample, others: Sequence[Sample]) -> None:
        self._listing = listing
        self._body = listing.body
        self._headers = listing.headers
        self._others = [each for each in others if not each.refused]
        self._refusals = [each for each in others if each.refused]
        self._entity: list[Guess] = []
        self._dialect: list[Guess] = []
        self._items, self._elements = _list_in(listing)
        self._item, self._record = self._first_record()
        self._id_field = self._find_id()

    def draft(self) -> Draft:
        preset, why = self._preset()
        self._ids(preset)
        if preset is None:
            self._add("items", self._items, f"the list of {len(self._elements)} is there")
            if self._item:
                self._add("item", self._item, "the record is inside of each element")
            self._routes()
            self._pages()
            self._total()
            self._changes()
            self._versions()
            self._deletes()
            self._bodies()
            self._server_fields()
            self._add(
                "idempotency",
                None,
                "no answer shows it: name the header if the API knows idempotency keys",
            )
        else:
            self._beside(preset)
        return Draft(preset, why, self._entity, self._dialect)

    def _add(self, field: str, value: Any, why: str) -> None:
        self._dialect.append(Guess(field, value, why))

    # --- presets

    def _preset(self) -> tuple[str | None, str]:
        body, record = self._body, self._record
        keys = set(body) if isinstance(body, Mapping) else set()
        element = self._elements[0] if self._elements else {}
        if {"type", "id", "attributes"} <= set(element) and self._items == "data":
            return "json_api", "elements with `type`, `id` and `attributes` are JSON:API"
        if any(name.startswith("@odata.") for name in keys):
            return "odata", "members that begin with `@odata.` are OData's"
        if {"count", "next", "previous", "results"} <= keys:
            return "drf", "`count`, `next`, `previous`, `results` are those of a DRF page"
        if {"results", "last_seq"} <= keys:
            return "couchdb", "`results` with `last_seq` is CouchDB's list of changes"
        if "documentId" in record and at(body, "meta.pagination") is not MISSING:
            return "strapi", "`documentId` and `meta.pagination` are Strapi's"
        if {"page", "perPage", "totalItems", "items"} <= keys:
            return "pocketbase", "`page`, `perPage`, `totalItems`, `items` are PocketBase's"
        if self._items == "data" and "last_modified" in record and len(keys) == 1:
            return "kinto", "`data` with records that have `last_modified` is Kinto's"
        return None, ""

    def _beside(self, preset: str) -> None:
        """Adds the differences from a preset that the answers show."""
        preset_time = _TIMES_OF_PRESETS.get(preset)
        times = list(times_in(self._record))
        if preset_time is None or not self._record or preset_time in times:
            return
        others = f"; it has {', '.join(times)}" if times else ""
        why = f"the preset follows `{preset_time}`, and records have none{others}"
        count = {"$count": "true"} if preset == "odata" else {}
        if preset == "odata" and times:
            follow = {"$orderby": times[0], "$filter": f"{times[0]} ge {{cursor}}"}
            self._add("query", {**count, **follow}, why)
            self._add("cursor", f"max:{times[0]}", why)
        else:
            self._add("query", count, f"{why}: each pull reads everything")
            self._add("since", None, f"{why}: each pull reads everything")
            self._add("cursor", None, f"{why}: each pull reads everything")
        if times:
            self._add("updated_at", times[0], "says when a record changed")

    # --- records

    def _first_record(self) -> tuple[str, Json]:
        element = next((each for each in self._elements if isinstance(each, dict)), {})
        if any(name in element for name in ("_id", "uuid", "documentId")):
            return "", element
        for name in _INNER:
            inner = element.get(name)
            if isinstance(inner, dict) and any(each in inner for each in _IDS):
                return name, inner
        return "", element

    def _find_id(self) -> str | None:
        for name in ("documentId", *_IDS):
            if isinstance(self._record.get(name), (str, int)):
                return name
        ending = (name for name in self._record if name.lower().endswith("id"))
        return next(ending, None)

    def _ids(self, preset: str | None) -> None:
        if self._id_field is None:
            why = "no field looks like an id: name it"
            self._entity.append(Guess("id_field", "id", why))
            return
        value = self._record[self._id_field]
        id_field = "id" if self._id_field == "documentId" else self._id_field
        self._entity.append(Guess("id_field", id_field, f"such as {value!r:.40}"))
        if preset in _PRESETS_WITH_OWN_IDS:
            self._entity.append(Guess("id_source", "client", "the client may give them"))
        elif isinstance(value, int) or self._id_field == "documentId":
            why = "such ids are given by the server"
            self._entity.append(Guess("id_source", "server", why))
        else:
            why = 'a text: "client" if the API takes ids that the client made, such as UUIDs'
            self._entity.append(Guess("id_source", "server", why))

    # --- addresses and pages

    def _routes(self) -> None:
        link = first_at(self._body, NEXT_URLS)
        url = None if link is None else link[1]
        if not isinstance(url, str) or not urlsplit(url).path.endswith("/"):
            return
        why = f"addresses such as {urlsplit(url).path} end with a slash"
        for name, method, rest in (
            ("create", "POST", "/"),
            ("update", "PATCH", "/{id}/"),
            ("delete", "DELETE", "/{id}/"),
            ("read", "GET", "/{id}/"),
            ("pull", "GET", "/"),
        ):
            self._add(name, f"{method} {{endpoint}}{rest}", why)

    def _pages(self) -> None:
        next_page = next_page_of(self._listing)
        self._add("next_page", next_page.value, next_page.why)
        if next_page.query:
            why = "the name of the parameter is a guess: see the documentation"
            self._add("query", next_page.query, why)
        if next_page.value.startswith("page:"):
            number = first_at(self._body, PAGE_NUMBERS)
            start = 0 if number is not None and number[1] == 0 else 1
            self._add("start", start, "the number of the first page, as far as it shows")
        size = first_at(self._body, _SIZES)
        if size is not None and isinstance(size[1], int):
            name = size[0].rpartition(".")[2]
            self._add("page_size", name, f"`{size[0]}` is {size[1]}: probably its parameter")

    def _total(self) -> None:
        for name in _TOTAL_HEADERS:
            if self._headers.get(name.lower(), "").isdigit():
                self._add("total", f"header:{name}", "the header counts all rows")
                return
        total = first_at(self._body, _TOTALS)
        if total is not None and type(total[1]) is int and total[1] >= len(self._elements):
            self._add("total", total[0], f"{total[1]} of which {len(self._elements)} are here")

    # --- changes

    def _changes(self) -> None:
        times = list(times_in(self._record))
        cursor = first_at(self._body, _CURSORS)
        tokens = {each.value for each in self._dialect if each.field == "next_page"}
        if (
            cursor is not None
            and isinstance(cursor[1], (str, int))
            and (f"token:{cursor[0]}" not in tokens)
        ):
            why = "where the next pull goes on; name its parameter"
            self._add("cursor", f"body:{cursor[0]}", why)
            self._add("since", ["since", "{cursor}"], "the name of the parameter is a guess")
        else:
            why = "each pull reads everything"
            if times:
                why += (
                    f'. If the API filters by time: cursor = "max:{times[0]}" and since = '
                    '["PARAMETER", "{cursor}"], sorted by it'
                )
            self._add("cursor", None, why)
            self._add("since", None, why)
        self._add("updated_at", times, "says when a record changed" if times else "no such field")

    def _versions(self) -> None:
        sources = []
        if any("etag" in each.headers for each in self._others):
            sources.append("header:ETag")
        for path in _VERSIONS:
            value = at(self._record, path)
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                sources.append(f"field:{path}")
                break
        if sources:
            self._add("version", sources, "looks like a version; does the API check If-Match?")
            self._add(
                "send_version", "header:If-Match", "the usual place; doctor --write-trial tries"
            )
        else:
            why = "no version: the record is read before each update and delete"
            self._add("version", None, why)
            self._add("send_version", None, why)
            self._add("check_before_write", True, why)
        self._current()

    def _current(self) -> None:
        for refusal in self._refusals:
            if refusal.status not in (409, 412):
                continue
            paths = ("current", "data", "record", "details.existing", "")
            for path in paths:
                value = at(refusal.body, path)
                if isinstance(value, Mapping) and self._id_field in value:
                    self._add("current", [path], f"the current record in HTTP {refusal.status}")
                    return
            self._add("current", [], f"HTTP {refusal.status} has no current record: it is read")
            return
        self._add("current", [], "no sample of HTTP 409 or 412: the current record is read")

    def _deletes(self) -> None:
        mark = first_at(self._record, _TOMBSTONES)
        if mark is not None:
            self._add("tombstone", mark[0], f"`{mark[0]}` looks like the mark of a deleted record")
        else:
            why = "no mark of deleted records: set reconcile_interval for the entity"
            self._add("tombstone", None, why)

    # --- bodies

    def _bodies(self) -> None:
        single = next((each for each in self._others if each.body is not None), None)
        if single is None:
            self._add("record", "", "no sample of an answer to a write: the body is the record")
            return
        body = single.body
        if isinstance(body, Mapping) and self._id_field in body:
            self._add("record", "", f"{single.name}: the body is the record")
            return
        for path in _RECORDS:
            value = at(body, path)
            if isinstance(value, Mapping) and self._id_field in value:
                why = f"{single.name}: the record is there"
                self._add("record", path, why)
                wraps = f'{why}. If the API wants its bodies so: body = "{path}"'
                self._add("body", "", wraps)
                return
        self._add("record", "", f"{single.name}: no record with `{self._id_field}`: name its place")
        self._add("partial_answer", True, f"{single.name}: it may carry only some fields")

    def _server_fields(self) -> None:
        times = set(times_in(self._record))
        owned = [
            name
            for name, value in self._record.items()
            if name in times or name in _CREATED or _has_times_only(value, name, times)
        ]
        for name in _OWNED:
            value = self._record.get(name)
            if isinstance(value, (Mapping, list)) or (isinstance(value, str) and "/" in value):
                owned.append(name)
        if owned:
            self._add("server_fields", owned, "the server sets them: they are never sent")


def _has_times_only(value: Any, name: str, times: set[str]) -> bool:
    """Whether this is an object of times of the server's. Others have fields of the user, too."""
    inner = value if isinstance(value, Mapping) else {}
    return bool(inner) and all(each in _CREATED or f"{name}.{each}" in times for each in inner)


def _list_in(listing: Sample) -> tuple[str, list[Any]]:
    """The path of the rows, and the rows."""
    body = listing.body
    if isinstance(body, list):
        return "", body
    if not isinstance(body, Mapping):
        text = f"{listing.name} is no listing: it has neither a list nor an object"
        raise ValueError(text)  # noqa: TRY004 - what a user gave
    for path in _LISTS:
        value = at(body, path)
        if isinstance(value, list):
            return path, value
    for path, value in _lists_below(body):
        if value and all(isinstance(each, dict) for each in value):
            return path, value
    raise ValueError(f"{listing.name} is no listing: there is no list of records in it")


def _lists_below(body: Mapping[str, Any], prefix: str = "") -> list[tuple[str, list[Any]]]:
    lists: list[tuple[str, list[Any]]] = []
    for name, value in body.items():
        if isinstance(value, list):
            lists.append((prefix + name, value))
        elif isinstance(value, Mapping) and prefix.count(".") < 2:
            lists += _lists_below(value, f"{prefix}{name}.")
    return sorted(lists, key=lambda each: -len(each[1]))
