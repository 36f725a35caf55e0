"""Debian's Chromium, driven by Playwright, and axe-core."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.process import NODE_MODULES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
AXE = NODE_MODULES / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PATIENCE_MS = 20_000
HOSTILE = [
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>"),
    *('"><script>alert(1)</script>', "'><script>alert(1)</script>", "</textarea><script>alert(1)"),
    *("</title><script>alert(1)</script>", "</script><script>alert(1)</script>", "<!--"),
    *('" onmouseover="alert(1)', "' onfocus='alert(1)' autofocus='", "` onload=alert(1) `"),
    *("javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:alert(1)"),
    *("{{constructor.constructor('alert(1)')()}}", "{% include 'x' %}", "${alert(1)}"),
    *("<iframe src=javascript:alert(1)>", "<object data=javascript:alert(1)>", "<base href=//x>"),
    *(
        "<meta http-equiv=refresh content=0>",
        "<link rel=stylesheet href=//x>",
        "<style>*{}</style>",
    ),
    *("<form action=//x><button>", "<details open ontoggle=alert(1)>", "<body onload=alert(1)>"),
    *("<math><mi//xlink:href='javascript:alert(1)'>", "<template><script>alert(1)</script>"),
    *("<input autofocus onfocus=alert(1)>", "<video><source onerror=alert(1)>", "<a hx-get=/x>"),
    *("<div hx-on:load=alert(1)>", "<div hx-get=/ hx-trigger=load>", "<div data-dialog=x>"),
    *("&lt;script&gt;alert(1)&lt;/script&gt;", "&#60;script&#62;alert(1)", "%3Cscript%3Ealert(1)"),
    *("\u202egnp.exe", "\u2066rtl\u2069", "a\u200bb", "\ufeffx", "]]><script>alert(1)</script>"),
    *("<ScRiPt>alert(1)</sCrIpT>", "<<script>alert(1)//<</script>", "<img/src/onerror=alert(1)>"),
    *("<svg><animate onbegin=alert(1)>", "\\u003cscript\\u003ealert(1)", "<plaintext>", "<xmp>"),
]
"""Texts that would do something if a page showed them as they are."""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A running browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium (Debian's package) to look at pages with")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=[*ARGUMENTS])
        yield browser
        browser.close()


class Window:
    """A page of the browser, and everything that it complained about."""

    def __init__(self, browser: "Browser", **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda each: self.complaints.append(f"{each.type}: {each.text}"))
        self.page.on("pageerror", lambda each: self.complaints.append(str(each)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda each: self.requests.append(each.url))

    def _dialog(self, dialog: "Dialog") -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def look(self) -> None:
        """Has the page ask for changes now, and waits for the answer."""
        with self.page.expect_response(lambda answer: "hx-request" in answer.request.headers):
            self.page.evaluate("htmx.trigger('#poll', 'look')")

    def violations(self) -> list[str]:
        """What axe finds, as rule and element."""
        if not AXE.exists():
            pytest.skip("axe-core is not installed: make servers")
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate(
            "rules => axe.run({runOnly: rules, resultTypes: ['violations']})", RULES
        )
        return [
            f"{rule['id']}: {node['html']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    def close(self) -> None:
        self.context.close()


def press_until(page: "Page", key: str, wanted: str, most: int = 60) -> None:
    """Presses a key until the focus is on an element that matches."""
    for _ in range(most):
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
        page.keyboard.press(key)
    pytest.fail(f"no {wanted} within {most} times {key}")
