"""Traces the Kafka clients of programs that know nothing of otel-kfs: confluent_kafka's own names become ours.

The entry point of this module is what `opentelemetry-instrument python app.py` finds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection
from types import ModuleType
from typing import Any

import confluent_kafka
import confluent_kafka.aio
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from otel_kfs.kafka import aio, telemetry
from otel_kfs.kafka.consumer import Consumer, DeserializingConsumer
from otel_kfs.kafka.producer import Producer, SerializingProducer

_log = logging.getLogger(__name__)

# In C: nothing can be changed in these classes themselves, so whoever holds one from before holds the untraced one.
_IN_C: dict[type[Any], type[Any]] = {confluent_kafka.Producer: Producer, confluent_kafka.Consumer: Consumer}

# In Python, derived from those: what is made by calling one is ours, whenever the caller got hold of the class.
_DERIVED: dict[type[Any], type[Any]] = {
    confluent_kafka.SerializingProducer: SerializingProducer,
    confluent_kafka.DeserializingConsumer: DeserializingConsumer,
}

# In Python throughout: these methods become ours in the class itself, and with it in all that derive from it.
_METHODS: list[tuple[type[Any], type[Any], tuple[str, ...]]] = [
    (confluent_kafka.aio.AIOProducer, aio.AIOProducer, ("__init__", "produce")),
    (confluent_kafka.aio.AIOConsumer, aio.AIOConsumer, ("__init__", "poll", "consume")),
]


class KafkaInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """`KafkaInstrumentor().instrument()` at a program's start traces its Kafka clients; `uninstrument()` undoes it.

    `instrument` takes a `tracer_provider` and a `meter_provider`; without, the global ones count. Clients made before
    it stay as they are, and so do modules that imported the two classes that are written in C (`Producer`, `Consumer`)
    before it: it logs a warning that names those modules.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The library that is traced."""
        return ("confluent-kafka >= 2.16.0, < 3.0.0",)

    def _instrument(self, **kwargs: Any) -> None:
        early = sorted({name for name, module in list(sys.modules.items()) if _holds_original(name, module)})
        if early:
            _log.warning(
                "%s imported confluent_kafka's Producer or Consumer before instrument(): what these modules make of "
                "them stays untraced; call instrument() first, or use otel_kfs.kafka's classes there",
                ", ".join(early),
            )
        self._telemetry_before = telemetry.use(
            telemetry.Telemetry(kwargs.get("tracer_provider"), kwargs.get("meter_provider"))
        )
        self._undo: list[Callable[[], None]] = []
        for original, ours in {**_IN_C, **_DERIVED}.items():
            self._set(confluent_kafka, original.__name__, ours)
        for original, ours in _DERIVED.items():
            self._make_ours(original, ours)
        for original, ours, methods in _METHODS:
            for method in methods:
                self._set(original, method, vars(ours)[method])

    def _uninstrument(self, **_: Any) -> None:
        while self._undo:
            self._undo.pop()()
        telemetry.use(self._telemetry_before)

    def _set(self, owner: Any, name: str, value: Any) -> None:
        if name in vars(owner):
            before = vars(owner)[name]
            self._undo.append(lambda: setattr(owner, name, before))
        else:
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, value)

    def _make_ours(self, original: type[Any], ours: type[Any]) -> None:
        new: Any = original.__new__

        def make(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
            return new(ours if cls is original else cls, *args, **kwargs)

        self._set(original, "__new__", staticmethod(make))


def _holds_original(name: str, module: ModuleType | None) -> bool:
    """Whether a module of the program itself holds one of the classes in C under any name of its own."""
    if name.partition(".")[0] in {"confluent_kafka", "cimpl", "otel_kfs"}:
        return False
    try:
        return any(isinstance(value, type) and value in _IN_C for value in list(vars(module).values()))
    except TypeError:  # not a module at all, as a few programs put into sys.modules
        return False
