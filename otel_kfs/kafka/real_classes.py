"""confluent_kafka's own classes, whatever another instrumentation has put in their place, and what they refuse."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import confluent_kafka.aio

__all__ = [
    "AIOConsumer",
    "AIOProducer",
    "Consumer",
    "DeserializingConsumer",
    "DeserializingShareConsumer",
    "Producer",
    "SerializingProducer",
    "ShareConsumer",
    "refused_by",
]

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from confluent_kafka import (
        Consumer,
        DeserializingConsumer,
        DeserializingShareConsumer,
        Producer,
        SerializingProducer,
        ShareConsumer,
    )
    from confluent_kafka.aio import AIOConsumer, AIOProducer
else:

    def _real(cls: type[Any]) -> type[Any]:
        """Return the library's class among those that one derives from: a subclass may stand under its name."""
        return next(base for base in cls.__mro__ if base.__module__.partition(".")[0] in {"cimpl", "confluent_kafka"})

    Producer, Consumer = _real(confluent_kafka.Producer), _real(confluent_kafka.Consumer)
    SerializingProducer = _real(confluent_kafka.SerializingProducer)
    DeserializingConsumer = _real(confluent_kafka.DeserializingConsumer)
    ShareConsumer = _real(confluent_kafka.ShareConsumer)
    DeserializingShareConsumer = _real(confluent_kafka.DeserializingShareConsumer)
    AIOProducer, AIOConsumer = _real(confluent_kafka.aio.AIOProducer), _real(confluent_kafka.aio.AIOConsumer)


def refused_by(real: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let the method of the real class refuse what a traced one can't be called with, in its own words.

    As there, `on_delivery` counts only where `callback` is not given, not even as None.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(method).parameters.values())[1:]
        names = [parameter.name for parameter in parameters]
        required = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
        alias = names.index("on_delivery") if "on_delivery" in names else len(names)

        @functools.lru_cache(1000)
        def look(by_place: int, *by_name: str) -> tuple[bool, bool]:
            """Return whether such a call fits, and whether it gives an `on_delivery` that does not count."""
            fits = by_place <= len(names) and required - {*names[:by_place]} <= {*by_name} <= {*names[by_place:]}
            given = by_place > alias or "on_delivery" in by_name
            return fits, given and (by_place >= alias or "callback" in by_name)

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            by_place = len(args)
            if kwargs or not len(required) <= by_place <= alias:  # else it fits: asking would cost as much as the call
                fits, is_idle = look(by_place, *kwargs)
                if not fits:
                    return real(self, *args, **kwargs)
                if is_idle:
                    args = (*args[:alias], None, *args[alias + 1 :]) if by_place > alias else args
                    kwargs.pop("on_delivery", None)
            return method(self, *args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
