"""How an API speaks: one frozen value that turns records into requests and answers into records.

The fields are those of SPEC §8; their defaults are the default API. Nothing here touches the
network or the queue: ``transport`` reads these values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

from bytelyst_sync import dialect_checks as checks
from bytelyst_sync.batch import BatchFormat, as_batch
from bytelyst_sync.errors import ConfigError

__all__ = ["Dialect"]

Json = dict[str, Any]
NextPage = Callable[["Dialect", Any, Mapping[str, str]], "str | None"]


def _mapped(**options: Any) -> Any:
    return attrs.field(factory=dict, converter=checks.own, validator=checks.mapping, **options)


@attrs.frozen(kw_only=True)
class Dialect:
    """How one API speaks (SPEC §8). Adapt one with ``evolve``, or start from ``Dialect()``.

    A wrong value raises ``ConfigError`` and names the field, the value and what is allowed.

    Where no field says it, a subclass overrides a step: ``encode``, ``decode``, ``classify`` or
    ``next_page``. The last one has the name of the field that it stands in for:
    ``def next_page(self, body, headers)`` is given the decoded body and the headers of a page, by
    lower-case names, and returns the next page's URL, or ``None`` after the last one. Steps are
    called from any thread; what they raise is reported as a mapping error.
    """

    create: str = attrs.field(default="POST {endpoint}", validator=checks.route)
    update: str = attrs.field(default="PATCH {endpoint}/{id}", validator=checks.route)
    delete: str = attrs.field(default="DELETE {endpoint}/{id}", validator=checks.route)
    read: str = attrs.field(default="GET {endpoint}/{id}", validator=checks.route)
    pull: str = attrs.field(default="GET {endpoint}", validator=checks.route)
    patch: str = attrs.field(
        default="shallow", validator=checks.one_of("shallow", "merge-patch", "full")
    )
    content_type: str | Mapping[str, str] = attrs.field(
        default="application/json", converter=checks.own, validator=checks.content_type
    )
    answer: str = attrs.field(default="json", validator=checks.one_of("json", "any"))
    body: str | Mapping[str, str] = attrs.field(
        default="", converter=checks.own, validator=checks.wrappers
    )
    extra: Mapping[str, Any] = _mapped(repr=False)
    record: str = attrs.field(default="", validator=checks.text())
    partial_answer: bool = attrs.field(default=False, validator=checks.flag)
    id_in_answer: str | None = attrs.field(default=None, validator=checks.text(optional=True))
    items: str = attrs.field(default="items", validator=checks.text())
    item: str = attrs.field(default="", validator=checks.text())
    query: Mapping[str, Any] = _mapped(repr=lambda value: repr(sorted(value)))
    page_size: str = attrs.field(default="limit", validator=checks.text())
    skip_ids: str | None = attrs.field(default=None, validator=checks.text(optional=True))
    since: tuple[str, str] | None = attrs.field(
        default=("since", "{cursor}"), converter=checks.as_pair, validator=checks.since
    )
    first_cursor: str | None = attrs.field(default=None, validator=checks.text(optional=True))
    cursor: str | None = attrs.field(
        default="body:cursor", validator=checks.source("body:", "header:", "max:")
    )
    next_page: str | None = attrs.field(default="more:has_more", validator=checks.next_page)
    version: tuple[str, ...] = attrs.field(
        default=("header:ETag", "field:version"),
        converter=checks.as_tuple,
        validator=checks.versions,
    )
    send_version: str | Mapping[str, str | None] | None = attrs.field(
        default="header:If-Match", converter=checks.own, validator=checks.version_places
    )
    quote_version: bool = attrs.field(default=False, validator=checks.flag)
    current: tuple[str, ...] = attrs.field(
        default=("current", ""), converter=checks.as_tuple, validator=checks.texts
    )
    conflict: tuple[int, ...] = attrs.field(
        default=(409, 412), converter=checks.as_tuple, validator=checks.statuses
    )
    gone: tuple[int, ...] = attrs.field(
        default=(404, 410), converter=checks.as_tuple, validator=checks.statuses
    )
    check_before_write: bool = attrs.field(default=False, validator=checks.flag)
    exists: tuple[tuple[int, str | None], ...] = attrs.field(
        default=(), converter=checks.as_pairs, validator=checks.exists
    )
    tombstone: str | None = attrs.field(default="deleted", validator=checks.text(optional=True))
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
        validator=checks.is_a(BatchFormat, "a BatchFormat, a dict of its fields, or None"),
    )
    headers: Mapping[str, str] = attrs.field(
        factory=dict, converter=checks.own, validator=checks.headers, repr=False
    )

    next_page_step: ClassVar[NextPage | None] = None
    """A subclass's ``next_page``, if it has one."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # the step and the field share a name: the step goes aside, the field keeps its place
        if callable(cls.__dict__.get("next_page")):
            cls.next_page_step = cls.__dict__["next_page"]
            del cls.next_page

    def __attrs_post_init__(self) -> None:
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
        """The default API of SPEC §8."""
        return cls()

    @classmethod
    def kinto(cls) -> Dialect:
        """Kinto: endpoints such as ``/buckets/default/collections/notes/records``."""
        return cls(
            create="PUT {endpoint}/{id}",
            body="data",
            record="data",
            items="data",
            query={"_sort": "last_modified"},
            page_size="_limit",
            since=("_since", "{cursor}"),
            cursor="header:ETag",
            next_page="header:Next-Page",
            version="field:last_modified",
            quote_version=True,
            current="details.existing",
            server_fields="last_modified",
            updated_at="last_modified",
            idempotency=None,
            batch=BatchFormat.kinto(),
        )

    @classmethod
    def drf(cls) -> Dialect:
        """Django REST Framework: a ``ModelViewSet`` with page-number pagination, a filter
        ``updated_after`` (that and later), and records that say ``updated_at``.

        It has no versions, so each update and delete reads the record first.
        """
        return cls(
            create="POST {endpoint}/",
            update="PATCH {endpoint}/{id}/",
            delete="DELETE {endpoint}/{id}/",
            read="GET {endpoint}/{id}/",
            pull="GET {endpoint}/",
            items="results",
            page_size="page_size",
            since=("updated_after", "{cursor}"),
            cursor="max:updated_at",
            next_page="url:next",
            version=None,
            send_version=None,
            current=None,
            check_before_write=True,
            exists=((400, r'"(id|pk|uuid)":\s*\[[^]]*(unique|already exists)'),),
            tombstone=None,
            server_fields="updated_at",
            idempotency=None,
        )

    @classmethod
    def json_server(cls) -> Dialect:
        """json-server: no versions, so each update and delete reads the record first; neither
        cursors nor tombstones, so each pull reads everything, and deletes are found by
        ``reconcile``.
        """
        return cls(
            items="",
            query={"_page": 1, "_limit": 1000},
            page_size="_limit",
            since=None,
            cursor=None,
            next_page="rel:next",
            version=None,
            send_version=None,
            current=None,
            check_before_write=True,
            exists=((500, "duplicate id"),),
            tombstone=None,
            idempotency=None,
        )

    @classmethod
    def couchdb(cls) -> Dialect:
        """CouchDB and what speaks as it does: an endpoint is a database, ``id_field="_id"``."""
        return cls(
            create="PUT {endpoint}/{id}",
            update="PUT {endpoint}/{id}",
            pull="GET {endpoint}/_changes",
            patch="full",
            items="results",
            item="doc",
            query={"include_docs": "true", "limit": 1000},
            cursor="body:last_seq",
            next_page="full:limit",
            version=("field:_rev", "answer:rev"),
            send_version={"update": "body:_rev", "delete": "query:rev"},
            current=None,
            tombstone="_deleted",
            skip_ids="_design/",
            idempotency=None,
            batch=BatchFormat.couchdb(),
        )

    def evolve(self, **changes: Any) -> Dialect:
        """A copy with some fields changed; unknown names raise ``ConfigError``."""
        known = {field.name for field in attrs.fields(type(self))}
        for name, value in changes.items():
            if name not in known:
                raise checks.wrong("Dialect", name, value, "the fields " + ", ".join(sorted(known)))
        return attrs.evolve(self, **changes)

    # --- the steps that a subclass may override

    def encode(self, operation: str, record: Json) -> Any:
        """The body that carries a written record; any JSON value.

        ``operation`` is ``"create"``, ``"update"`` or ``"delete"``.
        """
        key = self.wrapper(operation)
        return {**self.extra, key: record} if key else {**self.extra, **record}

    def decode(self, found: Any) -> Any:
        """The record in what stands where a record should be (``record``, ``items`` and ``item``,
        ``current``); ``None``: it is none, and is left out of a page.
        """
        return found

    def classify(
        self,
        operation: str,  # noqa: ARG002
        status: int,  # noqa: ARG002
        body: Any,  # noqa: ARG002
        headers: Mapping[str, str],  # noqa: ARG002
    ) -> str | None:
        """What an answer means, where its status does not say it; ``None``: as the fields say.

        ``operation`` may also be ``"read"`` or ``"pull"``; ``body`` is the decoded JSON, ``None``
        if it is none; names of headers are in lower case. The words are ``"delivered"``,
        ``"conflict"``, ``"gone"``, ``"busy"``, ``"retry"``, ``"rejected"`` (that it was not
        processed is taken on trust), ``"credentials"`` and ``"offline"``.
        """
        return None

    # --- fields that may differ by operation

    def wrapper(self, operation: str) -> str:
        """The key that wraps a written record for this operation (``""``: none)."""
        if isinstance(self.body, Mapping):
            return self.body.get(operation, "")
        return self.body

    def media_type(self, operation: str) -> str:
        """The content type of this operation's body."""
        if isinstance(self.content_type, Mapping):
            return self.content_type.get(operation, "application/json")
        return self.content_type

    def version_place(self, operation: str) -> str | None:
        """Where this operation sends the version that it is based on."""
        if isinstance(self.send_version, Mapping):
            return self.send_version.get(operation)
        return self.send_version
