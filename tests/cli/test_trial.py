"""``doctor --write-trial``: a mapping that fits, and what is said of one that does not."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from bytelyst_sync import Dialect, EntityConfig, SyncConfig
from bytelyst_sync.inspection.doctor_context import DoctorContext, Level
from bytelyst_sync.inspection.settings import Settings
from bytelyst_sync.inspection.trial import try_writes
from bytelyst_sync.model import Json
from bytelyst_sync.testing import Reply, SyncServer
from tests.cli.conftest import Done
from tests.typed import present

NOTES = EntityConfig("/notes")
SERVER_IDS = EntityConfig("/notes", id_source="server")


def all_mappings() -> dict[str, Any]:
    """Those that ``SyncServer`` is tested with."""
    path = Path(__file__).parents[1] / "testing" / "test_dialect_server.py"
    spec = present(importlib.util.spec_from_file_location("mappings_of_the_server", path))
    module = importlib.util.module_from_spec(spec)
    present(spec.loader).exec_module(module)
    found: dict[str, Any] = module.MAPPINGS
    return found


MAPPINGS = all_mappings()


def tried(
    server: SyncServer,
    entity: EntityConfig,
    dialect: Dialect,
    record: Json | None = None,
) -> list[tuple[Level, str, str]]:
    """The findings of a trial, as (level, text, remedy)."""
    config = SyncConfig(
        base_url=server.url, entities={"notes": entity}, storage="app.db", dialect=dialect
    )
    with DoctorContext(Settings(config, Path("app.db"), None, {})) as context:
        context.reachable = True
        return [(each.level, each.text, each.remedy) for each in try_writes(context, (), record)]


def faults(found: list[tuple[Level, str, str]]) -> list[tuple[str, str]]:
    return [(text, remedy) for level, text, remedy in found if level is not Level.OK]


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("rows", [0, 2])
def test_a_mapping_that_fits(name: str, rows: int) -> None:
    mapping = MAPPINGS[name]
    entities = {"notes": mapping.entity}
    with SyncServer(dialect=mapping.dialect, entities=entities) as server:
        for number in range(rows):
            server.put("notes", {mapping.id_field: str(number), "title": "a", "n": number})
        found = tried(server, mapping.entity, mapping.dialect)
        said = " ".join(text for _, text, _ in found)
        kinds = [effect.kind for effect in server.journal if effect.by == "http"]
        left = {key: each.get("n") for key, each in server.records("notes").items()}
    assert [(text, remedy) for level, text, remedy in found if level is Level.FAIL] == []
    doubled = mapping.server_ids and mapping.dialect.idempotency is None
    assert ("a create whose answer is lost is made twice" in said) == doubled
    assert "created a record" in said
    assert "changed title, and nothing else" in said
    assert "deleted it" in said
    assert kinds.count("delete") == kinds.count("create") >= 2
    assert left == {str(number): number for number in range(rows)}


@attrs.frozen
class Unfit:
    """What a server speaks, what the client's mapping says, and what is to be named."""

    server: dict[str, Any]
    client: dict[str, Any]
    named: str
    entity: EntityConfig = NOTES
    of_server: EntityConfig = NOTES
    said: str = ""


