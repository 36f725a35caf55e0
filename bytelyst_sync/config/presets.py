"""The fields of the dialects for known servers: what ``Dialect.odata()`` and others set.

The documentation that each follows is named beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bytelyst_sync.config.batch_format import BatchFormat

__all__ = [
    "couchdb",
    "directus",
    "drf",
    "json_api",
    "json_server",
    "kinto",
    "odata",
    "pocketbase",
    "postgrest",
    "strapi",
]

Fields = dict[str, Any]

_WITHOUT_VERSIONS: Fields = {
    "version": None,
    "send_version": None,
    "current": None,
    "check_before_write": True,
    "tombstone": None,
    "idempotency": None,
}
"""For servers without versions, idempotency keys and tombstones."""


def kinto() -> Fields:
    """Kinto: https://docs.kinto-storage.org/en/stable/api/1.x/ ."""
    return {
        "create": "PUT {endpoint}/{id}",
        "body": "data",
        "record": "data",
        "items": "data",
        "query": {"_sort": "last_modified"},
        "page_size": "_limit",
        "since": ("_since", "{cursor}"),
        "cursor": "header:ETag",
        "next_page": "header:Next-Page",
        "version": "field:last_modified",
        "quote_version": True,
        "current": "details.existing",
        "server_fields": "last_modified",
        "updated_at": "last_modified",
        "idempotency": None,
        "batch": BatchFormat.kinto(),
    }


def drf() -> Fields:
    """Django REST Framework: https://www.django-rest-framework.org/api-guide/viewsets/ ."""
    return {
        **_WITHOUT_VERSIONS,
        "create": "POST {endpoint}/",
        "update": "PATCH {endpoint}/{id}/",
        "delete": "DELETE {endpoint}/{id}/",
        "read": "GET {endpoint}/{id}/",
        "pull": "GET {endpoint}/",
        "items": "results",
        "page_size": "page_size",
        "since": ("updated_after", "{cursor}"),
        "cursor": "max:updated_at",
        "next_page": "url:next",
        "exists": ((400, r'"(id|pk|uuid)":\s*\[[^]]*(unique|already exists)'),),
        "server_fields": "updated_at",
    }


def json_server() -> Fields:
    """json-server 0.17: https://github.com/typicode/json-server/tree/v0.17.4 ."""
    return {
        **_WITHOUT_VERSIONS,
        "items": "",
        "query": {"_page": 1, "_limit": 1000},
        "page_size": "_limit",
        "since": None,
        "cursor": None,
        "next_page": "rel:next",
        "exists": ((500, "duplicate id"),),
    }


def couchdb() -> Fields:
    """CouchDB: https://docs.couchdb.org/en/stable/api/ ."""
    return {
        "create": "PUT {endpoint}/{id}",
        "update": "PUT {endpoint}/{id}",
        "pull": "GET {endpoint}/_changes",
        "patch": "full",
        "items": "results",
        "item": "doc",
        "query": {"include_docs": "true", "limit": 1000},
        "cursor": "body:last_seq",
        "next_page": "full:limit",
        "version": ("field:_rev", "answer:rev"),
        "send_version": {"update": "body:_rev", "delete": "query:rev"},
        "current": None,
        "tombstone": "_deleted",
        "skip_ids": "_design/",
        "idempotency": None,
        "batch": BatchFormat.couchdb(),
    }


def json_api(resource_type: str, relationships: Mapping[str, str]) -> Fields:
    """JSON:API: https://jsonapi.org/format/1.1 ."""
    written: Fields = {"type": resource_type, "id": "{id}", "attributes": "{record}"}
    if relationships:
        written["relationships"] = {
            name: {"data": {"type": kind, "id": f"{{{name}}}"}}
            for name, kind in relationships.items()
        }
    places = {name: f"relationships.{name}.data.id" for name in relationships}
    return {
        **_WITHOUT_VERSIONS,
        "content_type": "application/vnd.api+json",
        "body": {"create": {"data": written}, "update": {"data": written}},
        "fields": {"*": "attributes", **places},
        "record": "data",
        "items": "data",
        "page_size": "page[size]",
        "since": None,
        "cursor": None,
        "next_page": "url:links.next",
    }


