"""The pages of the admin: permissions, log entries, and what changed since a page was loaded."""

import html
import re

import pytest
from django.conf import settings
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import connections
from django.http import HttpResponse
from django.test import Client, override_settings

from bytelyst_sync.contrib.django import get_engine
from bytelyst_sync.contrib.django.admin_conflicts import field_rows, merged_record
from bytelyst_sync.contrib.django.admin_pages import PAGE, exact_json
from bytelyst_sync.rules.json_text import loads
from tests.contrib.django.admin_site import PLACE, RIGHTS, NewUser
from tests.dashboard.browser import HOSTILE
from tests.dashboard.conftest import Stage

LISTS = ("queueditem", "faileditem", "openconflict", "queuestatus")


@pytest.fixture
def client(new_user: NewUser) -> Client:
    found = Client(raise_request_exception=True)
    found.force_login(new_user(*RIGHTS))
    return found


def text_of(response: HttpResponse) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", response.content.decode()))


def inputs(response: HttpResponse, name: str) -> list[str]:
    found = re.findall(rf'name="{name}" value="([^"]*)"', response.content.decode())
    return [html.unescape(each) for each in found]


def link_to(response: HttpResponse, text: str) -> str:
    (found,) = re.findall(
        rf'<a href="([^"]+)">{re.escape(html.escape(text))}</a>', response.content.decode()
    )
    return html.unescape(found)


def rows_of(response: HttpResponse) -> int:
    link = b'<th scope="row"><a href="/admin/bytelyst_sync/queueditem/default'
    return bytes(response.content).count(link)


def messages_of(response: HttpResponse) -> list[str]:
    found = re.findall(
        r'<li class="(?:success|warning|error)">(.*?)</li>', response.content.decode()
    )
    return [html.unescape(each) for each in found]


# --- who may do what


@pytest.mark.parametrize("name", LISTS)
def test_a_list_needs_its_permission(stage: Stage, new_user: NewUser, name: str) -> None:
    client = Client()
    assert client.get(f"{PLACE}/{name}/").status_code == 302
    client.force_login(new_user())
    assert client.get(f"{PLACE}/{name}/").status_code == 403
    client.force_login(new_user(f"view_{name}", name="viewer"))
    assert client.get(f"{PLACE}/{name}/").status_code == 200
    index = client.get("/admin/").content.decode()
    assert [each for each in LISTS if f"{PLACE}/{each}/" in index] == [name]


def test_a_viewer_can_change_nothing(stage: Stage, new_user: NewUser) -> None:
    (item,) = stage.fail({"id": "1"})
    found = stage.conflict()
    client = Client()
    client.force_login(new_user("view_faileditem", "view_openconflict"))
    failed = client.get(f"{PLACE}/faileditem/")
    assert inputs(failed, "seen") == []
    seen = f"x:{item.id}"
    for action in ("retry", "discard"):
        answer = client.post(f"{PLACE}/faileditem/", {"action": action, "seen": seen})
        assert answer.status_code == 403
    page = link_to(failed, "orders/1")
    assert b"<textarea" not in client.get(page).content
    assert client.post(page, {"data": "{}"}).status_code == 403
    page = link_to(client.get(f"{PLACE}/openconflict/"), "customers/c-7")
    shown = client.get(page).content
    assert b'type="radio"' not in shown
    assert b'value="remote"' not in shown
    assert client.post(page, {"action": "remote"}).status_code == 403
    assert [each.id for each in stage.engine.conflicts()] == [found.id]
    assert [each.id for each in stage.engine.failed()] == [item.id]


def test_who_may_retry_may_not_discard(stage: Stage, new_user: NewUser) -> None:
    stage.fail({"id": "1"})
    client = Client()
    client.force_login(new_user("view_faileditem", "change_faileditem"))
    page = client.get(f"{PLACE}/faileditem/")
    (seen,) = inputs(page, "seen")
    assert b"Discard" not in page.content
    data = {"action": "discard", "seen": seen, "confirmed": "1"}
    assert client.post(f"{PLACE}/faileditem/", data).status_code == 403
    assert client.post(f"{PLACE}/faileditem/", {"action": "retry", "seen": seen}).status_code == 302


def test_forms_need_a_token_of_the_site(stage: Stage, new_user: NewUser) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(new_user(*RIGHTS))
    assert client.post(f"{PLACE}/faileditem/", {"action": "retry"}).status_code == 403


@pytest.mark.parametrize("path", ["faileditem/add/", "faileditem/x/delete/", "openconflict/add/"])
def test_there_are_no_other_pages(client: Client, path: str) -> None:
    assert client.get(f"{PLACE}/{path}").status_code in (302, 404)


