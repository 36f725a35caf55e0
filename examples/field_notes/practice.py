"""A server to practise with: in this process, with a network that can be switched off."""

from __future__ import annotations

from bytelyst_sync.testing import SyncServer

FIRST = [
    {"id": "1", "title": "Bridge 14, north pier", "place": "Lauterach", "text": "Crack, 2 mm."},
    {"id": "2", "title": "Culvert under the B9", "place": "Hard", "text": "Half full of gravel."},
]


class Practice(SyncServer):
    """A server with two notes, and somebody else who edits them."""

    def __init__(self) -> None:
        super().__init__()
        for note in FIRST:
            self.put("notes", note)

    def switch(self, on: bool) -> None:
        """Have a network, or none."""
        if on:
            self.start()
        else:
            self.stop()

    def somebody_edits(self, record_id: str) -> None:
        """Somebody else changes the text of this note, at the server."""
        if record_id in self.records("notes"):
            self.patch("notes", record_id, {"text": "Seen by somebody else, who was there before."})