UNFIT = {
    "route of creates": Unfit({}, {"create": "POST {endpoint}/new"}, "`create`"),
    "route of reads": Unfit({}, {"read": "GET {endpoint}/one/{id}"}, "`read`"),
    "route of updates": Unfit({}, {"update": "PUT {endpoint}/{id}/x"}, "`update`"),
    "route of deletes": Unfit({}, {"delete": "DELETE {endpoint}/{id}/x"}, "`delete`"),
    "ids of the server": Unfit({}, {}, "id_source", NOTES, SERVER_IDS),
    "a wrapped record": Unfit({"body": "data"}, {}, "`body`"),
    "a record inside": Unfit({"record": "data"}, {}, "`record`"),
    "the list": Unfit({"items": "rows"}, {}, "`items`"),
    "no version": Unfit(
        {"version": None}, {"tombstone": "deleted"}, "`version`", said="no version"
    ),
    "a version that is not checked": Unfit(
        {"send_version": "header:X-Version"}, {}, "`send_version`", said="on an old version"
    ),
    "a conflict of its own": Unfit(
        {"conflict": (418,), "answers": ((412, None, "rejected"),)}, {}, "`conflict = [418"
    ),
    "no key": Unfit(
        {"idempotency": None}, {}, "`idempotency`", SERVER_IDS, SERVER_IDS, "a second record"
    ),
    "another patch": Unfit(
        {"patch": "full"}, {}, '`patch = "full"`', said="took other fields away"
    ),
    "no next page": Unfit({}, {"next_page": None}, "`next_page`", said="ends after a page"),
    "another flag": Unfit(
        {"next_page": "page:page"}, {"next_page": "page:$page"}, "`next_page`", said="second page"
    ),
    "no tombstones": Unfit({"tombstone": None}, {}, "`tombstone = false`"),
    "another tombstone": Unfit(
        {"tombstone": "deleted_at"}, {}, '`tombstone = "deleted_at"`', said="still lists it"
    ),
    "a cursor that is not read": Unfit(
        {}, {"since": ("$from", "{cursor}")}, "`since`", said="does not move on"
    ),
    "no time": Unfit({}, {"updated_at": "changedOn"}, "`updated_at`", said="no time"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_named(name: str) -> None:
    unfit = UNFIT[name]
    spoken = Dialect(**unfit.server)
    mapping = spoken.evolve(**{field: getattr(Dialect(), field) for field in unfit.server})
    mapping = mapping.evolve(**unfit.client)
    with SyncServer(dialect=spoken, entities={"notes": unfit.of_server}) as server:
        for number in range(3):
            server.put("notes", {"id": str(number), "title": "a", "n": number})
        found = faults(tried(server, unfit.entity, mapping))
    assert any(unfit.named in f"{text} {remedy}" for text, remedy in found), found
    assert any(unfit.said in text for text, _ in found), found


def test_an_exists_that_counts_as_a_refusal_is_named() -> None:
    with SyncServer() as server:
        server.reject = lambda seen: (
            Reply(400, {"id": ["note with this id already exists."]})
            if seen.method == "POST" and str(seen.body.get("id")) in server.records("notes")
            else None
        )
        found = faults(tried(server, NOTES, Dialect(idempotency=None)))
        assert server.records("notes") == {}
    assert any('`exists = [[400, "a part of the message"]]`' in each[1] for each in found), found


@pytest.mark.parametrize("quote", ["", "`"])
def test_a_record_that_is_refused_says_how_to_give_one(quote: str) -> None:
    with SyncServer() as server:
        server.reject = lambda seen: (
            Reply(422, {"error": f"{quote}sku{quote} is required"})
            if seen.method == "POST" and "sku" not in seen.body
            else None
        )
        ((text, remedy),) = faults(tried(server, NOTES, Dialect()))
        assert f"{quote}sku{quote} is required" in text
        assert "--trial-record" in remedy
        assert faults(tried(server, NOTES, Dialect(), {"sku": "x", "title": "y"})) == []


def test_an_update_of_the_trials_record_that_is_refused_says_how_to_give_one() -> None:
    with SyncServer() as server:
        server.reject = lambda seen: (
            Reply(422, {"error": "`title` must be a known one"}) if seen.method == "PATCH" else None
        )
        found = faults(tried(server, NOTES, Dialect()))
    (remedy,) = [remedy for text, remedy in found if "must be a known one" in text]
    assert "`update`" in remedy
    assert "--trial-record" in remedy


def test_what_cannot_be_deleted_is_said() -> None:
    with SyncServer() as server:
        server.always(Reply(403, {"error": "no"}), "DELETE")
        found = faults(tried(server, NOTES, Dialect()))
        left = [text for text, _ in found if "is still there" in text]
        assert len(left) == len(server.records("notes")) == 2


def test_it_cleans_up_when_it_is_stopped() -> None:
    with SyncServer() as server:
        config = SyncConfig(base_url=server.url, entities={"notes": NOTES}, storage="app.db")
        with DoctorContext(Settings(config, Path("app.db"), None, {})) as context:
            context.reachable = True
            findings: Any = try_writes(context)
            assert "created" in next(findings).text
            assert len(server.records("notes")) == 1
            findings.close()
            assert server.records("notes") == {}


# --- on the command line


def test_reading_only_is_the_default(cli: Callable[..., Done], server: SyncServer) -> None:
    cli("doctor")
    assert {seen.method for seen in server.requests} <= {"HEAD", "GET"}


def test_all_entities_or_some(cli: Callable[..., Done], server: SyncServer) -> None:
    done = cli("doctor", "--write-trial", "--json").json
    tried = [each["message"] for each in done["checks"] if each["check"] == "trial"]
    assert {text.partition(":")[0] for text in tried} == {"notes", "tasks"}
    assert done["ok"]
    before = len(server.journal)
    cli("doctor", "--write-trial", "--trial-entity", "tasks", "--trial-record", '{"n": 1}')
    effects = server.journal[before:]
    assert {effect.collection for effect in effects} == {"tasks"}
    assert {effect.data["n"] for effect in effects if effect.data} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--trial-record", "{}"], "go with --write-trial"),
        (["--write-trial", "--no-network"], "needs the network"),
        (["--write-trial", "--trial-record", "[]"], "must be a JSON object"),
        (["--write-trial", "--trial-entity", "nots"], "unknown entity 'nots'"),
    ],
)
def test_what_makes_no_sense(cli: Callable[..., Done], arguments: list[str], error: str) -> None:
    assert error in cli("doctor", *arguments, code=2).err


def test_the_store_is_not_touched(cli: Callable[..., Done], tmp_path: Path) -> None:
    cli("doctor", "--write-trial")
    assert not list(tmp_path.glob("app.db*"))
