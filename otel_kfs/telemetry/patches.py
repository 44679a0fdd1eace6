"""Changes to a library's classes that can all be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Patches:
    """The changes that are in force; `undo` takes them back, the last one first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    @property
    def active(self) -> bool:
        """Whether there is anything to undo."""
        return bool(self._undo)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of a class, a module or an object."""
        if name in vars(owner):
            before = vars(owner)[name]
            self.on_undo(lambda: setattr(owner, name, before))
        else:
            self.on_undo(lambda: delattr(owner, name))
        setattr(owner, name, value)

    def on_undo(self, action: Callable[[], None]) -> None:
        """Remember what else has to be done."""
        self._undo.append(action)

    def undo(self) -> None:
        """Take everything back."""
        while self._undo:
            self._undo.pop()()
