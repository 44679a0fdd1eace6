"""Changes to a library's classes that can all be taken back, and the base of the instrumentors that make them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor


class Patches:
    """The changes that are in force; `undo` takes them back, the last one first."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

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

    def on_undo(self, action: Callable[[], object]) -> None:
        """Remember what else has to be done."""
        self._undo.append(action)

    def undo(self) -> None:
        """Take everything back."""
        while self._undo:
            self._undo.pop()()


class PatchingInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """An instrumentor that changes a library through `Patches`, which `uninstrument()` takes back.

    A subclass says which `dependencies` it traces, as in requirements.txt, and what it changes, in `patch`.
    """

    dependencies: Collection[str] = ()

    @abstractmethod
    def patch(self, patches: Patches, **kwargs: Any) -> None:
        """Change the library; `kwargs` are those of `instrument()`."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return the libraries that have to be there."""
        return self.dependencies

    def _instrument(self, **kwargs: Any) -> None:
        self._patches = Patches()
        self.patch(self._patches, **kwargs)

    def _uninstrument(self, **_: Any) -> None:
        self._patches.undo()
