"""The contract of names: ours are under `otel_kfs.`, all others are the semantic conventions'."""

import importlib
import pkgutil

import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
import pytest

from otel_kfs import semconv

KEYS = {
    name: value
    for name, value in vars(semconv).items()
    if name.isupper() and isinstance(value, str) and "." in value and not value.startswith("otel_kfs.")
}
OURS = {
    name: value for name, value in vars(semconv).items() if isinstance(value, str) and value.startswith("otel_kfs.")
}


def published() -> dict[str, str]:
    """Every constant of the installed semantic conventions; a stable one goes before an incubating one."""
    constants = {}
    for package in (incubating, stable):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            constants.update(vars(importlib.import_module(module.name)))
    return constants


@pytest.mark.parametrize("name", KEYS)
def test_a_key_of_the_semantic_conventions_is_spelled_as_they_publish_it(name):
    assert published()[name] == KEYS[name]


def test_our_keys_are_all_different():
    assert len(set(OURS.values())) == len(OURS)


def test_the_system_is_called_as_the_conventions_call_it():
    from opentelemetry.semconv._incubating.attributes.messaging_attributes import MessagingSystemValues

    assert MessagingSystemValues.KAFKA.value == semconv.KAFKA


def test_spans_of_kafka_are_named_operation_then_topic():
    assert (semconv.send("t"), semconv.poll("t"), semconv.process("t")) == ("send t", "poll t", "process t")


def test_the_steps_of_a_model_come_in_the_order_in_which_a_server_calls_them():
    assert semconv.MODEL_STEPS == ("preprocess", "predict", "explain", "postprocess")
