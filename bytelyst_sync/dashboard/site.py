"""What all pages share: the engine's parts, and the frame around each page."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from functools import cache
from typing import Any

import attrs
import jinja2
from markupsafe import Markup

from bytelyst_sync import __version__
from bytelyst_sync.dashboard import components
from bytelyst_sync.dashboard.access import Actor, FormToken, RefusedError, Right
from bytelyst_sync.dashboard.background import Background
from bytelyst_sync.dashboard.components.text import count_of, moment, plain, value
from bytelyst_sync.dashboard.history import History
from bytelyst_sync.dashboard.holds import Hold, Holds
from bytelyst_sync.dashboard.http import Form, Request, Response
from bytelyst_sync.dashboard.redaction import Redact, hidden
from bytelyst_sync.dashboard.source import Source
from bytelyst_sync.fleet import FleetCommands
from bytelyst_sync.storage.schema import CONFLICTS, ITEMS, OPEN, Lane

__all__ = ["Context", "Site"]

_HTMX = json.dumps(
    {
        "allowEval": False,
        "allowScriptTags": False,
        "historyEnabled": False,
        "includeIndicatorStyles": False,
        "selfRequestsOnly": True,
        "responseHandling": [
            {"code": "[23]04", "swap": False},
            {"code": "2..", "swap": True},
            {"code": "...", "swap": False, "error": True},
        ],
    }
)
"""The strict policy of the pages forbids ``eval`` and inline styles; 304 means: nothing changed."""
_PAGES = (
    ("", "Overview", "layout-dashboard"),
    ("workers", "Workers", "server"),
    ("fleet", "Fleet", "monitor"),
    ("queue", "Queue", "list-todo"),
    ("failed", "Failed", "triangle-alert"),
    ("conflicts", "Conflicts", "git-merge"),
    ("conflicts/settled", "Settled", "history"),
    ("ab-testing", "A/B tests", "beaker"),
    ("doctor", "Doctor", "stethoscope"),
    ("metrics", "Metrics", "chart-line"),
    ("components", "Components", "component"),
)


@cache
def _templates() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("bytelyst_sync.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update({name: getattr(components, name) for name in components.__all__})
    found.globals.update(moment=moment, value=value, plain=plain, count_of=count_of)
    found.globals.update(pairs=lambda names: [(each, each) for each in names])
    return found


@attrs.frozen(kw_only=True)
class Site:
    """The engine, with what the pages need beside it."""

    source: Source
    history: History
    holds: Holds
    background: Background
    redact: Redact
    read_only: bool = False
    fleet_master: bytes | None = attrs.field(default=None, repr=False)
    """The master key of the fleet, with which signatures of heartbeats are checked."""
    fleet_commands: FleetCommands | None = None
    """Where commands for devices of the fleet are stored; ``None``: none are issued here."""
    instance: str = attrs.field(factory=lambda: secrets.token_hex(8))
    """Differs between processes, so that a page is loaded again after a restart."""


@attrs.frozen(kw_only=True)
class Context:
    """One request of an actor."""

    site: Site
    request: Request
    actor: Actor
    form_token: FormToken
    params: Mapping[str, str] = attrs.field(factory=dict)
    """The parts of the path that the route names."""
    token: str = ""
    """A text that changes whenever something on the page changes."""

    @property
    def source(self) -> Source:
        """The engine and its store."""
        return self.site.source

    @property
    def query(self) -> Form:
        """The query of the address."""
        return self.request.query

    @property
    def form(self) -> Form:
        """The form that was sent."""
        return self.request.form

    def may(self, right: Right) -> bool:
        """Whether the actor has this right here; nobody has ``operate`` on a read-only site."""
        reads = right in ("view", "payload")
        return self.actor.may(right) and (reads or not self.site.read_only)

    def require(self, right: Right) -> None:
        """``RefusedError`` for an actor without this right."""
        if not self.may(right):
            why = "these pages are read-only" if self.site.read_only else f"no right to {right}"
            raise RefusedError(f"{self.actor.name}: {why}")

    @property
    def shows_payload(self) -> bool:
        """Whether the request asks for payloads and the actor may see them."""
        return self.query.get("payload") == "1" and self.may("payload")

    def shown(self, entity: str, data: Any) -> Any:
        """A record as this page may show it."""
        if not isinstance(data, dict):
            return data
        redacted = self.site.redact(entity, data)
        return redacted if self.shows_payload else hidden(redacted)

    def page(
        self,
        template: str,
        title: str,
        *,
        status: int = 200,
        live: bool = False,
        current: str | None = None,
        **values: Any,
    ) -> Response:
        """A page in its frame; a ``live`` one asks for changes every two seconds.

        ``current`` names the entry of the navigation that it belongs to, if not its own.
        """
        request = self.request
        holds = self.site.holds.pending()
        text = _templates().get_template(template).render(
            context=self,
            request=request,
            title=title,
            live=live,
            token=self.token,
            htmx_config=_HTMX,
            version=__version__,
            sidebar=components.Sidebar(self._links(current)),
            toasts=[*self._done(), *map(self._held, holds)],
            form_token=Markup('<input type="hidden" name="{}" value="{}">').format(
                self.form_token.name, self.form_token.value
            ),
            **values,
        )  # fmt: skip
        cookie = self.form_token.cookie
        return Response(
            status=status,
            body=text.encode("utf-8"),
            headers=(() if cookie is None else (("Set-Cookie", cookie),))
            + ((("ETag", f'"{self.token}"'),) if live else ()),
        )

    def _links(self, current: str | None) -> list[components.NavLink]:
        counts = self._counts()
        here = self.request.path.strip("/")
        current = here if current is None else current
        return [
            components.NavLink(
                text, self.request.url(name), icon, name == current, *counts.get(name, (0,))
            )
            for name, text, icon in _PAGES
        ]

    def _counts(self) -> dict[str, tuple[int, Any]]:
        counts, conflicts = self.source.read(
            lambda tx: (tx.counts(ITEMS), tx.count(CONFLICTS, OPEN))
        )
        failed = sum(number for (lane, _), number in counts.items() if lane == Lane.FAILED)
        aside = (Lane.FAILED, Lane.PARKED)
        queued = sum(number for (lane, _), number in counts.items() if lane not in aside)
        return {
            "queue": (queued, "neutral"),
            "failed": (failed, "bad"),
            "conflicts": (conflicts, "conflict"),
        }

    # --- messages

    def _done(self) -> list[Markup]:
        """The result of the form that led to this page, from the page's URL."""
        done = _DONE.get(self.query.get("done"))
        if done is None:
            return []
        number, skipped = self.query.number("n") or 0, self.query.number("skipped") or 0
        text = done.format(changes=count_of(number, "change"))
        if skipped:
            text += (
                f" {count_of(skipped, 'change')} left alone: no longer as this page showed"
                f" {'it' if skipped == 1 else 'them'}."
            )
        tone: Any = "good" if number or not skipped else "warn"
        away = self.request.here("done", "n", "skipped")
        return [components.Toast("toast-done", text, tone=tone, dismiss_url=away)]

    def _held(self, hold: Hold) -> Markup:
        form = Markup(
            '<form method="post" action="{}">{}<button class="bs-button" type="submit">{} Undo'
            "</button></form>"
        ).format(
            self.request.url(f"held/{hold.id}/undo"),
            Markup('<input type="hidden" name="{}" value="{}">').format(
                self.form_token.name, self.form_token.value
            ),
            components.icon("undo-2"),
        )
        text = f"{count_of(len(hold.seen), 'failed change')} will be discarded in a few seconds."
        return components.Toast(
            f"hold-{hold.id}", text, tone="warn", action=form if self.may("operate") else Markup("")
        )


_DONE = {
    "retried": "{changes} queued again.",
    "undone": "Undone: nothing was discarded.",
    "too-late": "Too late to undo: the changes are discarded.",
    "cancelled": "The change was taken back.",
    "not-cancelled": "The change was not taken back: it is being sent, or others depend on it.",
    "resolved": "The conflict is settled.",
    "recovered": "The record is queued again as it was on that side.",
    "experiment": "The experiment's definition is changed.",
    "not-changed": "Nothing was changed: the experiment is no longer as this page showed it.",
    "commanded": "The command is issued. The device carries it out after its next pull.",
    "none": "Nothing was selected.",
}
"""Messages by their short names in addresses."""
