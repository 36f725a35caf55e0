# ruff: noqa: INP001  a script
"""Draws the diagrams of the documentation: ``python docs/diagrams.py`` writes docs/_static/*.svg.

Each picture has a ground of its own and two sets of colours: it follows the page's colour scheme.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

FOLDER = Path(__file__).parent / "_static"
INK, PALE, LINE = "#1f2933", "#5b6672", "#7b8794"
FILLS = {
    "plain": ("#ffffff", LINE),
    "here": ("#e3f0ff", "#3b7dd8"),
    "good": ("#e2f5e6", "#2f855a"),
    "wait": ("#fff3d6", "#b7791f"),
    "bad": ("#fde4e1", "#c0392b"),
    "there": ("#efe9fb", "#7250c4"),
}
DARK = {
    INK: "#e6edf3",
    PALE: "#a3adb8",
    LINE: "#8b97a3",
    "#ffffff": "#262c33",
    "#f8fafc": "#171b20",
    "#cbd5e0": "#3a424b",
    "#e3f0ff": "#14304f",
    "#3b7dd8": "#5c9ded",
    "#e2f5e6": "#143524",
    "#2f855a": "#4bb27f",
    "#fff3d6": "#3d2f0d",
    "#b7791f": "#d9a03f",
    "#fde4e1": "#44201c",
    "#c0392b": "#e8695c",
    "#efe9fb": "#2b2247",
    "#7250c4": "#a58be8",
}
"""The colours on a dark page."""
LINE_HEIGHT = 17

Point = tuple[float, float]


def dark_style() -> str:
    """Rules that replace the light colours where the page is dark."""
    rules = [
        f'[{name}="{light}"]{{{name}:{dark}}}'
        for light, dark in DARK.items()
        for name in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"


class Picture:
    """Boxes, arrows and words."""

    def __init__(self, width: int, height: int, title: str) -> None:
        font = "system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"
        name = escape(title)
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
            f'font-family="{font}" font-size="13.5" role="img" aria-label="{name}">',
            f"<title>{name}</title>",
            dark_style(),
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"',
            'markerHeight="7" orient="auto-start-reverse">',
            f'<path d="M0 0L10 5L0 10z" fill="{LINE}"/></marker></defs>',
            f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12"',
            'fill="#f8fafc" stroke="#cbd5e0"/>',
        ]

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        text: str,
        kind: str = "plain",
        *,
        small: bool = False,
    ) -> None:
        """A box with centred lines; the first one is bold if there are more."""
        fill, stroke = FILLS[kind]
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{fill}" '
            f'stroke="{stroke}" stroke-width="1.5"/>'
        )
        lines = text.split("\n")
        pitch = 14 if small else LINE_HEIGHT
        top = y + h / 2 - (len(lines) - 1) * pitch / 2 + 4.5
        for number, line in enumerate(lines):
            bold = not number and len(lines) > 1
            self.word(
                x + w / 2, top + number * pitch, line, bold=bold, small=small, anchor="middle"
            )

    def frame(self, x: float, y: float, w: float, h: float, text: str) -> None:
        """A dashed frame with its name at the top left."""
        self._parts.append(
            f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="10" fill="none" '
            f'stroke="{LINE}" stroke-dasharray="5 4"/>'
        )
        self.word(x + 12, y + 20, text, pale=True)

    def word(
        self,
        x: float,
        y: float,
        text: str,
        *,
        bold: bool = False,
        pale: bool = False,
        small: bool = False,
        anchor: str = "start",
    ) -> None:
        """One line of text."""
        weight = ' font-weight="600"' if bold else ""
        size = ' font-size="11"' if small else ' font-size="12.5"' if pale else ""
        self._parts.append(
            f'<text x="{x}" y="{y}" fill="{PALE if pale else INK}" text-anchor="{anchor}"{weight}'
            f"{size}>{escape(text)}</text>"
        )

    def arrow(self, *points: Point, tips: str = "end") -> None:
        """A line along these points, with a tip at its ``end``, at ``both`` ends, or ``none``."""
        path = "M" + " L".join(f"{x} {y}" for x, y in points)
        start = ' marker-start="url(#tip)"' if tips == "both" else ""
        end = "" if tips == "none" else ' marker-end="url(#tip)"'
        self._parts.append(
            f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6"{start}{end}/>'
        )

    def text(self) -> str:
        """The file."""
        return "\n".join([*self._parts, "</svg>", ""])


def push() -> Picture:
    """The way of a push."""
    it = Picture(900, 372, "The way of a push: saved first, delivered by a thread")
    it.word(20, 34, "your thread, some milliseconds", pale=True)
    it.box(20, 46, 150, 58, "push()\nyour data", "here")
    it.box(220, 46, 190, 58, "checked and copied\nmerged with what waits", "plain")
    it.box(460, 46, 190, 58, "one commit\nto the file app.db", "good")
    it.box(700, 46, 180, 58, "push() returns\nthe change is saved", "here")
    for x in (170, 410, 650):
        it.arrow((x, 75), (x + 50, 75))
    it.arrow((555, 104), (555, 152), (115, 152), (115, 176))
    it.word(440, 145, "wakes", pale=True)
    it.word(130, 170, "the worker's thread, now or when the network is back", pale=True)
    it.box(20, 178, 190, 58, "claimed and frozen\none commit, before a byte", "plain")
    it.box(260, 178, 220, 58, "request\nthe same key at every try", "plain")
    it.box(530, 178, 130, 58, "your API", "there")
    it.arrow((210, 207), (260, 207))
    it.arrow((480, 207), (530, 207))
    it.arrow((595, 236), (595, 272))
    it.word(20, 264, "what the answer means", pale=True)
    outcomes = (
        ("2xx\ndelivered", "good"),
        ("no connection\noffline: it waits", "wait"),
        ("lost answer, 5xx\nagain, same key", "wait"),
        ("409, 412\nconflict: decided", "there"),
        ("other 4xx\nfailed: kept, listed", "bad"),
    )
    for number, (text, kind) in enumerate(outcomes):
        it.box(20 + number * 174, 290, 164, 58, text, kind)
        it.arrow((102 + number * 174, 272), (102 + number * 174, 290))
    it.arrow((102, 272), (798, 272), tips="none")
    return it


def item_states() -> Picture:
    """The states of an item."""
    it = Picture(900, 400, "The states of an item")
    it.word(20, 40, "push()", bold=True)
    it.arrow((78, 36), (150, 36), (150, 150))
    it.box(70, 150, 160, 64, "pending\nsaved, waits", "here")
    it.box(390, 150, 160, 64, "sending\nfrozen", "wait")
    it.box(720, 40, 160, 56, "delivered", "good")
    it.box(720, 154, 160, 56, "conflict\nparked", "there")
    it.box(720, 270, 160, 56, "failed\nkept, listed", "bad")
    it.box(70, 300, 160, 56, "cancelled", "plain")
    it.arrow((230, 168), (390, 168))
    it.word(310, 160, "its turn", pale=True, anchor="middle")
    it.arrow((390, 198), (230, 198))
    it.word(310, 216, "no proof, or offline:", pale=True, anchor="middle")
    it.word(310, 232, "again later", pale=True, anchor="middle")
    it.arrow((470, 150), (470, 68), (720, 68))
    it.word(540, 60, "2xx, or it is there already", pale=True)
    it.arrow((550, 182), (720, 182))
    it.word(562, 174, "409, 412, manual", pale=True)
    it.arrow((510, 214), (510, 286), (720, 286))
    it.word(522, 278, "refused, or retries spent", pale=True)
    it.arrow((150, 214), (150, 300))
    it.word(160, 262, "cancel(), or create + delete", pale=True)
    it.arrow((800, 154), (800, 118), (110, 118), (110, 150))
    it.word(180, 110, "resolve()", pale=True)
    it.arrow((800, 326), (800, 376), (30, 376), (30, 182), (70, 182))
    it.word(260, 368, "reprocess_failed(), or a push that repairs it", pale=True)
    return it


def conflict() -> Picture:
    """A conflict's decision."""
    it = Picture(900, 420, "How a conflict is decided")
    it.box(20, 24, 250, 58, "a push is answered 409, 412\nor the record is gone", "there")
    it.box(20, 96, 250, 58, "a pull brings a change\nwhile edits of it wait", "there")
    it.box(330, 56, 220, 64, "are both sides equal?\n(the server's own fields aside)", "plain")
    it.box(650, 56, 230, 64, "no conflict\nthe version is taken over", "good")
    it.arrow((270, 53), (300, 53), (300, 82), (330, 82))
    it.arrow((270, 125), (300, 125), (300, 94), (330, 94))
    it.arrow((550, 88), (650, 88))
    it.word(600, 80, "yes", pale=True, anchor="middle")
    it.arrow((440, 120), (440, 172))
    it.word(450, 146, "no: the entity's strategy", pale=True)
    strategies = (
        ("server-wins\ntheirs", "plain"),
        ("client-wins\nyours, sent again", "plain"),
        ("last-write-wins\nthe later one", "plain"),
        ("merge\nfield by field", "plain"),
        ("manual\non_conflict, or you", "wait"),
    )
    for number, (text, kind) in enumerate(strategies):
        x = 20 + number * 174
        it.box(x, 192, 164, 58, text, kind)
        it.arrow((x + 82, 172), (x + 82, 192))
        if number < 4:
            it.arrow((x + 82, 250), (x + 82, 330))
    it.arrow((102, 172), (798, 172), tips="none")
    it.box(716, 270, 164, 44, "parked until resolve()", "wait")
    it.arrow((798, 250), (798, 270))
    it.arrow((798, 314), (798, 330))
    it.box(
        20,
        330,
        860,
        62,
        "settled\nwhat is still to be sent goes out on the server's version, under a new key; "
        "the side that lost is kept for 30 days",
        "good",
    )
    return it


