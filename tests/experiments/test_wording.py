"""A language model rewords; an answer that changes a number or a verdict is rejected."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs
import pytest

from bytelyst_sync.experiments.results import Results, Suggestion
from bytelyst_sync.experiments.wording import Rewording, objection
from bytelyst_sync.model import Json
from tests.typed import present

TEXT = "blue is the winner on paid: +0.1 (+0.04 to +0.16, p = 0.0002)."
ORIGINAL = f"{TEXT} Ship it."
GOOD = "Ship blue: it is the winner for paid, by +0.1, between +0.04 and +0.16 (p = 0.0002)."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (GOOD, None),
        (GOOD.replace("0.16", "0.61"), "number"),
        (GOOD.replace("+0.1,", "10 %,"), "number"),
        (GOOD + " You gain 3 customers a day.", "number"),
        (GOOD.replace("by +0.1", "by a lot"), "number"),
        (GOOD.replace("+0.1,", "-0.1,"), "number"),
        (GOOD + " Sales will double.", "in words"),
        (GOOD.replace("winner", "loser"), "verdict"),
        (GOOD.replace("winner", "best choice"), "verdict"),
        (GOOD + " It is proven.", "verdict"),
        (GOOD.replace("is the winner", "is not the winner"), "denial"),
        ("", "empty"),
        ("x" * 3000, "too long"),
    ],
)
def test_what_an_answer_may_not_change(answer: str, reason: str | None) -> None:
    found = objection(ORIGINAL, answer)
    assert (found is None) if reason is None else (reason in present(found))


class Model(BaseHTTPRequestHandler):
    answer = GOOD
    status = 200
    asked: list[Any]
    url: str

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers.get("Authorization"), body))
        message = {"choices": [{"message": {"content": self.answer}}]}
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps(message).encode())

    def log_message(self, *_: str) -> None:
        pass


@pytest.fixture
def model() -> Iterator[type[Model]]:
    kind: type[Model] = type("Scripted", (Model,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kind.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield kind
    server.shutdown()
    server.server_close()
    thread.join()


def results() -> Results:
    given: Json = {each.name: None for each in attrs.fields(Results)}
    suggestion = Suggestion("winner", TEXT, "Ship it.", {"p": "0.0002"})
    return Results(**{**given, "suggestions": (suggestion,)})


def test_an_accepted_answer_stands_beside_the_original(model: type[Model]) -> None:
    found = Rewording(model.url, "small", api_key="secret").reword(results()).suggestions[0]
    assert (found.text, found.reworded, found.rejected) == (TEXT, GOOD, None)
    ((path, key, body),) = model.asked
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert [each["content"] for each in body["messages"]][1] == ORIGINAL
    assert "secret" not in repr(Rewording(model.url, "small", api_key="secret"))


def test_a_rejected_answer_leaves_the_original_alone(model: type[Model]) -> None:
    model.answer = GOOD.replace("winner", "loser")
    found = Rewording(model.url, "small").reword(results()).suggestions[0]
    assert (found.text, found.reworded) == (TEXT, None)
    assert "verdict" in present(found.rejected)


@pytest.mark.parametrize("status", [500, 302])
def test_a_model_that_does_not_answer_leaves_the_original_alone(
    model: type[Model], status: int
) -> None:
    model.status = status
    found = Rewording(model.url, "small").reword(results()).suggestions[0]
    assert found.reworded is None
    assert present(found.rejected).startswith("no answer")
    gone = Rewording("http://127.0.0.1:9/v1", "small").reword(results()).suggestions[0]
    assert gone.rejected == "no answer: ConnectionError"
