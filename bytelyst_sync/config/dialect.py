"""The dialect of an API, as a value: paths, bodies, versions, pages and statuses.

The defaults are those of the default API, ``Dialect.rest()``. Nothing here does I/O: ``protocol``
builds requests and reads answers by these values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from bytelyst_sync.config import dialect_validators as checks
from bytelyst_sync.config import presets, validators
from bytelyst_sync.config.batch_format import BatchFormat, as_batch
from bytelyst_sync.config.dialect_validators import OPERATIONS
from bytelyst_sync.config.templates import body_names_in, names_in
from bytelyst_sync.errors import ConfigError
from bytelyst_sync.model import SyncOperation

__all__ = ["Dialect"]

Json = dict[str, Any]
_JSON = "application/json"
NextPage = Callable[["Dialect", Any, Mapping[str, str]], "str | None"]


def _mapped(**options: Any) -> Any:
    return attrs.field(
        factory=dict, converter=validators.own, validator=validators.string_keys, **options
    )


@attrs.frozen(kw_only=True)
class Dialect:
    """The dialect of one API. Adapt one with ``evolve``, or start from ``Dialect()``.

    A wrong value raises ``ConfigError``, which names the field, the value and what is allowed.

    If the fields are not enough, a subclass overrides a step: ``encode``, ``decode``,
    ``classify`` or ``next_page``. The last one replaces the field of the same name:
    ``def next_page(self, body, headers)`` takes the decoded body and the headers of a page (with
    lower-case names), and returns the URL of the next page, or ``None`` after the last one. Steps
    are called from any thread. An exception of a step is reported as a mapping error.
    """

    create: str = attrs.field(default="POST {endpoint}", validator=checks.route)
    update: str = attrs.field(default="PATCH {endpoint}/{id}", validator=checks.route)
    delete: str = attrs.field(default="DELETE {endpoint}/{id}", validator=checks.route)
    read: str = attrs.field(default="GET {endpoint}/{id}", validator=checks.route)
    pull: str = attrs.field(default="GET {endpoint}", validator=checks.listing_route)
    patch: str = attrs.field(
        default="shallow", validator=validators.choice("shallow", "merge-patch", "full")
    )
    content_type: str | Mapping[str, str] = attrs.field(
        default="application/json", converter=validators.own, validator=checks.content_type
    )
    accept: str | None = attrs.field(default=None, validator=checks.accept)
    answer: str = attrs.field(default="json", validator=validators.choice("json", "any"))
    body: str | Mapping[str, Any] = attrs.field(
        default="", converter=validators.own, validator=checks.bodies
    )
    extra: Mapping[str, Any] = _mapped(repr=False)
    fields: Mapping[str, str] = attrs.field(
        factory=dict, converter=validators.own, validator=checks.field_paths
    )
    record: str = attrs.field(default="", validator=checks.text())
    partial_answer: bool = attrs.field(default=False, validator=validators.flag)
    id_in_answer: str | None = attrs.field(default=None, validator=checks.text(optional=True))
    items: str | None = attrs.field(default="items", validator=checks.text(optional=True))
    item: str = attrs.field(default="", validator=checks.text())
    query: Mapping[str, Any] = _mapped(repr=lambda value: repr(sorted(value)))
    page_size: str = attrs.field(default="limit", validator=checks.text())
    skip_ids: str | None = attrs.field(default=None, validator=checks.text(optional=True))
    since: tuple[str, str] | None = attrs.field(
        default=("since", "{cursor}"), converter=checks.as_pair, validator=checks.since
    )
    first_cursor: str | None = attrs.field(default=None, validator=checks.text(optional=True))
    cursor: str | None = attrs.field(
        default="body:cursor", validator=checks.source("body:", "url:", "header:", "max:")
    )
    next_page: str | Callable[[str, Any], str | None] | None = attrs.field(
        default="more:has_more", validator=checks.next_page
    )
    start: int | None = attrs.field(
        default=None, validator=validators.number(0, 1, optional=True, whole=True)
    )
    rebase_links: bool = attrs.field(default=False, validator=validators.flag)
    total: str | None = attrs.field(default=None, validator=checks.total)
    version: tuple[str, ...] = attrs.field(
        default=("header:ETag", "field:version"),
        converter=checks.as_tuple,
        validator=checks.versions,
    )
    send_version: str | Mapping[str, str | None] | None = attrs.field(
        default="header:If-Match", converter=validators.own, validator=checks.version_places
    )
    quote_version: bool = attrs.field(default=False, validator=validators.flag)
    current: tuple[str, ...] = attrs.field(
        default=("current", ""), converter=checks.as_tuple, validator=checks.texts
    )
    conflict: tuple[int, ...] = attrs.field(
        default=(409, 412), converter=checks.as_tuple, validator=checks.statuses
    )
    gone: tuple[int, ...] = attrs.field(
        default=(404, 410), converter=checks.as_tuple, validator=checks.statuses
    )
    check_before_write: bool = attrs.field(default=False, validator=validators.flag)
    exists: tuple[tuple[int, str | None], ...] = attrs.field(
        default=(), converter=checks.as_pairs, validator=checks.exists
    )
    answers: tuple[tuple[int, str | None, str], ...] = attrs.field(
        default=(), converter=checks.as_pairs, validator=checks.answers
    )
    confirm: str | None = attrs.field(default=None, validator=checks.reading)
    lookup: str | None = attrs.field(default=None, validator=checks.lookup)
    key_lifetime: float = attrs.field(default=86400.0, validator=validators.number(0))
    time_zone: str = attrs.field(default="UTC", validator=checks.time_zone)
    overlap: float = attrs.field(default=0.0, validator=validators.number(0))
    tombstone: str | None = attrs.field(default="deleted", validator=checks.text(optional=True))
    revive: str | None = attrs.field(default=None, validator=checks.revive)
    server_fields: tuple[str, ...] = attrs.field(
        default=(), converter=checks.as_tuple, validator=checks.texts
    )
    updated_at: tuple[str, ...] = attrs.field(
        default=("updatedAt", "updated_at"), converter=checks.as_tuple, validator=checks.texts
    )
    idempotency: str | None = attrs.field(
        default="Idempotency-Key", validator=checks.text(optional=True)
    )
    batch: BatchFormat | None = attrs.field(
        default=None,
        converter=as_batch,
        validator=validators.is_a(
            BatchFormat, "a BatchFormat, a dict of its fields, or None", optional=True
        ),
    )
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=validators.own, validator=validators.header_texts, repr=False
    )

    shown_before_fields: ClassVar[str] = "Dialect."
    next_page_step: ClassVar[NextPage | None] = None
    """A subclass's ``next_page``, if it has one."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # the step and the field have the same name: the step is stored under another one
        if callable(cls.__dict__.get("next_page")):
            cls.next_page_step = cls.__dict__["next_page"]
            del cls.next_page

    def __attrs_post_init__(self) -> None:
        if self.extra:
            warnings.warn(
                "Dialect.extra is deprecated: write the fixed members into a template of `body`, "
                'such as body={"*": "{record}", "api": 2}',
                DeprecationWarning,
                stacklevel=3,
            )
        mark = (self.tombstone or "").partition("=")[0]
        if self.revive is not None and {mark, mark.partition(".")[0]} & {*self.server_fields}:
            raise ConfigError(
                f"Dialect.revive is {self.revive!r}, which takes {mark!r} (`tombstone`) out of a "
                "deleted record by an update, but `server_fields` says that it is never sent: "
                "leave it out there, or say revive=None",
                field="revive",
                value=self.revive,
            )
        kind, parameter = self.paging
        taken = parameter in self.query and kind not in names_in(self.query[parameter])
        if kind in ("page", "offset") and taken:
            raise ConfigError(
                f"Dialect.next_page is {self.next_page!r}, but `query` sets {parameter!r}, too: "
                f'leave it out of `query`, or write "{{{kind}}}" into its value, so that each page '
                "can be asked for",
                field="next_page",
                value=self.next_page,
            )
        if self.idempotency and self.batch is not None and not self.batch.carries_keys:
            raise ConfigError(
                f"Dialect.idempotency is {self.idempotency!r}, but `batch` has no place for an "
                'operation\'s key: put "{headers}" or "{key}" into its template, or say '
                "idempotency=None if the API knows no keys",
                field="idempotency",
                value=self.idempotency,
            )

    # --- the dialects that ship

    @classmethod
    def rest(cls) -> Dialect:
        """The default API: all fields have their defaults."""
        return cls()

    @classmethod
    def kinto(cls) -> Dialect:
        """Kinto: endpoints such as ``/buckets/default/collections/notes/records``."""
        return cls(**presets.kinto())

    @classmethod
    def drf(cls) -> Dialect:
        """Django REST Framework: a ``ModelViewSet`` with page-number pagination, a filter
        ``updated_after`` (that and later), and records that say ``updated_at``.

        It has no versions, so each update and delete reads the record first.
        """
        return cls(**presets.drf())

    @classmethod
    def json_server(cls) -> Dialect:
        """json-server: no versions, so each update and delete reads the record first; neither
        cursors nor tombstones, so each pull reads everything, and deletes are found by
        ``reconcile``.
        """
        return cls(**presets.json_server())

    @classmethod
    def couchdb(cls) -> Dialect:
        """CouchDB and compatible servers: an endpoint is a database; ``id_field="_id"``."""
        return cls(**presets.couchdb())

    @classmethod
    def json_api(
        cls, resource_type: str = "{entity}", relationships: Mapping[str, str] | None = None
    ) -> Dialect:
        """JSON:API: attributes are the fields of a record. ``resource_type`` is the entity's name
        by default. ``relationships`` maps each field that holds the id of another resource to the
        type of that resource: ``{"project": "projects"}``. JSON:API defines neither versions nor
        cursors, so each update and delete reads the record first, and each pull reads everything.
        """
        return cls(**presets.json_api(resource_type, relationships or {}))

    @classmethod
    def odata(cls, changed: str | None = "modifiedAt") -> Dialect:
        """OData version 4, with ETags and JSON batches. ``changed`` is the property with the time
        of a record's last change (``None``: each pull reads everything). Keys are numbers or
        GUIDs. For text keys, put quotes into ``update``, ``delete`` and ``read``:
        ``evolve(update="PATCH {endpoint}('{id}')", ...)``.
        """
        return cls(**presets.odata(changed))

    @classmethod
    def postgrest(cls) -> Dialect:
        """PostgREST and Supabase, for tables with a key ``id`` and a time ``updated_at`` that a
        trigger sets. There are no versions, so each update and delete reads the record first.
        """
        return cls(**presets.postgrest())

    @classmethod
    def strapi(cls) -> Dialect:
        """Strapi 5: endpoints such as ``/api/notes``; the server gives the ids
        (``id_source="server"``), and ``documentId`` is the id.
        """
        return cls(**presets.strapi())

    @classmethod
    def pocketbase(cls) -> Dialect:
        """PocketBase: endpoints such as ``/api/collections/notes/records``, for collections with a
        field ``updated``. Ids are given by the server, or 15 lower-case letters and digits.
        """
        return cls(**presets.pocketbase())

    @classmethod
    def directus(cls) -> Dialect:
        """Directus: endpoints such as ``/items/notes``. ``date_updated`` is null in records that
        never changed, so each pull reads everything.
        """
        return cls(**presets.directus())

    def evolve(self, **changes: Any) -> Dialect:
        """A copy with some fields changed; unknown names raise ``ConfigError``."""
        known = sorted(field.name for field in attrs.fields(type(self)))
        for name, value in changes.items():
            if name not in known:
                owner = self.shown_before_fields
                raise validators.unknown_name(name, known, value, kind="fields", owner=owner)
        return attrs.evolve(self, **changes)

    # --- the steps that a subclass may override

    def encode(self, operation: str, record: Json) -> Any:
        """The request body for a record; any JSON value.

        ``operation`` is ``"create"``, ``"update"`` or ``"delete"``. An override takes precedence
        over a template in ``body`` and over ``fields``.
        """
        key = self.wrapper(operation)
        return {**self.extra, key: record} if key else {**self.extra, **record}

    def decode(self, found: Any) -> Any:
        """The record in a decoded value that was at the place of a record (``record``, ``items``
        and ``item``, ``current``); ``None`` if it is no record: a page is read without it.
        """
        return found

    def classify(
        self,
        operation: str,  # noqa: ARG002
        status: int,  # noqa: ARG002
        body: Any,  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> str | None:
        """The meaning of an answer whose status does not tell; ``None``: as the fields say.

        ``operation`` may also be ``"read"`` or ``"pull"``. ``body`` is the decoded JSON, or
        ``None`` if the body is no JSON. The names of ``headers`` are in lower case. The words are
        ``"delivered"``, ``"conflict"``, ``"gone"``, ``"busy"``, ``"retry"``, ``"rejected"`` (the
        engine then trusts that nothing was processed), ``"credentials"`` and ``"offline"``.
        """
        return None

    # --- derived from several fields

    @property
    def paging(self) -> tuple[str, str]:
        """The kind of paging and its name: ``("more", "has_more")``; ``("step", "")`` if a callable
        finds the next page, ``("", "")`` if there is one page only.
        """
        if self.next_page_step is not None or callable(self.next_page):
            return "step", ""
        kind, _, name = (self.next_page or "").partition(":")
        return kind, name

    @property
    def first_number(self) -> int:
        """The number of the first page, or of the first row: ``start``, else 1 for pages and 0 for
        rows.
        """
        if self.start is not None:
            return self.start
        counted = names_in([self.pull, self.query, self.headers]) | {self.paging[0]}
        return 1 if "page" in counted else 0

    @property
    def accepted(self) -> str:
        """The ``Accept`` header: ``accept``, else the content type of a create."""
        if self.accept is not None:
            return self.accept
        sent = self.media_type(SyncOperation.CREATE.value)
        return _JSON if "patch" in sent else sent

    # --- fields that may differ by operation

    def wrapper(self, operation: str) -> str:
        """The key that wraps a written record for this operation (``""``: none)."""
        body = self._body_of(operation)
        return body if isinstance(body, str) and not body_names_in(body) else ""

    def template(self, operation: str) -> Any:
        """The template of this operation's body; ``None``: ``encode`` builds the body."""
        body = self._body_of(operation)
        return None if isinstance(body, str) and not body_names_in(body) else body

    def _body_of(self, operation: str) -> Any:
        if isinstance(self.body, Mapping) and set(self.body) <= set(OPERATIONS):
            return self.body.get(operation, "")
        return self.body

    def media_type(self, operation: str) -> str:
        """The content type of this operation's body."""
        if isinstance(self.content_type, Mapping):
            return self.content_type.get(operation, _JSON)
        return self.content_type

    def version_place(self, operation: str) -> str | None:
        """Where this operation sends the version that it is based on, or ``None``."""
        if isinstance(self.send_version, Mapping):
            return self.send_version.get(operation)
        return self.send_version