def threads() -> Picture:
    """Threads and processes."""
    it = Picture(900, 408, "Threads and processes around one store")
    it.frame(20, 20, 400, 210, "process A")
    it.box(40, 52, 170, 52, "your threads\npush, get, flush, …", "here")
    it.box(40, 118, 170, 46, "callbacks' thread\none at a time", "plain")
    it.box(40, 174, 170, 40, "on_conflict's thread", "plain")
    it.box(250, 52, 150, 62, "worker\nclaims, sends, settles", "good")
    it.box(224, 160, 104, 54, "pulls\nown thread", "good")
    it.arrow((210, 78), (250, 78))
    it.arrow((290, 114), (290, 141), (210, 141))
    it.word(240, 134, "tells", pale=True)
    it.frame(480, 20, 400, 210, "process B, the same program or another")
    it.box(500, 52, 170, 52, "your threads\npush, get, flush, …", "here")
    it.box(500, 118, 170, 46, "callbacks' thread\none at a time", "plain")
    it.box(710, 52, 150, 62, "worker\nwaits for its turn", "wait")
    it.arrow((670, 78), (710, 78))
    it.box(60, 290, 370, 62, "app.db\nthe queue, the local view, the conflicts", "here")
    it.box(620, 290, 260, 62, "your API", "there")
    it.arrow((125, 230), (125, 290))
    it.word(135, 264, "commit", pale=True)
    it.arrow((340, 114), (340, 290), tips="both")
    it.word(350, 252, "holds", pale=True)
    it.word(350, 268, "app.db.deliver", pale=True)
    it.arrow((560, 230), (560, 321), (430, 321))
    it.word(478, 313, "commit", pale=True)
    it.arrow((400, 70), (450, 70), (450, 246), (750, 246), (750, 290))
    it.word(760, 272, "requests", pale=True)
    it.word(
        62,
        384,
        "One process delivers at a time; when it ends, the next one takes over.",
    )
    return it


