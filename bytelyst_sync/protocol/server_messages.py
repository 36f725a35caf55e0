"""The message in the body of a refusal, in whichever of the usual forms it comes.

| body | message |
|---|---|
| ``{"message": "taken"}``, also ``detail``, ``reason``, ``title`` and the like | taken |
| ``{"error": {"message": "taken"}}`` (OData, Google, Strapi) | taken |
| ``{"title": "Invalid", "detail": "taken"}`` (problem+json, RFC 9457) | taken |
| ``{"title": "Invalid", "errors": {"name": ["taken"]}}`` (ASP.NET) | Invalid; name: taken |
| ``{"errors": [{"detail": "taken", "source": {"pointer": "/data/attributes/name"}}]}`` (JSON:API) \
  | name: taken |
| ``{"name": ["taken"]}`` (Django REST Framework) | name: taken |
| ``{"errorMessages": [], "errors": {"name": "taken"}}`` (Jira, Shopify) | name: taken |
| ``{"exc_type": "E", "exception": "E: taken"}`` (Frappe) | E: taken |
| ``{"detail": [{"loc": ["body", "name"], "msg": "taken"}]}`` (FastAPI) | body.name: taken |
| ``{"message": "failed", "data": {"name": {"message": "taken"}}}`` (PocketBase) \
  | failed; name: taken |
"""

from __future__ import annotations

from typing import Any

__all__ = ["message_in"]

_TEXTS = (
    *("message", "detail", "msg", "reason", "error_description", "description", "title"),
    *("details", "exception"),
)
_OPEN = ("message", "detail", "error", "errors", "fault")
"""Members that may contain more than a text. Other members may be names of fields."""
_WRAPPERS = ("error", "errors", "fault")
_FIELD_LISTS = ("errors", "data", "details", "extra")
_MOST = 5
_DEEPEST = 5


def message_in(body: Any) -> str:
    """The message; ``""`` if the body has none in a known form."""
    return "; ".join(_texts(body, _DEEPEST)[:_MOST])


def _texts(value: Any, depth: int) -> list[str]:
    if isinstance(value, str):
        return [value] if value.strip() else []
    if depth <= 0:
        return []
    if isinstance(value, list):
        return [text for each in value[:_MOST] for text in _texts(each, depth - 1)]
    return _of_object(value, depth) if isinstance(value, dict) else []


def _of_object(value: dict[str, Any], depth: int) -> list[str]:
    for name in (*_TEXTS, *_WRAPPERS):
        inner = value.get(name)
        texts = _texts(inner, depth - 1) if name in _OPEN or isinstance(inner, str) else []
        if not texts and name == "errors" and isinstance(inner, dict):
            texts = [f"{field}: {text}" for field, text in inner.items() if isinstance(text, str)]
        if texts:
            place = _place(value)
            messages = [f"{place}: {text}" if place else text for text in texts]
            return messages if name in _WRAPPERS else [*messages, *_beside(value, name, depth)]
    return _by_field(value, depth)


def _beside(value: dict[str, Any], known: str, depth: int) -> list[str]:
    """The messages about single fields, beside a message about the whole record."""
    inner = [value[name] for name in _FIELD_LISTS if name != known and name in value]
    return [text for each in inner if isinstance(each, dict) for text in _by_field(each, depth - 1)]


def _by_field(value: dict[str, Any], depth: int) -> list[str]:
    """Messages from names of fields with lists or objects of messages."""
    messages: list[str] = []
    for name, each in value.items():
        if not isinstance(each, (list, dict)):
            return []
        texts = _texts(each, depth - 1)
        messages += [f"{name}: {text}" for text in texts]
    return messages


def _place(value: dict[str, Any]) -> str:
    """The field that an element of a list of errors is about."""
    source = value.get("source")
    if isinstance(source, dict):
        pointer = source.get("pointer", source.get("parameter"))
        return str(pointer).rpartition("/")[2] if isinstance(pointer, str) else ""
    where = value.get("loc", value.get("path", value.get("field", "")))
    if isinstance(where, list):
        return ".".join(map(str, where))
    return where if isinstance(where, str) and "/" not in where else ""
