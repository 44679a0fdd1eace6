"""The base of the instrumentors that change a library."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel_kfs.telemetry.patches import Patches


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
