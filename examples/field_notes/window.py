"""The window: the list of notes, a form, the badge that tells whether there is a network."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Callable
from tkinter import ttk

from conflict import PAPER, SAND, Answer, ConflictDialog
from practice import Practice

from bytelyst_sync import Conflict, SyncEngine, SyncError, SyncItem
from bytelyst_sync.contrib.tk import StatusBadge, TkBridge

NOTES = "notes"
FIELDS = {"title": "Title", "place": "Place", "text": "Text"}
AMBER, RED = "#b35900", "#b42318"


def set_style(root: tk.Misc) -> None:
    """One look on every platform."""
    style = ttk.Style(root)
    style.theme_use("clam")
    style.configure(".", background=PAPER, font=("TkDefaultFont", 10))
    style.configure("Treeview", rowheight=26, background="white", fieldbackground="white")
    style.configure("Big.TLabel", font=("TkDefaultFont", 12, "bold"))
    style.configure("Head.TLabel", font=("TkDefaultFont", 10, "bold"))
    style.configure("Pale.TLabel", foreground="#667085")
    style.configure("Clash.TRadiobutton", background=SAND)
    style.map("Clash.TRadiobutton", background=[("active", SAND)])


class Window:
    """Runs on Tk's thread throughout: the engine is told and asked, never waited for."""

    def __init__(self, root: tk.Tk, engine: SyncEngine, practice: Practice | None = None) -> None:
        self.root, self.engine, self._practice = root, engine, practice
        self.bridge = TkBridge(root, engine)
        self.selected: str | None = None
        self._shown = dict.fromkeys(FIELDS, "")
        self._error = ""
        root.title("Field notes")
        root.configure(background=PAPER, padx=12, pady=10)
        root.minsize(760, 420)
        root.protocol("WM_DELETE_WINDOW", self.close)
        root.bind("<Control-n>", lambda _: self.new())
        root.bind("<Control-s>", lambda _: self.save())
        set_style(root)
        self._make_top()
        self._make_notice()
        self._make_list()
        self._make_form()
        root.rowconfigure(2, weight=1)
        root.columnconfigure(1, weight=1)
        self.bridge.on_any(self.refresh)
        self.refresh()

    # --- what it is made of

    def _make_top(self) -> None:
        bar = ttk.Frame(self.root)
        bar.grid(columnspan=2, sticky="ew", pady=(0, 8))
        ttk.Label(bar, text="Field notes", style="Big.TLabel").pack(side="left")
        self.badge = StatusBadge(bar, self.bridge)
        self.badge.pack(side="right")
        self.sync_button = ttk.Button(bar, text="Sync now", command=self.sync)
        self.sync_button.pack(side="right", padx=8)
        if self._practice is not None:
            self.network = tk.BooleanVar(bar, value=True)
            ttk.Checkbutton(
                bar, text="Network", variable=self.network, command=self._switch_network
            ).pack(side="right", padx=8)
            ttk.Button(bar, text="Somebody edits it", command=self._somebody_edits).pack(
                side="right"
            )

    def _make_notice(self) -> None:
        self.notice = tk.Frame(self.root, background=SAND, padx=10, pady=6)
        self._notice_text = tk.Label(self.notice, background=SAND, anchor="w")
        self._notice_text.pack(side="left", fill="x", expand=True)
        self.decide_button = ttk.Button(self.notice, text="Decide…", command=self.decide_next)
        self.decide_button.pack(side="right")

    def _make_list(self) -> None:
        self.list = ttk.Treeview(self.root, columns=("place", "mark"), selectmode="browse")
        for column, text, width in (
            ("#0", "Note", 230),
            ("place", "Place", 90),
            ("mark", "", 70),
        ):
            self.list.heading(column, text=text, anchor="w")
            self.list.column(column, width=width, stretch=column == "#0")
        self.list.tag_configure("waits", foreground=AMBER)
        self.list.tag_configure("refused", foreground=RED)
        self.list.tag_configure("conflict", foreground=RED)
        self.list.grid(row=2, column=0, sticky="nsew", padx=(0, 12))
        self.list.bind("<<TreeviewSelect>>", lambda _: self._picked())

    def _make_form(self) -> None:
        form = ttk.Frame(self.root)
        form.grid(row=2, column=1, sticky="nsew")
        form.columnconfigure(0, weight=1)
        form.rowconfigure(5, weight=1)
        self.entries: dict[str, tk.Entry | tk.Text] = {
            "title": ttk.Entry(form),
            "place": ttk.Entry(form),
            "text": tk.Text(form, height=6, width=36, wrap="word", font="TkDefaultFont"),
        }
        self.entries["text"].configure(
            relief="flat", highlightthickness=1, highlightbackground="#9e9a91", padx=3, pady=2
        )
        for row, (name, label) in enumerate(FIELDS.items()):
            ttk.Label(form, text=label, style="Head.TLabel").grid(row=2 * row, sticky="w")
            self.entries[name].grid(row=2 * row + 1, sticky="nsew", pady=(2, 8))
        buttons = ttk.Frame(form)
        buttons.grid(row=6, sticky="ew", pady=(4, 0))
        for text, command in (("New", self.new), ("Delete", self.delete), ("Save", self.save)):
            side = "right" if text == "Save" else "left"
            ttk.Button(buttons, text=text, command=command).pack(
                side=side, padx=(0, 0 if side == "right" else 6)
            )
        self.message = ttk.Label(form, foreground=RED, wraplength=330)
        self.message.grid(row=7, sticky="w", pady=(6, 0))

    # --- what the user does

    def new(self) -> None:
        """An empty form; what was typed is saved first."""
        self.save()
        self.list.selection_set(())
        self.selected = None
        self._fill({})
        self.entries["title"].focus_set()

    def save(self) -> None:
        """Push what was changed, and only that; it is saved when `push` returns."""
        changed = {name: text for name, text in self._typed().items() if text != self._shown[name]}
        if not changed:
            return
        if self.selected is None:
            item = self._told(lambda: self.engine.push(NOTES, changed))
            self.selected = item.record_id if item is not None else None
        else:
            data = {"id": self.selected, **changed}
            self._told(lambda: self.engine.push(NOTES, data, "update"))
        if not self._error:
            self._shown = self._typed()
        self.refresh()

    def delete(self) -> None:
        """Delete the note that is shown."""
        if self.selected is not None:
            gone = self.selected
            self._shown = self._typed()
            self._told(lambda: self.engine.delete(NOTES, gone))
            self.new()

    def sync(self) -> None:
        """Deliver and fetch: that waits for the network, so not on this thread."""
        self.sync_button.state(["disabled"])
        self.bridge.run(
            lambda: self.engine.full_sync(timeout=30),
            lambda _: self.sync_button.state(["!disabled"]),
        )

    def decide_next(self) -> None:
        """Show the oldest conflict."""
        conflict = next(self.engine.conflicts(), None)
        if conflict is not None:
            self.dialog = ConflictDialog(self.root, conflict, FIELDS, self._decided)

    def _decided(self, conflict: Conflict, answer: Answer) -> None:
        self._told(lambda: self.engine.resolve(conflict, answer))
        self.refresh()

    def close(self) -> None:
        """Close the window; what waits stays in the store for the next run."""
        self.save()
        self.bridge.close()
        self.root.destroy()

    # --- what it shows

    def refresh(self) -> None:
        """Draw what the engine knows now; the local view answers at once, online or not."""
        marks = {item.record_id: "waits" for item in self.engine.queue()}
        marks |= {item.record_id: "refused" for item in self.engine.failed()}
        marks |= {conflict.record_id: "conflict" for conflict in self.engine.conflicts()}
        notes = {str(note["id"]): note for note in self.engine.records(NOTES)}
        for gone in set(self.list.get_children()) - set(notes):
            self.list.delete(gone)
        for key, note in notes.items():
            look = {
                "text": note.get("title") or "(no title)",
                "values": (note.get("place", ""), marks.get(key, "")),
                "tags": (marks.get(key, ""),),
            }
            if self.list.exists(key):
                self.list.item(key, **look)
            else:
                self.list.insert("", "end", key, **look)
        if self.selected in notes:
            self.list.selection_set(self.selected)
            if self._typed() == self._shown:  # never over what is being typed
                self._fill(notes[self.selected])
        self._show_notice()

    def _show_notice(self) -> None:
        status = self.engine.status
        if status.conflicts:
            notes = "1 note was" if status.conflicts == 1 else f"{status.conflicts} notes were"
            self._notice_text.configure(text=f"{notes} changed by somebody else as well.")
            self.notice.grid(row=1, columnspan=2, sticky="ew", pady=(0, 8))
        else:
            self.notice.grid_remove()

    def _picked(self) -> None:
        chosen = self.list.selection()
        if chosen and chosen[0] != self.selected:
            self.save()
            self.selected = chosen[0]
            self.list.selection_set(chosen)
            self._fill(self.engine.get(NOTES, chosen[0]) or {})

    def _fill(self, note: dict[str, object]) -> None:
        for name, entry in self.entries.items():
            start = "1.0" if isinstance(entry, tk.Text) else 0
            entry.delete(start, "end")
            entry.insert(start, str(note.get(name, "")))
        self._shown = self._typed()

    def _typed(self) -> dict[str, str]:
        return {
            name: entry.get("1.0", "end-1c") if isinstance(entry, tk.Text) else entry.get()
            for name, entry in self.entries.items()
        }

    def _told(self, call: Callable[[], SyncItem | None]) -> SyncItem | None:
        """Make a call of the engine; an error is shown, and nothing is lost."""
        try:
            self._error = ""
            return call()
        except SyncError as error:
            self._error = str(error)
            return None
        finally:
            self.message.configure(text=self._error)

    # --- the practice server

    def _switch_network(self) -> None:
        self._practice.switch(self.network.get())

    def _somebody_edits(self) -> None:
        if self.selected is not None:
            self._practice.somebody_edits(self.selected)
