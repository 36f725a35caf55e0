"""How an API takes many writes in one request (SPEC §8, ``batch``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bytelyst_sync.dialect_checks import (
    json_template,
    mapping,
    own,
    per_operation,
    route,
    size,
    text,
    word_statuses,
    wrong,
)

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

    ``endpoint`` is a method and a path below ``base_url``; with ``{endpoint}`` in it every entity
    has a batch of its own. ``operations`` is where the list stands in the request's body (``""``:
    the body is the list), ``extra`` fixed members beside it. ``operation`` is what one of them
    looks like, as JSON in which these strings stand for what the single request would be:
    ``"{method}"``, ``"{path}"`` (below ``base_url``), ``"{absolute_path}"`` (on the server),
    ``"{headers}"``, ``"{body}"``, ``"{id}"``, ``"{version}"``, ``"{key}"`` (the idempotency key)
    and ``"{number}"`` (its place in the list). A member that has nothing to say is left out. One
    template for all operations, or a dict of operation to template; what it leaves out, or maps
    to ``None``, is sent one by one.

    ``answers`` is where the answers are in the answer's body (``""``: the body is the list), in
    the order of the operations unless ``match`` names the member of an answer that repeats the
    ``"{number}"``, or the record's id where the template has no number. ``status``, ``headers``
    and ``body`` say where those are in one answer (``""``: the answer is the body). Where answers
    carry no status, ``error`` is the member that holds the error's word, ``error_statuses`` says
    which status means the same, and a word that it does not know counts as 500.

    ``size`` is how many operations a request may carry.
    """

    endpoint: str = attrs.field(default="POST /batch", validator=route)
    operations: str = attrs.field(default="requests", validator=text())
    operation: Any = attrs.field(
        factory=lambda: dict(_REQUEST), converter=own, validator=json_template(*_PLACEHOLDERS)
    )
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=own, validator=mapping)
    answers: str = attrs.field(default="responses", validator=text())
    match: str | None = attrs.field(default=None, validator=text(optional=True))
    status: str | None = attrs.field(default="status", validator=text(optional=True))
    headers: str | None = attrs.field(default="headers", validator=text(optional=True))
    body: str = attrs.field(default="body", validator=text())
    error: str | None = attrs.field(default=None, validator=text(optional=True))
    error_statuses: Mapping[str, int] = attrs.field(
        factory=dict, converter=own, validator=word_statuses
    )
    size: int = attrs.field(default=100, validator=size)

    def __attrs_post_init__(self) -> None:
        if (self.status is None) == (self.error is None):
            raise wrong(
                "BatchFormat",
                "status",
                self.status,
                "where the status is in an answer, or None with error=... where its error is",
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
        """What this operation looks like in the list; ``None``: it is not sent in batches."""
        if per_operation(self.operation):
            return self.operation.get(operation)
        return self.operation

    @property
    def carries_keys(self) -> bool:
        """Whether every operation of a batch has a place for its idempotency key."""
        of_each = self.operation.values() if per_operation(self.operation) else [self.operation]
        return all(
            mentions(template, "headers") or mentions(template, "key")
            for template in of_each
            if template is not None
        )

    def is_numbered(self, operation: str) -> bool:
        """Whether this operation is listed with its number."""
        return mentions(self.template(operation), "number")


def mentions(template: Any, placeholder: str) -> bool:
    """Whether a template has this placeholder in it."""
    if isinstance(template, Mapping):
        return any(mentions(each, placeholder) for each in template.values())
    if isinstance(template, (list, tuple)):
        return any(mentions(each, placeholder) for each in template)
    return bool(template == "{" + placeholder + "}")


def as_batch(value: Any) -> Any:
    """A dict of fields becomes a ``BatchFormat``, so that it can stand in a file."""
    if not isinstance(value, Mapping):
        return value
    known = {field.name for field in attrs.fields(BatchFormat)}
    for name in value:
        if name not in known:
            raise wrong("BatchFormat", name, "…", "the fields " + ", ".join(sorted(known)))
    return BatchFormat(**value)
