"""The types of records, and of what brings them: confluent_kafka's own, and whatever looks like them."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    # As confluent_kafka's serialising clients have them: what is left out is Any.
    from typing_extensions import TypeVar

    K = TypeVar("K", default=Any)
    V = TypeVar("V", default=Any)
else:
    from typing import TypeVar

    K = TypeVar("K")
    V = TypeVar("V")


class Record(Protocol):
    """What `process` asks of a record; a `confluent_kafka.Message` is one."""

    def topic(self) -> str | None: ...  # noqa: D102
    def partition(self) -> int | None: ...  # noqa: D102
    def offset(self) -> int | None: ...  # noqa: D102
    def key(self) -> Any: ...  # noqa: D102
    def value(self) -> Any: ...  # noqa: D102
    def headers(self) -> Any: ...  # noqa: D102
    def error(self) -> Any: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102


M = TypeVar("M", bound=Record)
M_co = TypeVar("M_co", bound=Record, covariant=True)


class Polled(Protocol[M_co]):
    """A consumer."""

    def poll(self, timeout: float = ..., /) -> M_co | None: ...  # noqa: D102


class PolledMany(Protocol[M_co]):
    """A share consumer."""

    def poll(self, timeout: float = ..., /) -> Iterable[M_co]: ...  # noqa: D102


class PolledAsync(Protocol[M_co]):
    """An asyncio consumer."""

    def poll(self, timeout: float = ..., /) -> Awaitable[M_co | None]: ...  # noqa: D102
