"""Fills in templates: texts and JSON values with placeholders (``config/templates.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.config.templates import LISTING_PLACEHOLDERS, names_in, placeholders
from bytelyst_sync.rules.paths import MISSING

__all__ = ["filled"]


def filled(
    template: Any,
    values: Mapping[str, Any],
    known: tuple[str, ...] = LISTING_PLACEHOLDERS,
    *,
    typed: bool = False,
) -> Any:
    """The template with its placeholders replaced, ``MISSING`` if one of them has no value.

    ``typed``: a text that is nothing but a placeholder becomes the value itself, such as a number.
    """
    if isinstance(template, str):
        names = names_in(template, known)
        if any(values.get(name) is None for name in names):
            return MISSING
        alone = typed and any(template == f"{{{name}}}" for name in names)
        if alone:
            return values[template[1:-1]]
        return placeholders(known).sub(lambda match: str(values[match[1]]), template)
    if isinstance(template, Mapping):
        inner = {name: filled(each, values, known, typed=typed) for name, each in template.items()}
        return MISSING if any(each is MISSING for each in inner.values()) else inner
    if isinstance(template, (list, tuple)):
        parts = [filled(each, values, known, typed=typed) for each in template]
        return MISSING if any(each is MISSING for each in parts) else parts
    return template
