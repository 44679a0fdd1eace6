"""Traces the Kafka clients of programs that know nothing of otel-kfs: confluent_kafka's own names become ours.

The entry point of this module is what `opentelemetry-instrument python app.py` finds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeVar

import confluent_kafka
import confluent_kafka.aio
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_kfs.kafka import aio, client_telemetry, real_classes
from otel_kfs.kafka.consumer import Consumer, DeserializingConsumer, DeserializingShareConsumer, ShareConsumer
from otel_kfs.kafka.existing_client import traced
from otel_kfs.kafka.producer import Producer, SerializingProducer
from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.patching_instrumentor import PatchingInstrumentor

C = TypeVar("C")

_log = logging.getLogger(__name__)

# In C: nothing can be changed in these classes themselves, so a name imported before is the untraced one.
_IN_C: dict[type[Any], type[Any]] = {
    real_classes.Producer: Producer,
    real_classes.Consumer: Consumer,
    real_classes.ShareConsumer: ShareConsumer,
}

# In Python, derived from those: what is made by calling one is ours, whenever the caller got hold of the class.
_DERIVED: dict[type[Any], type[Any]] = {
    real_classes.SerializingProducer: SerializingProducer,
    real_classes.DeserializingConsumer: DeserializingConsumer,
    real_classes.DeserializingShareConsumer: DeserializingShareConsumer,
}

_OURS = {**_IN_C, **_DERIVED}

# What holds the originals because it builds on them.
_LIBRARIES = {"confluent_kafka", "cimpl", "otel_kfs", "opentelemetry"}

# In Python throughout: these methods become ours in the class itself, and with it in all that derive from it.
_METHODS: list[tuple[type[Any], type[Any], tuple[str, ...]]] = [
    (real_classes.AIOProducer, aio.AIOProducer, ("__init__", "produce")),
    (real_classes.AIOConsumer, aio.AIOConsumer, ("__init__", "poll", "consume")),
]


class KafkaInstrumentor(PatchingInstrumentor):
    """`KafkaInstrumentor().instrument()` at a program's start traces its Kafka clients; `uninstrument()` undoes it.

    `instrument` takes a `tracer_provider` and a `meter_provider`; without, the global ones count. Call it before the
    program imports names from confluent_kafka and derives classes from it. Where that is too late, `imported=True` also
    changes what is there: the names of `Producer`, `Consumer` and `ShareConsumer` in all modules, and the bases of
    derived classes. It can't change classes derived from these three, which are written in C. A warning names the
    classes that stay untraced; so do clients made before, other than those that `instrument_client` returned.
    """

    dependencies = ("confluent-kafka >= 2.16.0, < 3.0.0",)

    @staticmethod
    def instrument_client(client: C, config: Mapping[str, Any] | None = None) -> C:
        """Return a client that does all that `client` does, with spans: use it in the other's place.

        `client` was made by confluent_kafka's own classes before; one that is traced already is returned as it is.
        `instrument()` need not be called for it.

        `config` is what it was made with, which a client does not tell. Without it, group, client id and broker are not
        on the spans, and the `send` span of a record without a callback ends as `produce()` returns, and says so by
        `otel_kfs.acknowledged`: a callback of ours would take the place of the configuration's `on_delivery`.

        Raises:
            TypeError: it is no client of confluent_kafka's.
        """
        return traced(client, config)

    def patch(
        self,
        patches: Patches,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        imported: bool = False,
        **_: Any,
    ) -> None:
        """Put ours in the place of confluent_kafka's classes."""
        before = client_telemetry.use(client_telemetry.ClientTelemetry(tracer_provider, meter_provider))
        patches.on_undo(lambda: client_telemetry.use(before))
        for original, ours in _OURS.items():
            patches.set(confluent_kafka, original.__name__, ours)
        for original, ours in _DERIVED.items():
            patches.set(original, "__new__", staticmethod(_making(original, ours)))
        for original, ours, methods in _METHODS:
            for method in methods:
                patches.set(original, method, vars(ours)[method])
        if imported:
            for name, module in list(sys.modules.items()):
                if not _is_library(name):
                    _set_names(module, patches)
        derived = [(cls, original, ours) for original, ours in _OURS.items() for cls in _derived(original)]
        if untraced := [cls for cls, old, new in derived if not (imported and _rebase(cls, old, new, patches))]:
            names = {f"{cls.__module__}.{cls.__qualname__}" for one in untraced for cls in (one, *_below(one))}
            _log.warning(
                "derived before instrument() from confluent_kafka's classes: %s; their instances stay untraced; "
                "call instrument() first, or derive from otel_kfs.kafka's classes",
                ", ".join(sorted(names)),
            )


def _making(original: type[Any], ours: type[Any]) -> Callable[..., Any]:
    """Return a `__new__` for a class in Python that makes ours when it is called itself."""
    new: Any = original.__new__

    def make(cls: type[Any], *args: Any, **kwargs: Any) -> Any:
        return new(ours if cls is original else cls, *args, **kwargs)

    return make


def _set_names(module: ModuleType | None, patches: Patches) -> None:
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

        patches.on_undo(undo)


def _rebase(cls: type[Any], original: type[Any], ours: type[Any], patches: Patches) -> bool:
    """Let a class derive from ours instead; False where Python refuses it, as with what derives from C directly."""
    before = cls.__bases__
    try:
        cls.__bases__ = tuple(ours if base is original else base for base in before)
    except TypeError:
        return False
    patches.on_undo(lambda: setattr(cls, "__bases__", before))
    return True


def _derived(original: type[Any]) -> list[type[Any]]:
    """Return the subclasses of one of confluent_kafka's classes, but for those of ours.

    The library itself derives some when they are imported: Avro's.
    """
    theirs = {"otel_kfs", "opentelemetry"}
    return [
        cls for cls in original.__subclasses__() if cls not in _OURS and cls.__module__.partition(".")[0] not in theirs
    ]


def _below(cls: type[Any]) -> list[type[Any]]:
    """Return the classes that have been derived from one, and from those."""
    return [below for one in cls.__subclasses__() for below in (one, *_below(one))]


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in _LIBRARIES
