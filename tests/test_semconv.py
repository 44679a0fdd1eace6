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


def test_the_metrics_of_generative_ai_are_spelled_and_counted_as_the_conventions_publish_them():
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics as metrics

    from otel_kfs.telemetry.gen_ai import gen_ai_metrics

    names = {
        "OPERATION_DURATION": "CLIENT_OPERATION_DURATION",
        "TIME_TO_FIRST_CHUNK": "CLIENT_OPERATION_TIME_TO_FIRST_CHUNK",
        "TIME_PER_OUTPUT_CHUNK": "CLIENT_OPERATION_TIME_PER_OUTPUT_CHUNK",
        "TOKEN_USAGE": "CLIENT_TOKEN_USAGE",
        "REQUEST_DURATION": "SERVER_REQUEST_DURATION",
        "TIME_TO_FIRST_TOKEN": "SERVER_TIME_TO_FIRST_TOKEN",
        "TIME_PER_OUTPUT_TOKEN": "SERVER_TIME_PER_OUTPUT_TOKEN",
    }
    ours = {name: getattr(gen_ai_metrics, name) for name in names}
    assert ours == {name: getattr(metrics, f"GEN_AI_{theirs}") for name, theirs in names.items()}
    meter = MeterProvider().get_meter("a test")
    published = [getattr(metrics, f"create_gen_ai_{theirs.lower()}")(meter) for theirs in names.values()]
    made = vars(gen_ai_metrics.GenAIMetrics(MeterProvider(), of_server=True)).values()
    units = {metric.name: metric.unit for metric in made if hasattr(metric, "unit")}
    assert units == {metric.name: metric.unit for metric in published}


def test_operations_of_generative_ai_are_called_as_the_conventions_call_them():
    from opentelemetry.semconv._incubating.attributes.gen_ai_attributes import GenAiOperationNameValues as Values

    assert [
        Values.CHAT.value,
        Values.TEXT_COMPLETION.value,
        Values.EMBEDDINGS.value,
    ] == [semconv.CHAT, semconv.TEXT_COMPLETION, semconv.EMBEDDINGS]
    assert (semconv.gen_ai("chat", "m"), semconv.gen_ai("chat", None)) == ("chat m", "chat")


def test_our_keys_are_all_different():
    assert len(set(OURS.values())) == len(OURS)


def test_the_system_is_called_as_the_conventions_call_it():
    from opentelemetry.semconv._incubating.attributes.messaging_attributes import MessagingSystemValues

    assert MessagingSystemValues.KAFKA.value == semconv.KAFKA


def test_spans_of_kafka_are_named_operation_then_topic():
    assert (semconv.send("t"), semconv.poll("t"), semconv.process("t")) == ("send t", "poll t", "process t")


def test_the_steps_of_a_model_come_in_the_order_in_which_a_server_calls_them():
    assert semconv.MODEL_STEPS == ("preprocess", "predict", "explain", "postprocess")
