"""The dialog for a conflict: both sides, field by field, and the user decides."""

from __future__ import annotations

import tkinter as tk
from collections.abc import Callable
from tkinter import ttk
from typing import Any

from bytelyst_sync import Conflict

Answer = dict[str, Any] | str
WRAP = 190
PAPER, SAND = "#f6f7f9", "#fdecd2"


class ConflictDialog(tk.Toplevel):
    """Shows one conflict; calls ``decide`` with the answer for ``engine.resolve``."""

    def __init__(
        self,
        root: tk.Misc,
        conflict: Conflict,
        fields: dict[str, str],
        decide: Callable[[Conflict, Answer], None],
    ) -> None:
        super().__init__(root, padx=16, pady=14, background=PAPER, relief="solid", borderwidth=1)
        self.title("Two versions of one note")
        self.transient(root.winfo_toplevel())
        self.geometry(f"+{root.winfo_rootx() + 24}+{root.winfo_rooty() + 104}")
        self.conflict = conflict
        self._decide = decide
        self.choices: dict[str, tk.StringVar] = {}
        ttk.Label(self, text="You and somebody else changed this note.", style="Big.TLabel").grid(
            columnspan=4, sticky="w", pady=(0, 10)
        )
        for column, text in enumerate(("", "Before", "Yours", "Theirs")):
            ttk.Label(self, text=text, style="Head.TLabel").grid(
                row=1, column=column, sticky="w", padx=8
            )
        for row, (name, label) in enumerate(fields.items(), 2):
            self._show_field(row, name, label)
        self._show_buttons(len(fields) + 2)
        self.wait_visibility()
        self.grab_set()

    def _show_field(self, row: int, name: str, label: str) -> None:
        sides = (self.conflict.base, self.conflict.local, self.conflict.remote)
        before, here, there = ("(deleted)" if s is None else s.get(name, "") for s in sides)
        ttk.Label(self, text=label, style="Head.TLabel").grid(
            row=row, sticky="nw", padx=(0, 8), pady=4
        )
        was = "" if self.conflict.base is None else before
        ttk.Label(self, text=was, wraplength=WRAP, style="Pale.TLabel").grid(
            row=row, column=1, sticky="nw", padx=8, pady=4
        )
        choice = self.choices[name] = tk.StringVar(
            self, "remote" if here in (before, there) else "local"
        )
        in_conflict = name in self.conflict.fields
        style = "Clash.TRadiobutton" if in_conflict else "TRadiobutton"
        for column, side, text in ((2, "local", here), (3, "remote", there)):
            cell = tk.Frame(self, background=SAND if in_conflict else PAPER)
            cell.grid(row=row, column=column, sticky="nsew", padx=4, pady=2, ipady=2)
            ttk.Radiobutton(cell, variable=choice, value=side, style=style).pack(
                side="left", anchor="n"
            )
            ttk.Label(
                cell, text=text, wraplength=WRAP, background=cell["background"], width=24
            ).pack(side="left", anchor="n", fill="x")

    def _show_buttons(self, row: int) -> None:
        bar = ttk.Frame(self)
        bar.grid(row=row, columnspan=4, sticky="e", pady=(14, 0))
        self.buttons = {
            "Keep all of mine": lambda: self.answer("local"),
            "Keep all of theirs": lambda: self.answer("remote"),
            "Save the choice": lambda: self.answer(self.chosen()),
        }
        for text, command in self.buttons.items():
            button = ttk.Button(bar, text=text, command=command)
            button.pack(side="left", padx=(8, 0))
            if text == "Save the choice" and None in (self.conflict.local, self.conflict.remote):
                button.state(["disabled"])  # one side deleted it: there is nothing to mix

    def chosen(self) -> dict[str, Any]:
        """The record as the user put it together: theirs, with what was taken from here."""
        local, remote = self.conflict.local or {}, self.conflict.remote or {}
        sides = {"local": local, "remote": remote}
        return {**remote, **{n: sides[c.get()].get(n, "") for n, c in self.choices.items()}}

    def answer(self, answer: Answer) -> None:
        """Hand the answer on and close."""
        self.destroy()
        self._decide(self.conflict, answer)
