"""The admin's pages in a real browser: lists, decisions, the keyboard, permissions."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections

from tests.contrib.django.admin_site import PLACE, RIGHTS, NewUser
from tests.dashboard.browser import HOSTILE, Window, press_until
from tests.dashboard.conftest import Site, Stage
from tests.dashboard.in_thread import served
from tests.typed import present

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.timeout(120)
LISTS = ("queueditem", "faileditem", "openconflict", "queuestatus")


@pytest.fixture
def site(stage: Stage) -> Iterator[Site]:
    """The address of a project that serves its admin."""

    class App(StaticFilesHandler):
        def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            try:
                return super().__call__(environ, start_response)
            finally:
                connections.close_all()

    with served(App(WSGIHandler())) as address:
        yield Site(address)


@pytest.fixture(autouse=True)
def orm_beside_playwright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright runs an event loop in this thread; the tests use the ORM beside it."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.fixture
def signed_in(
    site: Site, new_user: NewUser, window: Callable[..., Window]
) -> Callable[..., Window]:
    """``signed_in(*rights)``: a window whose user has signed in."""

    def make(*rights: str, **options: Any) -> Window:
        user = new_user(*rights)
        view = window(**options)
        view.page.goto(f"{site}/admin/")
        view.page.fill("#id_username", user.username)
        view.page.fill("#id_password", "secret")
        view.page.keyboard.press("Enter")
        view.page.get_by_role("heading", name="Site administration").wait_for()
        return view

    return make


def open_list(view: Window, site: Site, name: str) -> None:
    assert present(view.page.goto(f"{site}{PLACE}/{name}/")).status == 200


def message(page: "Page", text: str) -> None:
    page.locator(".messagelist", has_text=text).wait_for()


# --- a day's work


def test_find_repair_and_retry(stage: Stage, site: Site, signed_in: Callable[..., Window]) -> None:
    stage.fail(*[{"id": f"{n}", "title": "long"} for n in range(3)])
    stage.engine.push("customers", {"id": "c-1"})
    page = signed_in(*RIGHTS).page
    page.get_by_role("link", name="Failed items").first.click()
    page.fill("#bs-q", "2")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("#result_list tbody tr").count() == 1
    page.get_by_role("link", name="orders/2").click()
    assert "title is too long" in page.locator(".bs-facts").inner_text()
    page.fill("#bs-data", '{"id": "2", "title": "short"}')
    page.get_by_role("button", name="Retry").click()
    message(page, "Create of orders/2 was queued again.")
    assert stage.engine.flush(10).pushed == 2
    assert stage.server.records("orders")["2"]["title"] == "short"
    assert [each.record_id for each in stage.engine.failed()] == ["0", "1"]
    page.goto(f"{site}/admin/")
    assert "create of orders/2" in page.locator("#recent-actions-module").inner_text()


def test_discard_after_a_question(
    stage: Stage, site: Site, signed_in: Callable[..., Window]
) -> None:
    stage.fail({"id": "1"}, {"id": "2"})
    view = signed_in(*RIGHTS)
    page = view.page
    open_list(view, site, "faileditem")
    page.get_by_label("Select orders/1").check()
    page.get_by_role("button", name="Discard the selected items").click()
    page.get_by_text("The server will never get these changes").wait_for()
    page.get_by_role("button", name="No, take me back").click()
    assert len(list(stage.engine.failed())) == 2
    page.get_by_label("Select all of this page").check()
    page.get_by_label("Select orders/2").uncheck()
    page.get_by_role("button", name="Discard the selected items").click()
    page.get_by_role("button", name="Yes, discard").click()
    message(page, "1 item discarded.")
    assert [each.record_id for each in stage.engine.failed()] == ["2"]


def test_resolve_by_field(stage: Stage, site: Site, signed_in: Callable[..., Window]) -> None:
    stage.conflict()
    view = signed_in(*RIGHTS)
    page = view.page
    open_list(view, site, "openconflict")
    page.get_by_role("link", name="customers/c-7").click()
    page.get_by_role("button", name="Resolve by field").click()
    page.get_by_text("Choose a side for: email.").wait_for()
    view.complaints.clear()  # the browser itself notes the 400
    page.get_by_label("email: server").check()
    page.get_by_role("button", name="Resolve by field").click()
    message(page, "Conflict of customers/c-7 was resolved.")
    assert stage.engine.flush(10).success
    there = stage.server.records("customers")["c-7"]
    assert (there["email"], there["city"], there["phone"]) == ("there@example.com", "Bergen", "555")


def test_what_a_viewer_sees(stage: Stage, site: Site, signed_in: Callable[..., Window]) -> None:
    stage.fail({"id": "1"})
    stage.conflict()
    view = signed_in("view_faileditem", "view_openconflict", "view_queuestatus")
    page = view.page
    assert page.get_by_role("link", name="Queue", exact=True).count() == 0
    open_list(view, site, "faileditem")
    assert page.locator("input[type=checkbox], button[name=action]").count() == 0
    page.get_by_role("link", name="orders/1").click()
    assert page.locator("textarea, #content button, #content input[type=submit]").count() == 0
    open_list(view, site, "openconflict")
    page.get_by_role("link", name="customers/c-7").click()
    assert page.locator("input[type=radio], #content button").count() == 0
    assert present(page.goto(f"{site}{PLACE}/queueditem/")).status == 403
    view.complaints.clear()  # the browser itself notes the 403


def test_an_item_that_changed_after_the_page_was_loaded(
    stage: Stage, site: Site, signed_in: Callable[..., Window]
) -> None:
    first, _ = stage.fail({"id": "1", "title": "a"}, {"id": "2", "title": "b"})
    stage.conflict()
    view = signed_in(*RIGHTS)
    page = view.page
    open_list(view, site, "faileditem")
    page.get_by_label("Select orders/1").check()
    page.get_by_label("Select orders/2").check()
    stage.engine.reprocess_failed([first.id])
    page.get_by_role("button", name="Retry the selected items").click()
    message(page, "1 item queued again.")
    message(page, "1 item had changed since the page was loaded, or had gone")
    stage.engine.flush(10)
    stage.fail({"id": "3", "title": "a"})
    open_list(view, site, "faileditem")
    page.get_by_role("link", name="orders/3").click()
    stage.engine.discard_failed()
    page.fill("#bs-data", '{"id": "3"}')
    page.get_by_role("button", name="Retry").click()
    message(page, "The failed item is no longer there")
    open_list(view, site, "openconflict")
    page.get_by_role("link", name="customers/c-7").click()
    stage.server.patch("customers", "c-7", {"email": "newer@example.com"})
    stage.engine.pull()
    page.get_by_role("button", name="Keep all of here").click()
    page.get_by_text("The conflict has changed since the page was loaded").wait_for()
    view.complaints.clear()  # the browser itself notes the 409
    assert "newer@example.com" in page.locator(".bs-sides").inner_text()
    assert len(list(stage.engine.conflicts())) == 1


# --- by keyboard alone


def test_retry_and_discard_by_keyboard(
    stage: Stage, site: Site, signed_in: Callable[..., Window]
) -> None:
    stage.fail({"id": "1"}, {"id": "2"})
    view = signed_in(*RIGHTS)
    page = view.page
    open_list(view, site, "faileditem")
    press_until(page, "Tab", 'tbody tr:nth-child(1) input[name="seen"]')
    page.keyboard.press("Space")
    press_until(page, "Shift+Tab", 'button[value="retry"]')
    page.keyboard.press("Enter")
    message(page, "1 item queued again.")
    press_until(page, "Tab", "#bs-all")
    page.keyboard.press("Space")
    press_until(page, "Shift+Tab", 'button[value="discard"]')
    page.keyboard.press("Enter")
    page.get_by_text("The server will never get these changes").wait_for()
    press_until(page, "Tab", 'input[name="confirmed"]')
    page.keyboard.press("Enter")
    message(page, "1 item discarded.")
    assert list(stage.engine.failed()) == []
    assert [each.record_id for each in stage.engine.queue()] == ["1"]


def test_repair_and_resolve_by_keyboard(
    stage: Stage, site: Site, signed_in: Callable[..., Window]
) -> None:
    stage.fail({"id": "1", "title": "long"})
    stage.conflict()
    view = signed_in(*RIGHTS)
    page = view.page
    open_list(view, site, "faileditem")
    press_until(page, "Tab", "#result_list a")
    page.keyboard.press("Enter")
    page.wait_for_selector("#bs-data")
    press_until(page, "Tab", "#bs-data")
    page.keyboard.press("Control+a")
    page.keyboard.type('{"id": "1", "title": "short"}')
    press_until(page, "Tab", "#bs-repair input[type=submit]")
    page.keyboard.press("Enter")
    message(page, "Create of orders/1 was queued again.")
    open_list(view, site, "openconflict")
    press_until(page, "Tab", "#result_list a")
    page.keyboard.press("Enter")
    page.wait_for_selector(".bs-sides")
    press_until(page, "Tab", '.bs-both input[type="radio"]')
    page.keyboard.press("Space")
    press_until(page, "Tab", 'button[value="fields"]')
    page.keyboard.press("Enter")
    message(page, "Conflict of customers/c-7 was resolved.")
    assert stage.engine.flush(10).success
    assert stage.server.records("orders")["1"]["title"] == "short"
    assert stage.server.records("customers")["c-7"]["email"] == "here@example.com"


# --- for everybody, and safe


def something_on_each_page(stage: Stage) -> None:
    records = [{"id": f"{n} {text}", text: [{text: text}]} for n, text in enumerate(HOSTILE)]
    for number in range(0, len(records), 10):
        stage.fail(*records[number : number + 10], error=HOSTILE[number])
    base = {"id": "h", "name": "x", **{f"k{text}": text for text in HOSTILE}}
    stage.server.put("customers", base)
    stage.engine.pull()
    stage.engine.push("customers", {"id": "h", "name": HOSTILE[0]}, "update")
    stage.server.patch("customers", "h", {"name": HOSTILE[1]})
    stage.engine.pull()
    stage.engine.push_many("orders", [{**each, "id": f"q {each['id']}"} for each in records])


def test_hostile_text_does_nothing(
    stage: Stage, site: Site, signed_in: Callable[..., Window]
) -> None:
    something_on_each_page(stage)
    view = signed_in(*RIGHTS)
    page = view.page
    for name in LISTS:
        open_list(view, site, name)
        places = page.locator("#result_list a").evaluate_all("all => all.map(each => each.href)")
        assert places or name == "queuestatus"
        for place in places[:12]:
            assert present(page.goto(place)).status == 200
            inserted = "#content script, #content iframe, #content img, #content svg, #content base"
            assert page.locator(inserted).count() == 0
    assert {each.split("/")[2] for each in view.requests} == {site.split("/")[2]}
    page.goto(f"{site}/admin/")


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_for_everybody(
    stage: Stage, site: Site, signed_in: Callable[..., Window], scheme: str, width: int
) -> None:
    stage.fail({"id": "1", "title": "x"})
    stage.conflict()
    stage.engine.push("orders", {"id": "2"})
    view = signed_in(*RIGHTS, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = view.page
    for name in LISTS:
        open_list(view, site, name)
        assert view.violations() == [], name
        if name != "queuestatus":
            page.locator("#result_list a").first.click()
            page.locator("h1").wait_for()
            assert view.violations() == [], name
    assert LogEntry.objects.count() == 0
