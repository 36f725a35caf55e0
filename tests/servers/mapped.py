"""Servers that are mapped by configuration alone, each with the dialect that speaks to it."""

import shutil
import sqlite3
import sys
from contextlib import closing
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import attrs
import requests

from bytelyst_sync import Dialect
from tests.servers.process import HERE, NODE_MODULES, RealServer, missing_from_node


@attrs.frozen(kw_only=True)
class Mapping:
    """How the server is spoken to, and what can be expected of it."""

    dialect: Dialect
    id_field: str = "id"
    id_source: Literal["client", "server"] = "client"
    reference: str | None = "project"
    """The field of a task that refers to a project."""
    page_size: int | None = None
    title: str = "title"
    required: dict[str, Any] = attrs.field(factory=dict)
    """What each record has beside its title."""
    versions: bool = False
    """Whether it refuses stale writes by itself."""
    tombstones: bool = False
    entities: tuple[str, ...] = ("projects", "tasks")


class MappedServer(RealServer):
    """A server with a ``mapping``, and the plain client beside the package, on ``session``."""

    mapping: ClassVar[Mapping]
    endpoints: ClassVar = {"projects": "/projects", "tasks": "/tasks"}
    keeps_data: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def missing(cls) -> str | None:
        if any(find_spec(package) is None for package in cls.packages):
            return f"{cls.name} needs packages of the extra `test`"
        return None

    plain: requests.Session | None = None

    def session(self) -> requests.Session:
        """A ``requests.Session`` that the server knows, as a program's ``session_factory``."""
        return requests.Session()

    def request(self, method: str, url: str, **more: Any) -> requests.Response:
        if self.plain is None:
            self.plain = self.session()
        return self.plain.request(method, url, timeout=20, **more)

    def written(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        """The body of a create or an update."""
        return record

    def shown(self, body: dict[str, Any]) -> dict[str, Any]:
        """The record in an answer's body."""
        return body

    def page(self, body: Any, url: str) -> tuple[list[dict[str, Any]], str | None]:
        """The rows of a page, which is at ``url``, and the URL of the next one."""
        raise NotImplementedError

    def records(self, entity: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        url: str | None = self.url(entity)
        while url:
            rows, url = self.page(self.fetch("GET", url), url)
            found |= {str(row[self.mapping.id_field]): row for row in rows}
        return found

    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        return self.shown(self.fetch("POST", self.url(entity), **self.body(entity, record)))

    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        url = self.url(entity, record_id)
        more = self.body(entity, fields, record_id)
        answer = self.fetch("PATCH", url, **more)
        return self.shown(answer) if answer else {}

    def body(self, entity: str, record: dict[str, Any], record_id: object = None) -> dict[str, Any]:
        return {"json": record}

    def remove(self, entity: str, record_id: object) -> None:
        self.fetch("DELETE", self.url(entity, record_id))

    def wipe(self) -> None:
        for entity in self.mapping.entities[::-1]:
            for record_id in self.records(entity):
                self.remove(entity, record_id)


class JsonApi(MappedServer):
    """djangorestframework-jsonapi: sessions with CSRF, camelCase, relationships, links."""

    name = "json_api"
    root = "/api"
    packages = ("django", "rest_framework_json_api", "django_filters", "waitress")
    mapping = Mapping(
        dialect=Dialect.json_api(relationships={"project": "projects"}).evolve(
            query={"filter[updatedAt.gte]": "{cursor}"},
            cursor="max:updatedAt",
            total="meta.pagination.count",
            server_fields="updatedAt",
            answers=((403, "credentials were not provided", "credentials"),),
        ),
        id_source="server",
        page_size=3,
    )

    def command(self) -> list[str]:
        app = [sys.executable, "-W", "ignore", str(HERE / "jsonapi_app.py")]
        return [*app, str(self.port), str(self.folder / "api.sqlite3")]

    host: ClassVar[str | None] = None
    """The name that a proxy before the server gives it."""

    def session(self) -> requests.Session:
        session = requests.Session()
        if self.host is not None:
            session.headers["Host"] = self.host
        answer = session.post(f"http://127.0.0.1:{self.port}/login", timeout=20)
        session.headers["X-CSRFToken"] = answer.json()["csrf"]
        return session

    def forget_sessions(self) -> None:
        """Past Django."""
        self.plain = None
        with (
            closing(sqlite3.connect(self.folder / "api.sqlite3", timeout=20)) as database,
            database,
        ):
            database.execute("DELETE FROM django_session")

    def body(self, entity: str, record: dict[str, Any], record_id: object = None) -> dict[str, Any]:
        data = {"type": entity, "attributes": record}
        if record_id is not None:
            data["id"] = str(record_id)
        return {
            "json": {"data": data},
            "headers": {"Content-Type": "application/vnd.api+json"},
        }

    def shown(self, body: dict[str, Any]) -> dict[str, Any]:
        data = body["data"]
        return {"id": data["id"], **data["attributes"]}

    def page(self, body: Any, _url: str) -> tuple[list[dict[str, Any]], str | None]:
        return [self.shown({"data": each}) for each in body["data"]], body["links"]["next"]


class Cap(MappedServer):
    """SAP CAP: OData 4 with ETags, ``$filter``, ``@odata.nextLink`` and JSON batches."""

    name = "odata"
    root = "/odata"
    mapping = Mapping(
        dialect=Dialect.odata().evolve(
            answers=(
                (500, "UNIQUE constraint failed", "exists"),
                (500, "NOT NULL constraint failed", "rejected"),
            )
        ),
        id_field="ID",
        reference="project_ID",
        versions=True,
    )

    @classmethod
    def missing(cls) -> str | None:
        return missing_from_node("@sap/cds")

    def command(self) -> list[str]:
        shutil.copytree(HERE / "cap", self.folder, dirs_exist_ok=True)
        link = self.folder / "node_modules"
        if not link.exists():
            link.symlink_to(NODE_MODULES)
        serve = NODE_MODULES / "@sap" / "cds" / "bin" / "serve.js"
        return ["node", str(serve), "notes.cds", "--port", str(self.port), "--in-memory"]

    def url(self, entity: str, record_id: object = None) -> str:
        key = "" if record_id is None else f"({record_id})"
        return f"{self.base_url}{self.endpoints[entity]}{key}"

    def body(self, entity: str, record: dict[str, Any], record_id: object = None) -> dict[str, Any]:
        return {"json": record, "headers": {} if record_id is None else {"If-Match": "*"}}

    def remove(self, entity: str, record_id: object) -> None:
        self.fetch("DELETE", self.url(entity, record_id), headers={"If-Match": "*"})

    def page(self, body: Any, _url: str) -> tuple[list[dict[str, Any]], str | None]:
        link = body.get("@odata.nextLink")
        return body["value"], link and f"{self.base_url}/{link}"


class Feathers(MappedServer):
    """FeathersJS: ``$limit``, ``$skip`` and a total; neither versions nor tombstones."""

    name = "feathers"
    mapping = Mapping(
        dialect=Dialect(
            items="data",
            query={"$sort[id]": 1},
            page_size="$limit",
            since=None,
            cursor=None,
            next_page="offset:$skip",
            total="total",
            version=None,
            send_version=None,
            current=None,
            check_before_write=True,
            tombstone=None,
            idempotency=None,
        ),
        page_size=4,
    )

    @classmethod
    def missing(cls) -> str | None:
        return missing_from_node("@feathersjs/express")

    def command(self) -> list[str]:
        return ["node", str(HERE / "feathers_app.js"), str(self.port)]

    def environment(self) -> dict[str, str]:
        return {"NODE_PATH": str(NODE_MODULES)}

    def page(self, body: Any, url: str) -> tuple[list[dict[str, Any]], str | None]:
        end = body["skip"] + len(body["data"])
        bare = url.partition("?")[0]
        return body["data"], f"{bare}?$skip={end}" if end < body["total"] else None


class FastApi(MappedServer):
    """FastAPI, SQLModel and fastapi-pagination: cursor tokens, soft deletes, strict bodies."""

    name = "fastapi"
    packages = ("fastapi", "sqlmodel", "fastapi_pagination", "sqlakeyset", "uvicorn")
    mapping = Mapping(
        dialect=Dialect(
            delete="PATCH {endpoint}/{id}",
            body={"update": "{fields}", "delete": {"deleted_at": "{now}"}},
            query={
                "updated_after": "{cursor}",
                "cursor": "{token}",
                "size": "{limit}",
            },
            since=None,
            cursor="max:updated_at",
            next_page="token:next_page",
            total="total",
            version=None,
            send_version=None,
            current=None,
            check_before_write=True,
            tombstone="deleted_at",
            revive="update",
            server_fields="updated_at",
            idempotency=None,
        ),
        reference="project_id",
        page_size=3,
        tombstones=True,
    )

    def command(self) -> list[str]:
        app = [sys.executable, "-W", "ignore", str(HERE / "fastapi_app.py")]
        return [*app, str(self.port), str(self.folder / "api.sqlite3")]

    def page(self, body: Any, url: str) -> tuple[list[dict[str, Any]], str | None]:
        bare = url.partition("?")[0]
        following = body["next_page"]
        living = [row for row in body["items"] if row["deleted_at"] is None]
        return living, following and f"{bare}?cursor={following}"

    def remove(self, entity: str, record_id: object) -> None:
        self.change(entity, record_id, deleted_at="2024-01-01T00:00:00Z")


class Scim(MappedServer):
    """SCIM 2 by scim2-server: rows counted from 1, patches as operations, versions in ``meta``."""

    name = "scim"
    root = "/v2"
    endpoints: ClassVar = {"users": "/Users"}
    packages = ("scim2_server",)
    mapping = Mapping(
        dialect=Dialect(
            content_type="application/scim+json",
            body={
                "create": {
                    "*": "{record}",
                    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
                },
                "update": {
                    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                    "Operations": [{"op": "replace", "value": "{fields}"}],
                },
            },
            fields={"first_name": "name.givenName", "version": "meta.version"},
            items="Resources",
            page_size="count",
            since=None,
            cursor=None,
            next_page="offset:startIndex",
            start=1,
            total="totalResults",
            current=None,
            tombstone=None,
            server_fields=("schemas", "meta", "version"),
            updated_at="meta.lastModified",
            idempotency=None,
        ),
        id_source="server",
        reference=None,
        title="displayName",
        page_size=3,
        versions=True,
        entities=("users",),
    )

    def command(self) -> list[str]:
        return [sys.executable, "-m", "scim2_server.testserver.cli", "--port", str(self.port)]

    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        schemas = ["urn:ietf:params:scim:schemas:core:2.0:User"]
        return super().insert(entity, {"schemas": schemas, **record})

    def body(self, entity: str, record: dict[str, Any], record_id: object = None) -> dict[str, Any]:
        if record_id is None:
            return {"json": record, "headers": {"Content-Type": "application/scim+json"}}
        return {
            "json": {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [{"op": "replace", "value": record}],
            },
            "headers": {"Content-Type": "application/scim+json"},
        }

    def page(self, body: Any, url: str) -> tuple[list[dict[str, Any]], str | None]:
        rows = body.get("Resources", [])
        end = body["startIndex"] + len(rows)
        bare = url.partition("?")[0]
        more = rows and end <= body["totalResults"]
        return rows, f"{bare}?startIndex={end}" if more else None


class FlaskAppBuilder(MappedServer):
    """Flask-AppBuilder: queries in Rison, pages from 0 on, times without a zone, compared strictly,
    and bearer tokens.
    """

    name = "flask_appbuilder"
    root = "/api/v1"
    packages = ("flask_appbuilder", "waitress")
    mapping = Mapping(
        dialect=Dialect(
            create="POST {endpoint}/",
            update="PUT {endpoint}/{id}",
            pull="GET {endpoint}/",
            body={
                "create": {
                    "title": "{title}",
                    "project": "{project}",
                    "client_ref": "{idempotency_key}",
                },
                "update": {"title": "{title}", "project": "{project}"},
            },
            fields={"project": "project.id"},
            record="result",
            partial_answer=True,
            id_in_answer="id",
            items="result",
            query={
                "q": "(filters:!((col:changed_on,opr:gt,value:'{cursor}')),"
                "order_column:changed_on,order_direction:asc,page:{page},page_size:{limit})"
            },
            since=None,
            first_cursor="1970-01-01T00:00:00.000000",
            cursor="max:changed_on",
            overlap=1.0,
            time_zone="Europe/Berlin",
            next_page="page:page",
            start=0,
            total="count",
            version=None,
            send_version=None,
            current=None,
            check_before_write=True,
            confirm="GET {endpoint}/_info",
            lookup="GET {endpoint}/?q=(filters:!((col:client_ref,opr:eq,value:'{key}')))",
            tombstone=None,
            server_fields=("changed_on",),
            updated_at="changed_on",
            idempotency=None,
        ),
        id_source="server",
        page_size=3,
    )

    def command(self) -> list[str]:
        app = [sys.executable, "-W", "ignore", str(HERE / "fab_app.py")]
        return [*app, str(self.port), str(self.folder / "api.sqlite3")]

    def environment(self) -> dict[str, str]:
        return {"TZ": "Europe/Berlin"}

    def session(self) -> requests.Session:
        session = requests.Session()
        account = {"username": "ann", "password": "secret", "provider": "db"}
        url = f"{self.base_url}/security/login"
        answer = session.post(url, json=account, timeout=20)
        session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return session

    def url(self, entity: str, record_id: object = None) -> str:
        key = "" if record_id is None else record_id
        return f"{self.base_url}{self.endpoints[entity]}/{key}"

    def shown(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"id": body["id"], **body["result"]}

    def page(self, body: Any, url: str) -> tuple[list[dict[str, Any]], str | None]:
        bare, _, asked = url.partition("?q=(page:")
        number = int(asked.rstrip(")") or 0)
        more = body["result"] and number * 20 + len(body["result"]) < body["count"]
        return body["result"], f"{bare}?q=(page:{number + 1})" if more else None

    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.fetch("PUT", self.url(entity, record_id), json=fields)
        return answer


class Keyed(MappedServer):
    """FastAPI with idempotency keys, answers that are texts, ids in ``Location``, and statuses of
    its own for a stale write and for a record that is not there.
    """

    name = "keyed"
    packages = ("fastapi", "sqlmodel", "uvicorn")
    mapping = Mapping(
        dialect=Dialect(
            body={"update": "{fields}"},
            answer="any",
            items="",
            since=None,
            cursor=None,
            next_page="offset:offset",
            total="header:X-Total-Count",
            version=("header:X-Revision", "field:revision"),
            send_version="header:X-Revision",
            current=None,
            conflict=(423,),
            gone=(403,),
            key_lifetime=3600.0,
            tombstone=None,
            server_fields="revision",
        ),
        id_source="server",
        page_size=3,
        versions=True,
    )

    def command(self) -> list[str]:
        app = [sys.executable, "-W", "ignore", str(HERE / "keyed_app.py")]
        return [*app, str(self.port), str(self.folder / "api.sqlite3")]

    def forget_keys(self) -> None:
        """As the server does after their time."""
        with (
            closing(sqlite3.connect(self.folder / "api.sqlite3", timeout=20)) as database,
            database,
        ):
            database.execute("DELETE FROM keys")

    def page(self, body: Any, url: str) -> tuple[list[dict[str, Any]], str | None]:
        bare, _, asked = url.partition("?offset=")
        return body, f"{bare}?offset={int(asked or 0) + len(body)}" if body else None

    def insert(self, entity: str, record: dict[str, Any]) -> dict[str, Any]:
        answer = self.request("POST", self.url(entity), json=record)
        stored: dict[str, Any] = self.fetch("GET", answer.headers["Location"])
        return stored

    def change(self, entity: str, record_id: object, **fields: Any) -> dict[str, Any]:
        answer = self.request("PATCH", self.url(entity, record_id), json=fields)
        assert answer.text == "saved"
        return {}

    def remove(self, entity: str, record_id: object) -> None:
        answer = self.request("DELETE", self.url(entity, record_id))
        assert answer.text == "deleted"


# --- other ways to say the same, for what the dialects above do not use


def _after_skip(url: str, body: Any) -> str | None:
    """The next page of FeathersJS, by what a page says of itself."""
    end = body["skip"] + len(body["data"])
    bare = url.partition("?")[0]
    return f"{bare}?$sort[id]=1&$limit=4&$skip={end}" if end < body["total"] else None


class JsonApiBehindProxy(JsonApi):
    """The server builds its links from the name that a proxy gives it."""

    name = "json_api_behind_proxy"
    host = "api.example.com"
    mapping = attrs.evolve(
        JsonApi.mapping, dialect=JsonApi.mapping.dialect.evolve(rebase_links=True)
    )

    def page(self, body: Any, _url: str) -> tuple[list[dict[str, Any]], str | None]:
        rows, link = super().page(body, _url)
        return rows, link and link.replace(self.host, f"127.0.0.1:{self.port}")


class FeathersByCallable(Feathers):
    name = "feathers_by_callable"
    mapping = attrs.evolve(
        Feathers.mapping, dialect=Feathers.mapping.dialect.evolve(next_page=_after_skip)
    )


class FeathersByTemplate(Feathers):
    """The number of the first row stands in a template, and the length of a page tells the end."""

    name = "feathers_by_template"
    mapping = attrs.evolve(
        Feathers.mapping,
        dialect=Feathers.mapping.dialect.evolve(
            query={"$sort[id]": 1, "$skip": "{offset}", "$limit": "{limit}"},
            next_page="full:$limit",
            total=None,
        ),
    )


class CapWithoutMetadata(Cap):
    name = "odata_without_metadata"
    mapping = attrs.evolve(
        Cap.mapping,
        dialect=Cap.mapping.dialect.evolve(accept="application/json;odata.metadata=none"),
    )


MAPPED = (
    *(JsonApi, Cap, Feathers, FastApi, FlaskAppBuilder, Keyed),
    *((Scim,) if sys.version_info >= (3, 11) else ()),
)
"""scim2-server needs Python 3.11."""
VARIED = (JsonApiBehindProxy, FeathersByCallable, FeathersByTemplate, CapWithoutMetadata)
