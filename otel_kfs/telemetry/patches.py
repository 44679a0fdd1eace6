"""Changes to a library's classes that can all be taken back."""

from __future__ import annotations

from collections.abc import Callable
from inspect import BoundArguments, signature
from typing import Any

import wrapt

# Called with the function, what it is bound to, its positional and its keyword arguments.
Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

_ABSENT = object()


class Patches:
    """The changes that are in force; `undo` takes them back, the last one first.

    What somebody else has put in the place of a change since stays; a wrapper below it does nothing any more.
    """

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    @property
    def active(self) -> bool:
        """Whether there is anything to undo."""
        return bool(self._undo)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of a class, a module or an object."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)

        def undo() -> None:
            if vars(owner).get(name) is not value:
                return
            if before is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

        self.on_undo(undo)

    def wrap(self, owner: Any, name: str, wrapper: Wrapper) -> None:
        """Put a wrapper around a function of a class, a module or an object; the function keeps its signature."""
        in_force = True

        def disable() -> None:
            nonlocal in_force
            in_force = False

        original = vars(owner).get(name) or getattr(owner, name)
        self.on_undo(disable)
        self.set(owner, name, wrapt.FunctionWrapper(original, wrapper, enabled=lambda: in_force))

    def on_undo(self, action: Callable[[], object]) -> None:
        """Remember what else has to be done."""
        self._undo.append(action)

    def undo(self) -> None:
        """Take everything back."""
        while self._undo:
            self._undo.pop()()


def bound_arguments(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> BoundArguments:
    """Return the arguments of a call by their names; where the function takes no such call, raise what it raises."""
    try:
        return signature(function).bind(*args, **kwargs)
    except TypeError:
        function(*args, **kwargs)
        raise