@pytest.mark.parametrize("name", LISTS)
def test_a_queue_that_cannot_be_read_says_why(client: Client, new_user: NewUser, name: str) -> None:
    with override_settings(BYTELYST_SYNC={"default": {"BASE_URL": "nonsense"}}):
        answer = client.get(f"{PLACE}/{name}/")
        assert answer.status_code == 503
        assert "BYTELYST_SYNC['default']: ENTITIES is missing" in text_of(answer)
        stranger = Client()
        stranger.force_login(new_user(name="stranger"))
        assert stranger.get(f"{PLACE}/{name}/").status_code == 403


def test_a_database_without_the_tables_says_what_to_do(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"})
    with connections[settings.BYTELYST_SYNC["default"]["USING"]].cursor() as cursor:
        cursor.execute("ALTER TABLE bytelyst_sync_items RENAME TO elsewhere")
        try:
            answer = client.get(f"{PLACE}/faileditem/")
        finally:
            cursor.execute("ALTER TABLE elsewhere RENAME TO bytelyst_sync_items")
    assert answer.status_code == 503
    assert "manage.py migrate --database sqlite" in text_of(answer)


# --- failed items


def test_items_are_retried_and_logged(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"}, {"id": "2"}, {"id": "3"})
    page = client.get(f"{PLACE}/faileditem/")
    assert "title is too long" in text_of(page)
    seen = inputs(page, "seen")
    done = client.post(f"{PLACE}/faileditem/", {"action": "retry", "seen": seen[:2]}, follow=True)
    assert messages_of(done) == ["2 items queued again."]
    assert [each.record_id for each in stage.engine.failed()] == ["3"]
    entries = LogEntry.objects.order_by("pk")
    assert [(each.action_flag, each.object_repr) for each in entries] == [
        (CHANGE, "create of orders/1"),
        (CHANGE, "create of orders/2"),
    ]
    assert entries[0].user.username == "operator"
    assert entries[0].get_change_message() == "Queued again"
    assert stage.engine.flush(10).pushed == 2


def test_items_are_discarded_after_a_question(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"}, {"id": "2"})
    (seen, _) = inputs(client.get(f"{PLACE}/faileditem/"), "seen")
    asked = client.post(f"{PLACE}/faileditem/", {"action": "discard", "seen": seen})
    assert "create of orders/1" in text_of(asked)
    assert len(list(stage.engine.failed())) == 2
    data = {"action": "discard", "seen": inputs(asked, "seen"), "confirmed": "Yes"}
    done = client.post(f"{PLACE}/faileditem/", data, follow=True)
    assert messages_of(done) == ["1 item discarded."]
    assert [each.record_id for each in stage.engine.failed()] == ["2"]
    (entry,) = LogEntry.objects.all()
    assert (entry.action_flag, entry.object_repr) == (DELETION, "create of orders/1")


def test_an_item_is_repaired(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1", "title": "long", "n": 1})
    page = link_to(client.get(f"{PLACE}/faileditem/"), "orders/1")
    form = client.get(page)
    (seen,) = set(inputs(form, "seen"))
    data = {"seen": seen, "data": '{"id": "1",\r\n "title": "short"}'}
    done = client.post(page, data, follow=True)
    assert messages_of(done) == ["Create of orders/1 was queued again."]
    assert stage.engine.flush(10).pushed == 1
    assert stage.server.records("orders")["1"]["title"] == "short"
    assert LogEntry.objects.get().get_change_message() == "Repaired and queued again"
    history = client.get(page.replace("/change/", "/history/"), follow=True)
    assert "no longer" in text_of(history) or "doesn’t exist" in text_of(history)


def test_the_history_of_an_item_that_is_there(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1", "title": "long"})
    page = link_to(client.get(f"{PLACE}/faileditem/"), "orders/1")
    assert "Retries spent 0" in " ".join(text_of(client.get(page)).split())
    history = client.get(page.replace("/change/", "/history/"))
    assert history.status_code == 200
    assert "create of orders/1" in text_of(history)


def test_numbers_are_kept_as_they_were_written() -> None:
    text = '{"n": 0.10000000000000000000001, "m": 1.50, "k": [12345678901234567890.123]}'
    shown = exact_json(loads(text))
    for number in ("0.10000000000000000000001", "1.50", "12345678901234567890.123"):
        assert number in shown
    assert exact_json(loads(shown)) == shown


WRONG = {
    "no JSON": ("{", "No JSON"),
    "no object": ("[1]", "the record is an object"),
    "other id": ('{"id": "2"}', "another id"),
    "deep": ("[" * 100_000, "No JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_repair_is_shown_with_what_was_typed(
    client: Client, stage: Stage, name: str
) -> None:
    typed, error = WRONG[name]
    stage.fail({"id": "1"})
    page = link_to(client.get(f"{PLACE}/faileditem/"), "orders/1")
    (seen,) = set(inputs(client.get(page), "seen"))
    answer = client.post(page, {"seen": seen, "data": typed})
    assert answer.status_code == 400
    assert error in text_of(answer)
    assert typed in html.unescape(answer.content.decode())
    assert len(list(stage.engine.failed())) == 1


def test_what_changed_since_the_page_was_loaded_is_left(client: Client, stage: Stage) -> None:
    stage.fail({"id": "1"}, {"id": "2"}, {"id": "3"})
    seen = inputs(client.get(f"{PLACE}/faileditem/"), "seen")
    first, second, _ = stage.engine.failed()
    stage.engine.reprocess_failed([first.id])
    stage.engine.discard_failed([second.id])
    for action, confirmed in (("retry", ""), ("discard", "Yes")):
        data = {"action": action, "seen": seen[:2], "confirmed": confirmed}
        done = client.post(f"{PLACE}/faileditem/", data, follow=True)
        assert messages_of(done) == [
            "2 items had changed since the page was loaded, or had gone: nothing was done to them."
        ]
    assert [each.record_id for each in stage.engine.failed()] == ["3"]
    assert not LogEntry.objects.exists()


def test_an_item_that_failed_again_is_not_repaired_unseen(client: Client, stage: Stage) -> None:
    (item,) = stage.fail({"id": "1", "title": "a"}, error="first reason")
    page = link_to(client.get(f"{PLACE}/faileditem/"), "orders/1")
    (seen,) = set(inputs(client.get(page), "seen"))
    fresh = {"id": "1", "title": "b"}
    stage.engine.reprocess_failed([item.id], data=fresh)
    gone = client.post(page, {"seen": seen, "data": "{}"}, follow=True)
    assert "no longer there" in messages_of(gone)[0]
    assert stage.engine.flush(10).pushed == 1
    stage.fail({"id": "2", "title": "a"}, error="reason")
    page = link_to(client.get(f"{PLACE}/faileditem/"), "orders/2")
    answer = client.post(page, {"seen": "older", "data": '{"id": "2", "title": "typed"}'})
    assert answer.status_code == 409
    assert "has changed since the page was loaded" in text_of(answer)
    assert '"title": "typed"' in text_of(answer)
    assert '"title": "a"' in text_of(answer)
    assert len(list(stage.engine.failed())) == 1


# --- lists


def test_lists_are_filtered_and_have_pages(client: Client, stage: Stage) -> None:
    stage.engine.push_many("orders", [{"id": f"o-{n}"} for n in range(PAGE + 5)])
    stage.engine.push("customers", {"id": "c-1"})
    first = client.get(f"{PLACE}/queueditem/")
    assert rows_of(first) == PAGE
    second = client.get(f"{PLACE}/queueditem/" + link_to(first, "Next page"))
    assert rows_of(second) == 6
    found = client.get(f"{PLACE}/queueditem/?entity=customers")
    assert "customers/c-1" in text_of(found)
    assert "orders/" not in text_of(found)
    found = client.get(f"{PLACE}/queueditem/?q=o-7")
    assert rows_of(found) == 1
    assert "Nothing is queued" in text_of(client.get(f"{PLACE}/queueditem/?q=none&p=zwei"))
    item = client.get(link_to(found, "orders/o-7"))
    assert '"id": "o-7"' in text_of(item)


def test_each_queue_has_its_lists(client: Client, stage: Stage) -> None:
    queues = {**settings.BYTELYST_SYNC}
    queues["a:b/c"] = {**queues["default"], "ENTITIES": {"other": "/other"}}
    with override_settings(BYTELYST_SYNC=queues):
        get_engine("a:b/c").push("other", {"id": "x"})
        assert "other/x" not in text_of(client.get(f"{PLACE}/queueditem/"))
        page = client.get(f"{PLACE}/queueditem/", {"queue": "a:b/c"})
        assert '"id": "x"' in text_of(client.get(link_to(page, "other/x")))
        status = text_of(client.get(f"{PLACE}/queuestatus/"))
        assert "a:b/c" in status
        assert "manage.py sync_worker" in status


def test_the_pages_are_in_no_transaction_of_a_request(
    client: Client, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.fail({"id": "1"})
    for alias in connections:
        monkeypatch.setitem(connections[alias].settings_dict, "ATOMIC_REQUESTS", True)
    page = client.get(f"{PLACE}/faileditem/")
    done = client.post(
        f"{PLACE}/faileditem/", {"action": "retry", "seen": inputs(page, "seen")}, follow=True
    )
    assert messages_of(done) == ["1 item queued again."]


def test_hostile_text_is_escaped_everywhere(client: Client, stage: Stage) -> None:
    records = [{"id": f"{n} {text}", text: [{text: text}]} for n, text in enumerate(HOSTILE)]
    for number in range(0, len(records), 10):
        stage.fail(*records[number : number + 10], error=HOSTILE[number])
    stage.engine.push_many("orders", [{**each, "id": f"q {each['id']}"} for each in records])
    stage.conflict(f"c {HOSTILE[1]}")
    pages = [f"{PLACE}/{name}/" for name in LISTS]
    for name in LISTS[:3]:
        shown = client.get(f"{PLACE}/{name}/", {"q": HOSTILE[0]})
        assert_escaped(shown)
        shown = client.get(f"{PLACE}/{name}/")
        pages += re.findall(rf'<a href="({PLACE}/{name}/[^"]+/change/)">', shown.content.decode())
    assert len(pages) > 2 * PAGE
    for page in pages:
        assert_escaped(client.get(html.unescape(page)))
        if "faileditem/" in page and "change" in page:
            assert_escaped(client.post(html.unescape(page), {"data": "".join(HOSTILE[:30])}))


def assert_escaped(response: HttpResponse) -> None:
    text = response.content.decode()
    body = text[text.index('id="content"') :]
    for bad in HOSTILE:
        if "<" in bad and bad != "<!--":
            assert bad not in body, bad
    assert "\u202e" not in text
    assert "\u2066" not in text


# --- conflicts


def test_a_conflict_is_resolved_by_field(client: Client, stage: Stage) -> None:
    stage.conflict()
    listed = client.get(f"{PLACE}/openconflict/")
    page = link_to(listed, "customers/c-7")
    form = client.get(page)
    shown = text_of(form)
    for value in ("old@example.com", "here@example.com", "there@example.com", "Bergen", "555"):
        assert value in shown
    (seen,) = inputs(form, "seen")
    missing = client.post(page, {"seen": seen, "action": "fields"})
    assert missing.status_code == 400
    assert "Choose a side for: email" in text_of(missing)
    chosen = sides(form, email="remote", city="local", phone="remote")
    done = client.post(page, {"seen": seen, "action": "fields", **chosen}, follow=True)
    assert messages_of(done) == ["Conflict of customers/c-7 was resolved."]
    assert stage.engine.flush(10).success
    there = stage.server.records("customers")["c-7"]
    assert (there["email"], there["city"], there["phone"]) == ("there@example.com", "Bergen", "555")
    (entry,) = LogEntry.objects.all()
    assert (entry.action_flag, entry.object_repr) == (CHANGE, "conflict of customers/c-7")
    assert "email remote" in entry.get_change_message()


def sides(form: HttpResponse, **chosen: str) -> dict[str, str]:
    """The inputs of a form that choose these sides of fields."""
    found = {}
    for name, label in re.findall(
        r'name="(field-\d+)" value="local"[^>]*aria-label="([^"]*): here"', form.content.decode()
    ):
        if label in chosen:
            found[name] = chosen[label]
    assert len(found) == len(chosen)
    return found


@pytest.mark.parametrize(("side", "email"), [("local", "here@"), ("remote", "there@")])
def test_a_conflict_is_resolved_by_a_whole_side(
    client: Client, stage: Stage, side: str, email: str
) -> None:
    stage.conflict()
    page = link_to(client.get(f"{PLACE}/openconflict/"), "customers/c-7")
    (seen,) = inputs(client.get(page), "seen")
    client.post(page, {"seen": seen, "action": side})
    stage.engine.flush(10)
    assert stage.server.records("customers")["c-7"]["email"].startswith(email)


def test_a_conflict_that_changed_is_shown_again(client: Client, stage: Stage) -> None:
    stage.conflict()
    page = link_to(client.get(f"{PLACE}/openconflict/"), "customers/c-7")
    (seen,) = inputs(client.get(page), "seen")
    stage.server.patch("customers", "c-7", {"email": "newer@example.com"})
    stage.engine.pull()
    answer = client.post(page, {"seen": seen, "action": "local"})
    assert answer.status_code == 409
    assert "has changed since the page was loaded" in text_of(answer)
    assert "newer@example.com" in text_of(answer)
    (conflict,) = stage.engine.conflicts()
    stage.engine.resolve(conflict, "remote")
    gone = client.post(page, {"seen": seen, "action": "local"}, follow=True)
    assert "no longer there" in messages_of(gone)[0]
    assert not LogEntry.objects.exists()


def test_the_merged_record_has_what_was_chosen(stage: Stage) -> None:
    found = stage.conflict()
    rows = {row.name: row for row in field_rows(found, {})}
    assert rows["email"].choice == ""
    assert rows["email"].changed_by_both
    assert (rows["city"].choice, rows["phone"].choice) == ("local", "remote")
    assert not rows["name"].differs
    merged = merged_record(found, {"email": "local", "phone": "local", "city": "remote"})
    assert "phone" not in merged
    assert (merged["email"], merged["city"]) == ("here@example.com", "Oslo")