def odata(changed: str | None) -> Fields:
    """OData: https://docs.oasis-open.org/odata/odata/v4.01/odata-v4.01-part1-protocol.html ."""
    order = {} if changed is None else {"$orderby": changed, "$filter": f"{changed} ge {{cursor}}"}
    return {
        "update": "PATCH {endpoint}({id})",
        "delete": "DELETE {endpoint}({id})",
        "read": "GET {endpoint}({id})",
        "items": "value",
        "query": {"$count": "true", **order},
        # $top would end the listing: the size of a page is a preference
        "page_size": "",
        "headers": {"Prefer": "odata.maxpagesize={limit}"},
        "since": None,
        "cursor": None if changed is None else f"max:{changed}",
        "next_page": "url:@odata.nextLink",
        "total": "@odata.count",
        "version": ("header:ETag", "field:@odata.etag"),
        "current": None,
        "tombstone": None,
        "server_fields": [
            *("@odata.context", "@odata.etag", "@odata.metadataEtag"),
            *([] if changed is None else [changed]),
        ],
        "updated_at": changed,
        "idempotency": None,
        "batch": BatchFormat(
            endpoint="POST /$batch",
            operation={
                "id": "{number}",
                "method": "{method}",
                "url": "{path}",
                "headers": "{headers}",
                "body": "{body}",
            },
            match="id",
        ),
    }


def postgrest() -> Fields:
    """PostgREST: https://docs.postgrest.org/en/stable/references/api/tables_views.html ."""
    return {
        **_WITHOUT_VERSIONS,
        "update": "PATCH {endpoint}?id=eq.{id}",
        "delete": "DELETE {endpoint}?id=eq.{id}",
        "read": "GET {endpoint}?id=eq.{id}",
        "items": "",
        "record": "0",
        "query": {"order": "updated_at.asc,id.asc", "updated_at": "gte.{cursor}"},
        "since": None,
        "cursor": "max:updated_at",
        "next_page": "offset:offset",
        "server_fields": ("updated_at",),
        "headers": {"Prefer": "return=representation"},
    }


def strapi() -> Fields:
    """Strapi 5: https://docs.strapi.io/cms/api/rest ."""
    return {
        **_WITHOUT_VERSIONS,
        "update": "PUT {endpoint}/{id}",
        "body": {"create": {"data": "{fields}"}, "update": {"data": "{fields}"}},
        "fields": {"id": "documentId"},
        "record": "data",
        "items": "data",
        "query": {"sort": "updatedAt:asc", "filters[updatedAt][$gte]": "{cursor}"},
        "page_size": "pagination[pageSize]",
        "since": None,
        "cursor": "max:updatedAt",
        "next_page": "page:pagination[page]",
        "start": 1,
        "total": "meta.pagination.total",
        "server_fields": ("createdAt", "updatedAt", "publishedAt"),
    }


def pocketbase() -> Fields:
    """PocketBase: https://pocketbase.io/docs/api-records ."""
    return {
        **_WITHOUT_VERSIONS,
        "query": {"sort": "updated,id", "filter": "updated >= '{cursor}'"},
        "page_size": "perPage",
        "since": None,
        "cursor": "max:updated",
        "next_page": "page:page",
        "start": 1,
        "total": "totalItems",
        "exists": ((400, r'"id":\s*\{[^}]*not_unique'),),
        "server_fields": ("created", "updated", "collectionId", "collectionName"),
        "updated_at": "updated",
    }


def directus() -> Fields:
    """Directus: https://directus.io/docs/guides/connect/query-parameters ."""
    return {
        **_WITHOUT_VERSIONS,
        "record": "data",
        "items": "data",
        "query": {"sort": "id", "limit": 100, "meta": "filter_count"},
        "since": None,
        "cursor": None,
        "next_page": "offset:offset",
        "total": "meta.filter_count",
        # it answers 403 to whatever is not there
        "gone": (403, 404),
        "server_fields": ("date_created", "date_updated", "user_created", "user_updated"),
        "updated_at": "date_updated",
    }