def rooms() -> Picture:
    """The folders of the package, and the way of a push and of a delivery through them."""
    it = Picture(900, 520, "The folders of the package; a module imports only from below")
    it.word(20, 32, "faces: what programs and people call", pale=True)
    it.box(20, 42, 420, 46, "engine.py, aio.py, blocking_calls.py, engine_core.py", "here")
    it.box(
        460,
        42,
        420,
        46,
        "cli/, dashboard/, inspection/, testing/,\ncontrib/, experiments/, fleet/",
        "here",
    )
    it.box(
        20, 104, 860, 40, "runtime.py: creates all parts of an engine and connects them", "plain"
    )
    stages = (
        ("agent/\nheartbeats, commands", "good"),
        ("delivery/\nworker, dispatcher", "good"),
        ("pull/\npuller, scheduler", "good"),
        ("events/\nstatus, callbacks", "good"),
    )
    for number, (text, kind) in enumerate(stages):
        it.box(20 + number * 220, 160, 200, 54, text, kind)
    it.box(20, 230, 420, 54, "queue/\nrules of the outbox, in a transaction", "wait")
    it.box(460, 230, 420, 54, "replica/\nlocal view, conflicts, remote changes", "wait")
    it.box(20, 300, 860, 54, "state/\none unit of work: transaction, effects, time", "wait")
    it.box(20, 370, 275, 54, "storage/\ntables; SQLite, memory, encrypted", "plain")
    it.box(312, 370, 275, 54, "protocol/\nrequests, responses, pages", "there")
    it.box(605, 370, 275, 54, "http/\ntransport, sessions, redirects", "there")
    it.box(20, 440, 420, 54, "rules/\npure functions: classify, coalesce, merge, backoff", "plain")
    it.box(460, 440, 420, 54, "config/, model.py, errors.py, clock.py\nvalues", "plain")
    return it


