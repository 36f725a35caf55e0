"""``doctor`` says of a listing that "it fits" only if its first pages do."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from bytelyst_sync.model import Json
from bytelyst_sync.testing import Seen
from tests.cli.conftest import Done
from tests.protocol.loopback import Loopback

PLAIN = "since = false\ncursor = false\ntombstone = false\nidempotency = false"


class Pages(Loopback):
    """Pages of 20 of ``rows``, 45 at first, from ``page=0`` on; its queries. The requests
    with a query in ``dropped`` get no answer.
    """

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.asked: list[dict[str, str]] = []
        self.rows = [{"id": str(each)} for each in range(45)]
        self.dropped: list[dict[str, str]] = []

    def answer(self, request: Seen) -> tuple[int, Json] | None:
        query = dict(parse_qsl(urlsplit(request.target).query))
        self.asked.append(query)
        number = int(query.get("page", 0))
        if query in self.dropped:
            return None
        rows = self.rows[number * 20 :][:20]
        return 200, {"content": rows, "totalElements": len(self.rows)}


@pytest.fixture
def api(toml: Callable[..., Path]) -> Iterator[Pages]:
    with Pages() as pages:
        yield pages


@pytest.fixture
def entities(cli: Callable[..., Done], toml: Callable[..., Path], api: Pages) -> Callable[..., str]:
    """``entities(code, *fields)``: what it says of the entities."""

    def run(code: int, *fields: str) -> str:
        lines = "\n".join(("[dialect]", 'items = "content"', PLAIN, *fields))
        toml(entities="notes = '/notes'", base_url=api.url, tail=lines)
        report = json.loads(cli("doctor", "--json", code=code).out)
        (found,) = [each for each in report["checks"] if each["check"] == "entities"]
        result: str = found["message"]
        return result

    return run


def test_a_listing_whose_pages_follow_each_other(entities: Callable[..., str], api: Pages) -> None:
    said = entities(0, 'next_page = "page:page"', "start = 0")
    assert said == "notes: 20 records, and more pages; it fits"
    assert {"page": "1"} in api.asked


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (["next_page = false"], "the listing ends after 20 rows, but the answer counts 45"),
        (['next_page = "url:next"'], "the listing ends after 20 rows, but the answer counts 45"),
        (['next_page = "page:p"', "start = 0"], "the second page has the rows of the first one"),
        (['next_page = "page:page"', "start = 1"], "the server has other rows at 0"),
        (['next_page = "page:page"'], "the server has other rows at 0"),
        (["next_page = false", 'total = "totalElements"'], "says 45 rows, and 20 came"),
    ],
)
def test_a_listing_that_would_lose_rows(
    entities: Callable[..., str], fields: list[str], said: str
) -> None:
    assert said in entities(1, *fields)


@pytest.mark.parametrize("start", [[], ["start = 1"]], ids=["unset", "one"])
def test_all_rows_may_be_before_the_first_page(
    entities: Callable[..., str], api: Pages, start: list[str]
) -> None:
    del api.rows[20:]
    said = entities(1, 'next_page = "page:page"', *start)
    assert "pages were expected to begin at 1; the server has other rows at 0" in said


@pytest.mark.parametrize("start", [[], ["start = 1"]], ids=["unset", "one"])
def test_a_page_before_the_first_that_has_no_answer_is_no_fault(
    entities: Callable[..., str], api: Pages, start: list[str]
) -> None:
    """Some servers crash on such a request: a pull goes on."""
    api.dropped.append({"page": "0"})
    assert "20 records, and more pages; it fits" in entities(0, 'next_page = "page:page"', *start)
    assert {"page": "0"} in api.asked


def test_a_listing_that_its_count_shows_to_be_whole_needs_no_page_before_it(
    entities: Callable[..., str], api: Pages
) -> None:
    """As in a pull."""
    del api.rows[:]
    lines = ('next_page = "page:page"', 'total = "totalElements"')
    assert "0 records; it fits" in entities(0, *lines)
    assert {"page": "0"} not in api.asked
