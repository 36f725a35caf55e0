"""Act 1: a technician works out of coverage, and both ends are killed while it is made up for."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path

from processes import Client, Event, Server
from terminal import Screen
from verdict import Acknowledged, differences
from work_orders import ORDERS, TIMES, plan

from bytelyst_sync.testing import SyncServer

TITLE = "a day out of coverage, and both ends killed on the way back"
CLIENT_DIES_AT = 0.30
SERVER_DIES_AT = 0.65


def play(screen: Screen, folder: Path) -> list[str]:
    """Play the act; return what differs in the end."""
    with ExitStack() as cleanup:
        act = _Act(screen, folder, cleanup)
        act.at_the_depot()
        act.out_of_coverage()
        act.back_and_killed()
        act.started_again()
        act.closed()
    return act.compared()


class _Act:
    """The scenes, in the order in which they are played."""

    def __init__(self, screen: Screen, folder: Path, cleanup: ExitStack) -> None:
        self._screen = screen
        self._folder = folder
        self._cleanup = cleanup
        self._day = plan()
        self._server = Server(folder, latency_ms=8)
        cleanup.callback(self._server.close)
        self._client = self._start_client()
        self._events: list[Event] = []
        self._to_deliver = 0

    def at_the_depot(self) -> None:
        """Work orders are written where there is a network."""
        self._server.up()
        self._screen.step(f"a server on {self._server.url} and a client, two processes")
        morning = self._day.morning
        self._client.tell(f"deliver {morning.start} {morning.stop}")
        event = self._client.expect_event("delivered")
        self._screen.step(f"at the depot: {len(morning)} work orders, {event['left']} undelivered")

    def out_of_coverage(self) -> None:
        """Everything goes on working without a server."""
        self._server.down()
        self._screen.step("out of coverage: the server is gone")
        offline = self._day.offline
        self._client.tell(f"push {offline.start} {offline.stop}")
        event = self._client.expect_event("pushed")
        self._to_deliver = event["queued"] + len(self._day.afternoon)
        took = self._push_times()
        self._screen.step(
            f"{len(offline)} changes pushed, each saved in {statistics.median(took):.1f} ms "
            f"({max(took):.1f} at most); {event['queued']} to send, the rest merged"
        )
        self._client.tell("view")
        seen = self._client.expect_event("view")
        self._screen.step(
            f"read offline: {seen['orders']} work orders, {seen['done']} of them done, "
            f"{seen['times']} time entries"
        )

    def back_and_killed(self) -> None:
        """Delivery begins, and the client dies in the middle of it."""
        self._server.up()
        self._screen.step("back in coverage: delivery begins, and more is pushed meanwhile")
        afternoon = self._day.afternoon
        self._client.tell(f"deliver {afternoon.start} {afternoon.stop}")
        self._expect_delivered(CLIENT_DIES_AT)
        self._client.close()
        self._events = self._client.events()
        self._screen.step(f"the client is killed, with {self._left()} changes to go")

    def started_again(self) -> None:
        """The program is started again; this time the server dies."""
        self._client = self._start_client()
        ready = self._client.expect_event("ready")
        self._screen.step(f"the client is started again and finds {ready['queued']} in its queue")
        acknowledged = sum(event["event"] == "ack" for event in self._events)
        self._client.tell(f"resume {acknowledged} {self._day.afternoon.stop}")
        self._expect_delivered(SERVER_DIES_AT)
        self._server.down()
        self._screen.step("the server is killed")
        self._client.expect_event("status", where=lambda event: not event["online"])
        self._screen.step("the client has noticed, and waits")
        self._server.up()
        self._screen.step("the server is started again")
        if not self._client.said("delivered"):  # it may have been done before the server died
            self._client.expect_event("delivered", meanwhile=self._show_progress)

    def closed(self) -> None:
        """Both end."""
        self._client.end()
        self._server.down()
        self._events += self._client.events()
        self._screen.step("all delivered; client and server are stopped, now the books")

    def compared(self) -> list[str]:
        """Compare what the client was told is saved with what the server has applied."""
        server = SyncServer(state=self._server.state)  # not started: it only reads its file
        journal = server.journal
        records = {name: server.records(name) for name in (ORDERS, TIMES)}
        acknowledged = [
            Acknowledged(self._day.changes[event["rev"]], event["key"])
            for event in self._events
            if event["event"] == "ack"
        ]
        found = [
            f"change {change.rev} was never acknowledged"
            for change in self._day.changes[len(acknowledged) :]
        ]
        found += [
            f"{event['entity']}/{event['record_id']}: failed, {event['error']}"
            for event in self._events
            if event["event"] == "failure"
        ]
        found += differences(acknowledged, journal, records)
        keys = {effect.key for effect in journal}
        self._screen.table(
            [
                ("pushes acknowledged", len(acknowledged)),
                ("  of them while there was no server", len(self._day.offline)),
                ("  slowest of those, in ms", f"{max(self._push_times()):.1f}"),
                ("merged or cancelled before they were sent", len(acknowledged) - len(keys)),
                ("changes the server applied", len(journal)),
                ("  of them twice", len(journal) - len(keys)),
                ("kills survived by the client, by the server", "1, 2"),
                ("records on the server in the end", sum(map(len, records.values()))),
                ("differences", len(found)),
            ]
        )
        return found

    def _start_client(self) -> Client:
        client = Client(self._folder, self._server.url)
        self._cleanup.callback(client.close)
        return client

    def _expect_delivered(self, share: float) -> None:
        """Wait until this share is delivered."""
        self._client.expect_event(
            "left",
            where=lambda event: event["left"] <= (1 - share) * self._to_deliver,
            meanwhile=self._show_progress,
        )

    def _show_progress(self, event: Event) -> None:
        if event["event"] == "left":
            self._screen.bar("delivering", self._to_deliver - event["left"], self._to_deliver)

    def _left(self) -> int:
        lefts = [event["left"] for event in self._events if event["event"] == "left"]
        return int(lefts[-1])

    def _push_times(self) -> list[float]:
        return [
            event["ms"]
            for event in [*self._events, *self._client.events()]
            if event["event"] == "ack" and event["rev"] in self._day.offline
        ]