Step = tuple[str, str]
"""The column of a step, and two lines: the call and what it does."""

PUSH_COLUMNS = ("engine", "queue, rules", "state", "storage", "events", "delivery")
PUSH_WAY: tuple[Step, ...] = (
    ("engine", "SyncEngine.push\nchecks key and expiry"),
    ("queue, rules", "PushRequest.of\nchecks, copies, encodes"),
    ("engine", "EngineCore.push\nor keeps it: transaction()"),
    ("state", "StateStore.write\none unit of work"),
    ("storage", "ClosableStorage\nopen, same account?"),
    ("storage", "GroupCommit.submit\none leads for all"),
    ("queue, rules", "Outbox.push\nthe rule"),
    ("queue, rules", "Merging.merge\nif the record waits"),
    ("storage", "COMMIT\nsynced: durable now"),
    ("events", "committed\ncounts, callbacks"),
    ("delivery", "wake_after_push\nunless blocked"),
)
DELIVERY_COLUMNS = ("delivery", "queue", "storage", "protocol, rules", "http", "events")
DELIVERY_WAY: tuple[Step, ...] = (
    ("delivery", "Dispatcher.acquire\nthe right to deliver"),
    ("delivery", "settle_and_claim\none transaction"),
    ("queue", "Claims.claim\nthe next items"),
    ("storage", "COMMIT\nthe items are frozen"),
    ("delivery", "SenderPool.submit\npacks requests"),
    ("delivery", "Sender.send\none attempt"),
    ("protocol, rules", "EntityCodec.write\nthe request"),
    ("delivery", "Credentials.sign\nadds the token"),
    ("http", "follow, send\nbounded in time and size"),
    ("protocol, rules", "EntityCodec.answer\nclassify: the verdict"),
    ("delivery", "SenderPool.collect\nback in the worker"),
    ("delivery", "settle_and_claim\nthe next transaction"),
    ("queue", "Settlement.settle_all\nthe row of each verdict"),
    ("storage", "COMMIT\nout of the queue"),
    ("events", "committed\ncounts, callbacks"),
)


def way(title: str, columns: tuple[str, ...], steps: tuple[Step, ...]) -> Picture:
    """Calls from top to bottom, each in the column of its room."""
    pitch, width, height = 152, 142, 40
    it = Picture(18 + pitch * len(columns), 48 + 52 * len(steps), title)
    kinds = ("here", "wait", "plain", "good", "there", "plain")
    for number, column in enumerate(columns):
        it.word(14 + number * pitch + width / 2, 28, column, pale=True, anchor="middle")
    before: Point | None = None
    for number, (column, text) in enumerate(steps):
        place = columns.index(column)
        x, y = 14 + place * pitch, 42 + 52 * number
        it.box(x, y, width, height, text, kinds[place], small=True)
        here = (x + width / 2, float(y))
        if before is not None and before[0] == here[0]:
            it.arrow(before, here)
        elif before is not None:
            middle = y - (52 - height) / 2
            it.arrow(before, (before[0], middle), (here[0], middle), here)
        before = (here[0], y + float(height))
    return it


def way_of_a_push() -> Picture:
    """The calls of one push."""
    return way("One push, call by call", PUSH_COLUMNS, PUSH_WAY)


def way_of_a_delivery() -> Picture:
    """The calls of one delivery."""
    return way("One delivery, call by call", DELIVERY_COLUMNS, DELIVERY_WAY)


PICTURES = {
    "way-of-a-push": way_of_a_push,
    "way-of-a-delivery": way_of_a_delivery,
    "rooms": rooms,
    "push": push,
    "item-states": item_states,
    "conflict-decision": conflict,
    "threads": threads,
}


def main() -> None:
    """Write them all."""
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw().text(), "utf-8")


if __name__ == "__main__":
    main()
