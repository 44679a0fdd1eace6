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

from otel_kfs.kafka import aio, client_telemetry
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

_OURS = {**_IN_C, **_DERIVED}

# What holds the originals because it builds on them.
_LIBRARIES = {"confluent_kafka", "cimpl", "otel_kfs", "opentelemetry"}

# In Python throughout: these methods become ours in the class itself, and with it in all that derive from it.
_METHODS: list[tuple[type[Any], type[Any], tuple[str, ...]]] = [
    (confluent_kafka.aio.AIOProducer, aio.AIOProducer, ("__init__", "produce")),
    (confluent_kafka.aio.AIOConsumer, aio.AIOConsumer, ("__init__", "poll", "consume")),
]


class KafkaInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """`KafkaInstrumentor().instrument()` at a program's start traces its Kafka clients; `uninstrument()` undoes it.

    `instrument` takes a `tracer_provider` and a `meter_provider`; without, the global ones count. Clients made before
    it stay as they are, and so do classes that were derived before it from one of the two that are written in C
    (`Producer`, `Consumer`): it logs a warning that names those classes.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The library that is traced."""
        return ("confluent-kafka >= 2.16.0, < 3.0.0",)

    def _instrument(self, **kwargs: Any) -> None:
        self._telemetry_before = client_telemetry.use(
            client_telemetry.ClientTelemetry(kwargs.get("tracer_provider"), kwargs.get("meter_provider"))
        )
        self._undo: list[Callable[[], None]] = []
        for original, ours in _OURS.items():
            self._set(confluent_kafka, original.__name__, ours)
        for original, ours in _DERIVED.items():
            self._make_ours(original, ours)
        for name, module in list(sys.modules.items()):
            if not _is_library(name):
                self._set_names(module)
        classes = [(cls, original, ours) for original, ours in _OURS.items() for cls in _derived(original)]
        if untraced := [cls for cls, original, ours in classes if not self._rebase(cls, original, ours)]:
            _log.warning(
                "derived before instrument() from confluent_kafka's classes: %s; what is made of these stays untraced; "
                "call instrument() first, or derive from otel_kfs.kafka's classes",
                ", ".join(sorted(f"{cls.__module__}.{cls.__qualname__}" for cls in untraced)),
            )
        for original, ours, methods in _METHODS:
            for method in methods:
                self._set(original, method, vars(ours)[method])

    def _uninstrument(self, **_: Any) -> None:
        while self._undo:
            self._undo.pop()()
        client_telemetry.use(self._telemetry_before)

    def _set_names(self, module: ModuleType | None) -> None:
        """Let a module that holds one of the classes in C hold ours, under its own name for it."""
        try:
            content = vars(module)
        except TypeError:  # not a module at all, as a few programs put into sys.modules
            return
        held = [(name, original) for name, value in list(content.items()) for original in _IN_C if value is original]
        for name, original in held:
            content[name] = ours = _IN_C[original]

            def undo(name: str = name, original: type[Any] = original, ours: type[Any] = ours) -> None:
                if content.get(name) is ours:
                    content[name] = original

            self._undo.append(undo)

    def _rebase(self, cls: type[Any], original: type[Any], ours: type[Any]) -> bool:
        """Let a class derive from ours instead; False where Python refuses it, as with what derives from C directly."""
        before = cls.__bases__
        try:
            cls.__bases__ = tuple(ours if base is original else base for base in before)
        except TypeError:
            return False
        self._undo.append(lambda: setattr(cls, "__bases__", before))
        return True

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


def _derived(original: type[Any]) -> list[type[Any]]:
    """The classes that a program itself has derived from one of confluent_kafka's so far."""
    return [cls for cls in original.__subclasses__() if not _is_library(cls.__module__)]


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES
