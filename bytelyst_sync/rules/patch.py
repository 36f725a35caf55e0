"""Applies, combines and computes updates of records, by the dialect's patch rule.

``shallow``: named fields are replaced (plain PATCH). ``merge-patch``: RFC 7396, recursive, a
``null`` removes. ``full``: the body is the whole record; as an edit it is shallow.
"""

from __future__ import annotations

from typing import Any

from bytelyst_sync.rules.merge import same_value

__all__ = ["apply_patch", "compose", "diff", "patch_create"]

Json = dict[str, Any]


def apply_patch(state: Json, edit: Json, rule: str) -> Json:
    """The record after an update of ``edit``; neither argument is changed."""
    if rule == "merge-patch":
        merged = _merge_patch(state, edit)
        return merged if isinstance(merged, dict) else {}
    return {**state, **edit}


def _merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396 §2, as written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge_patch(result.get(name), value)
    return result


def patch_create(data: Json, edit: Json, rule: str) -> Json:
    """The data of a create after an update of the record."""
    return apply_patch(data, edit, rule)


def compose(first: Json, second: Json, rule: str) -> Json | None:
    """One edit that does what ``first`` and then ``second`` do; ``None`` if no single one can."""
    if rule != "merge-patch":
        return {**first, **second}
    return _compose_merge(first, second)


def _compose_merge(first: Json, second: Json) -> Json | None:
    result = dict(first)
    for name, later in second.items():
        if not isinstance(later, dict):
            result[name] = later
            continue
        if name not in first:
            result[name] = later
            continue
        earlier = first[name]
        if isinstance(earlier, dict):
            inner = _compose_merge(earlier, later)
            if inner is None:
                return None
            result[name] = inner
        else:
            # The object would replace the earlier value completely. A merge patch can set members
            # of an object, but cannot remove unknown other members at the server.
            return None
    return result


def diff(before: Json, after: Json, rule: str) -> Json | None:
    """The edit that turns ``before`` into ``after``; ``None`` if no edit of this rule can."""
    edit: Json = {}
    for name in before:
        if name not in after:
            if rule != "merge-patch":
                return None
            edit[name] = None
    for name, value in after.items():
        if name in before and same_value(before[name], value):
            continue
        if rule == "merge-patch":
            inner = _member_patch(before.get(name), value)
            if inner is _IMPOSSIBLE:
                return None
            edit[name] = inner
        else:
            edit[name] = value
    return edit


_IMPOSSIBLE = object()


def _member_patch(before: Any, after: Any) -> Any:
    """The merge patch that changes one member from ``before`` to ``after``."""
    if after is None:
        return _IMPOSSIBLE
    if not isinstance(after, dict):
        return after
    if isinstance(before, dict):
        inner = diff(before, after, "merge-patch")
        return _IMPOSSIBLE if inner is None else inner
    return _IMPOSSIBLE if _has_null(after) else after


def _has_null(value: Any) -> bool:
    return isinstance(value, dict) and any(
        each is None or _has_null(each) for each in value.values()
    )
