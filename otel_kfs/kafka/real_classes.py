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
    "Producer",
    "SerializingProducer",
    "refused_by",
]

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    from confluent_kafka import Consumer, DeserializingConsumer, Producer, SerializingProducer
    from confluent_kafka.aio import AIOConsumer, AIOProducer
else:

    def _real(cls: type[Any]) -> type[Any]:
        """Return the library's class among those that one derives from: a subclass may stand under its name."""
        return next(base for base in cls.__mro__ if base.__module__.partition(".")[0] in {"cimpl", "confluent_kafka"})

    Producer, Consumer = _real(confluent_kafka.Producer), _real(confluent_kafka.Consumer)
    SerializingProducer = _real(confluent_kafka.SerializingProducer)
    DeserializingConsumer = _real(confluent_kafka.DeserializingConsumer)
    AIOProducer, AIOConsumer = _real(confluent_kafka.aio.AIOProducer), _real(confluent_kafka.aio.AIOConsumer)


def refused_by(real: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let the method of the real class refuse what a traced one can't be called with, in its own words.

    As there, `on_delivery` counts only where `callback` is not given, not even as None.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(method).parameters.values())[1:]
        names = [parameter.name for parameter in parameters]
        required = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
        # By how many arguments are given by place: which ones may, and which ones must be given by name.
        may = [frozenset(names[count:]) for count in range(len(names) + 1)]
        must = [required & by_name for by_name in may]
        alias = names.index("on_delivery") if "on_delivery" in names else len(names)

        @functools.wraps(method)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            by_place, by_name = len(args), kwargs.keys()
            if by_place > len(names) or not must[by_place] <= by_name <= may[by_place]:
                return real(self, *args, **kwargs)
            if by_place > alias:
                args = (*args[:alias], None, *args[alias + 1 :])
            elif "on_delivery" in kwargs and ("callback" in kwargs or by_place == alias):
                del kwargs["on_delivery"]
            return method(self, *args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
