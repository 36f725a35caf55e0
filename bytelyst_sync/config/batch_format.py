"""How an API takes many writes in one request (``Dialect.batch``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from bytelyst_sync.config.dialect_validators import (
    json_template,
    per_operation,
    route,
    text,
    word_statuses,
)
from bytelyst_sync.config.validators import number, own, string_keys, wrong_value

__all__ = ["BatchFormat", "as_batch", "mentions"]

_REQUEST = {"method": "{method}", "path": "{path}", "headers": "{headers}", "body": "{body}"}
_PLACEHOLDERS = (
    "method",
    "path",
    "absolute_path",
    "headers",
    "body",
    "id",
    "version",
    "key",
    "number",
)


@attrs.frozen(kw_only=True)
class BatchFormat:
    """A batch endpoint: how operations are listed, and where each one's answer is.

    ``endpoint`` is a method and a path below ``base_url``. If it has ``{endpoint}`` in it, each
    entity has batches of its own. ``operations`` is the path to the list in the request's body
    (``""``: the body is the list); ``extra`` has fixed members beside it.

    ``operation`` is the template of one operation: JSON in which these strings are replaced by the
    parts of the single request: ``"{method}"``, ``"{path}"`` (below ``base_url``),
    ``"{absolute_path}"`` (on the server), ``"{headers}"``, ``"{body}"``, ``"{id}"``,
    ``"{version}"``, ``"{key}"`` (the idempotency key) and ``"{number}"`` (its position in the
    list). A member without a value is left out. It is one template for all operations, or a dict
    of operation to template. Operations that the dict lacks, or maps to ``None``, are sent one by
    one.

    ``answers`` is the path to the list of answers in the response's body (``""``: the body is the
    list). The answers are in the order of the operations, unless ``match`` names the member of an
    answer that repeats the ``"{number}"``, or the record's id if the template has no number.
    ``status``, ``headers`` and ``body`` are the paths of those in one answer (``""``: the answer
    is the body). If answers have no status, ``error`` is the member with the error's name, and
    ``error_statuses`` maps such names to statuses; a name that it lacks counts as 500.

    ``size`` is the largest number of operations in one request.
    """

    shown_before_fields: ClassVar[str] = "BatchFormat."
    endpoint: str = attrs.field(default="POST /batch", validator=route)
    operations: str = attrs.field(default="requests", validator=text())
    operation: Any = attrs.field(
        factory=lambda: dict(_REQUEST), converter=own, validator=json_template(*_PLACEHOLDERS)
    )
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=own, validator=string_keys)
    answers: str = attrs.field(default="responses", validator=text())
    match: str | None = attrs.field(default=None, validator=text(optional=True))
    status: str | None = attrs.field(default="status", validator=text(optional=True))
    headers: str | None = attrs.field(default="headers", validator=text(optional=True))
    body: str = attrs.field(default="body", validator=text())
    error: str | None = attrs.field(default=None, validator=text(optional=True))
    error_statuses: Mapping[str, int] = attrs.field(
        factory=dict, converter=own, validator=word_statuses
    )
    size: int = attrs.field(default=100, validator=number(1, 10_000, whole=True))

    def __attrs_post_init__(self) -> None:
        if (self.status is None) == (self.error is None):
            raise wrong_value(
                "status",
                self.status,
                "where the status is in an answer, or None with error=... where its error is",
                self.shown_before_fields,
            )

    @classmethod
    def kinto(cls) -> BatchFormat:
        """Kinto's ``/batch``: 25 requests, unless its ``batch_max_requests`` says otherwise."""
        return cls(size=25)

    @classmethod
    def couchdb(cls) -> BatchFormat:
        """CouchDB's ``_bulk_docs``: documents, each with an answer or an error of its own."""
        return cls(
            endpoint="POST {endpoint}/_bulk_docs",
            operations="docs",
            operation={
                "create": "{body}",
                "update": "{body}",
                "delete": {"_id": "{id}", "_rev": "{version}", "_deleted": True},
            },
            answers="",
            match="id",
            status=None,
            headers=None,
            body="",
            error="error",
            error_statuses={
                "conflict": 409,
                "forbidden": 403,
                "unauthorized": 401,
                "bad_request": 400,
                "doc_validation": 400,
                "missing_id": 400,
                "not_found": 404,
                "too_large": 413,
            },
        )

    def template(self, operation: str) -> Any:
        """The template of this operation; ``None``: it is not sent in batches."""
        if per_operation(self.operation):
            return self.operation.get(operation)
        return self.operation

    @property
    def carries_keys(self) -> bool:
        """Whether every template has a place for the idempotency key."""
        of_each = self.operation.values() if per_operation(self.operation) else [self.operation]
        return all(
            mentions(template, "headers") or mentions(template, "key")
            for template in of_each
            if template is not None
        )

    def is_numbered(self, operation: str) -> bool:
        """Whether the template of this operation has a place for its number."""
        return mentions(self.template(operation), "number")


def mentions(template: Any, placeholder: str) -> bool:
    """Whether a template contains this placeholder."""
    if isinstance(template, Mapping):
        return any(mentions(each, placeholder) for each in template.values())
    if isinstance(template, (list, tuple)):
        return any(mentions(each, placeholder) for each in template)
    return bool(template == "{" + placeholder + "}")


def as_batch(value: Any) -> Any:
    """Converts a dict of fields, as from a file, to a ``BatchFormat``."""
    if not isinstance(value, Mapping):
        return value
    known = {field.name for field in attrs.fields(BatchFormat)}
    for name in value:
        if name not in known:
            fields = "the fields " + ", ".join(sorted(known))
            raise wrong_value(name, "…", fields, BatchFormat.shown_before_fields)
    return BatchFormat(**value)
