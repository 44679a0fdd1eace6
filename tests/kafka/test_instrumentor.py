"""The instrumentor: programs that know nothing of otel-kfs, one span instead of two, and everything as it was after."""

import asyncio
import gc
import importlib
import importlib.util
import sys
import types

import confluent_kafka
import confluent_kafka.aio
import confluent_kafka.deserializing_consumer
import confluent_kafka.serializing_producer
import pytest
from kafka_support import MOCK
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import LIMIT, printed_json, read_traces, start

import otel_kfs.kafka
from otel_kfs.kafka import KafkaInstrumentor, process

pytestmark = pytest.mark.kafka

# Bound before anything is instrumented, as a module would that imports at its top.
EarlyProducer = confluent_kafka.Producer
EarlySerializingProducer = confluent_kafka.SerializingProducer
EarlyDeserializingConsumer = confluent_kafka.DeserializingConsumer
EarlyAIOProducer = confluent_kafka.aio.AIOProducer
EarlyAsyncSerializingProducer = confluent_kafka.aio.AsyncSerializingProducer

PYTHON_CLASSES = [
    confluent_kafka.SerializingProducer,
    confluent_kafka.DeserializingConsumer,
    confluent_kafka.aio.AIOProducer,
    confluent_kafka.aio.AIOConsumer,
    confluent_kafka.aio.AsyncSerializingProducer,
    confluent_kafka.aio.AsyncDeserializingConsumer,
]


@pytest.fixture
def instrument():
    """Instruments with these arguments; undone at the test's end."""
    instrumentor = KafkaInstrumentor()
    yield instrumentor.instrument
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def send_one(producer):
    producer.produce("t", value="1")
    producer.flush()


def everything():
    """What every module and class of confluent_kafka holds."""
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "confluent_kafka"}
    state = {name: dict(vars(module)) for name, module in modules.items()}
    return state | {cls.__qualname__: dict(vars(cls)) for cls in PYTHON_CLASSES}


def test_confluent_kafka_s_own_names_make_spans(spans, instrument):
    instrument()
    send_one(confluent_kafka.Producer(MOCK))
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]


def test_a_consumer_made_by_its_own_name_makes_spans(spans, instrument, broker, topic):
    instrument()
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    producer.produce(topic, b"1")
    producer.flush()
    consumer = confluent_kafka.Consumer({"bootstrap.servers": broker, "group.id": "g", "fetch.wait.max.ms": 10})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    with process(consumer.poll(30), consumer=consumer):
        pass
    consumer.close()
    assert [span.name for span in spans.get_finished_spans()] == [
        f"send {topic}",
        f"poll {topic}",
        f"process {topic}",
    ]


def test_python_classes_imported_before_make_spans(spans, instrument):
    instrument()
    send_one(EarlySerializingProducer(MOCK | {"value.serializer": lambda value, _: value.encode()}))

    async def main():
        for producer in (EarlyAIOProducer(dict(MOCK)), await EarlyAsyncSerializingProducer(dict(MOCK))):
            await producer.produce("t", value=b"1")
            await producer.close()

    asyncio.run(main())
    assert [span.name for span in spans.get_finished_spans()] == ["send t"] * 3


def test_classes_in_c_imported_before_make_spans_until_uninstrument(spans, instrument, monkeypatch):
    module = types.ModuleType("an_early_module")
    module.Sender, module.Receiver = EarlyProducer, confluent_kafka.Consumer
    before = vars(module).copy()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    instrument(imported=True)
    send_one(module.Sender(MOCK))
    assert (module.Sender, module.Receiver) == (otel_kfs.kafka.Producer, otel_kfs.kafka.Consumer)
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]
    KafkaInstrumentor().uninstrument()
    assert vars(module) == before


def test_a_name_that_the_program_has_set_anew_meanwhile_stays_so(instrument, monkeypatch):
    module = types.ModuleType("an_early_module")
    module.Sender = EarlyProducer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    instrument(imported=True)
    module.Sender = "the program's own"
    KafkaInstrumentor().uninstrument()
    assert module.Sender == "the program's own"


def test_what_is_no_module_is_passed_over(spans, instrument, monkeypatch):
    monkeypatch.setitem(sys.modules, "no_module", 7)
    instrument(imported=True)
    send_one(confluent_kafka.Producer(MOCK))
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]


def test_a_class_derived_before_from_one_in_python_makes_spans_until_uninstrument(spans, instrument):
    class Early(confluent_kafka.SerializingProducer):
        def __init__(self, config):
            super().__init__({**MOCK, **config})

    class Earlier(Early):
        pass

    class EarlyReceiver(confluent_kafka.DeserializingConsumer):
        pass

    bases = [cls.__bases__ for cls in (Early, EarlyReceiver)]
    instrument(imported=True)
    send_one(Early({}))
    send_one(Earlier({}))
    assert [span.name for span in spans.get_finished_spans()] == ["send t"] * 2
    assert issubclass(EarlyReceiver, otel_kfs.kafka.Consumer)
    KafkaInstrumentor().uninstrument()
    assert [cls.__bases__ for cls in (Early, EarlyReceiver)] == bases
    send_one(Early({}))
    assert len(spans.get_finished_spans()) == 2


def test_a_client_made_before_of_a_class_derived_before_goes_on_without_spans(spans, instrument):
    class Early(confluent_kafka.SerializingProducer):
        pass

    producer = Early(MOCK)
    instrument()
    send_one(producer)
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("imported", [False, True])
def test_a_class_derived_before_from_one_in_c_is_warned_of(spans, instrument, caplog, imported):
    class Early(EarlyProducer):
        pass

    instrument(imported=imported)
    send_one(Early(MOCK))
    assert spans.get_finished_spans() == ()
    assert any(f"{Early.__module__}.{Early.__qualname__}" in record.message for record in caplog.records)


@pytest.mark.parametrize("imported", [False, True])
def test_what_is_derived_from_a_class_that_stays_untraced_is_warned_of_too(instrument, caplog, imported):
    class Early(EarlyProducer):
        pass

    class Later(Early):
        pass

    instrument(imported=imported)
    warned = " ".join(record.message for record in caplog.records)
    assert f"{Early.__module__}.{Later.__qualname__}" in warned


@pytest.mark.skipif(importlib.util.find_spec("avro") is None, reason="avro not installed")
def test_avro_s_clients_imported_before_are_warned_of_and_those_imported_after_are_traced():
    script = """
import json, logging, sys, warnings
warnings.simplefilter("ignore")
if sys.argv[1] == "before":
    import confluent_kafka.avro
said = []
logging.getLogger("otel_kfs").addHandler(logging.Handler())
logging.getLogger("otel_kfs").handlers[0].emit = lambda record: said.append(record.getMessage())
from otel_kfs.kafka.instrumentor import KafkaInstrumentor
KafkaInstrumentor().instrument()
import confluent_kafka.avro
import otel_kfs.kafka
ours = issubclass(confluent_kafka.avro.AvroProducer, otel_kfs.kafka.Producer)
named = [name for name in ("AvroConsumer", "AvroProducer") if f"confluent_kafka.avro.{name}" in " ".join(said)]
print(json.dumps([ours, named]))
"""
    found = {}
    for when in ("before", "after"):
        found[when] = printed_json(f"import sys; sys.argv[1:] = [{when!r}]\n{script}")
    assert found == {"before": [False, ["AvroConsumer", "AvroProducer"]], "after": [True, []]}


def test_unless_asked_names_and_bases_that_the_program_has_already_stay(spans, instrument, monkeypatch, caplog):
    module = types.ModuleType("an_early_module")
    module.Sender = EarlyProducer
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class Early(confluent_kafka.SerializingProducer):
        pass

    instrument()
    send_one(module.Sender(MOCK))
    send_one(Early(MOCK))
    assert (module.Sender, Early.__bases__) == (EarlyProducer, (EarlySerializingProducer,))
    assert spans.get_finished_spans() == ()
    assert any(f"{Early.__module__}.{Early.__qualname__}" in record.message for record in caplog.records)


def test_a_class_derived_after_is_traced(spans, instrument):
    instrument()

    class Mine(confluent_kafka.SerializingProducer):
        def __init__(self, config):
            super().__init__(config)

    class MineToo(confluent_kafka.Producer):
        pass

    send_one(Mine(MOCK))
    send_one(MineToo(MOCK))
    assert [span.name for span in spans.get_finished_spans()] == ["send t"] * 2


@pytest.mark.parametrize("name", ["Producer", "SerializingProducer"])
def test_our_own_class_makes_one_span_under_the_instrumentor(spans, instrument, name):
    instrument()
    send_one(getattr(otel_kfs.kafka, name)(MOCK))
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]


@pytest.mark.parametrize("module", [confluent_kafka.aio, otel_kfs.kafka])
def test_an_asyncio_producer_makes_one_span_and_its_inner_producer_none(spans, instrument, module):
    instrument()

    async def main():
        async with module.AIOProducer(dict(MOCK), batch_size=1) as producer:
            await (await producer.produce("t", b"1"))

    asyncio.run(main())
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]


def test_instrumenting_twice_makes_one_span(spans, instrument):
    instrument()
    instrument()
    send_one(confluent_kafka.Producer(MOCK))
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]


def test_uninstrument_puts_everything_back(instrument):
    before = everything()
    instrument()
    assert everything() != before
    KafkaInstrumentor().uninstrument()
    assert everything() == before


def test_real_classes_work_after_uninstrument(spans, instrument):
    instrument()
    KafkaInstrumentor().uninstrument()
    send_one(confluent_kafka.Producer(MOCK))
    send_one(confluent_kafka.SerializingProducer(MOCK))

    async def main():
        async with confluent_kafka.aio.AIOProducer(dict(MOCK)) as producer:
            await producer.produce("t", b"1")
        serialising = await confluent_kafka.aio.AsyncSerializingProducer(dict(MOCK))
        await serialising.produce("t", value=b"1")
        await serialising.close()
        return type(producer), type(serialising)

    assert asyncio.run(main()) == (confluent_kafka.aio.AIOProducer, confluent_kafka.aio.AsyncSerializingProducer)
    assert spans.get_finished_spans() == ()


def test_providers_given_are_the_ones_used(spans, instrument):
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(tracer_provider=provider, meter_provider=MeterProvider([reader], shutdown_on_exit=False))
    send_one(confluent_kafka.Producer(MOCK))
    (sent,) = exporter.get_finished_spans()
    scope = sent.instrumentation_scope
    assert (scope.name, scope.version, scope.schema_url) == (
        "otel_kfs.kafka",
        otel_kfs.__version__,
        "https://opentelemetry.io/schemas/1.44.0",
    )
    assert reader.get_metrics_data() is not None
    assert spans.get_finished_spans() == ()


def test_a_producer_made_before_uninstrument_goes_on(spans, instrument):
    instrument()
    producer = confluent_kafka.Producer(MOCK)
    KafkaInstrumentor().uninstrument()
    send_one(producer)
    assert [span.name for span in spans.get_finished_spans()] == ["send t"]


def test_suppressed_instrumentation_makes_no_spans_and_no_headers(spans, broker, topic, open_consumer, fetch):
    producer = otel_kfs.kafka.Producer({"bootstrap.servers": broker})
    consumer = open_consumer(topic)
    with suppress_instrumentation():
        producer.produce(topic, b"1", headers={"a": b"1"})
        producer.produce_batch(topic, [{"value": b"2"}])
        producer.flush()
        with process(consumer.poll(30)):
            pass
    assert spans.get_finished_spans() == ()
    assert fetch(topic)[0].headers() == [("a", b"1")]


APP = """
from confluent_kafka import Producer
producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
producer.produce("t", b"1")
producer.flush()
"""


def run(tmp_path, *command, **env):
    (tmp_path / "app.py").write_text(APP)
    environment = {
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "an app",
        # OpenTelemetry's own instrumentation is here for the benchmarks.
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "confluent_kafka",
    }
    with start([*command, str(tmp_path / "app.py")], **{**environment, **env}) as process_:
        output, errors = process_.communicate(timeout=LIMIT)
    assert process_.returncode == 0, errors
    return output


def test_opentelemetry_instrument_traces_a_program_that_knows_nothing_of_it(tmp_path):
    output = run(tmp_path, f"{sys.prefix}/bin/opentelemetry-instrument", sys.executable)
    assert output.count('"name": "send t"') == 1
    assert '"service.name": "an app"' in output


def test_the_instrumentation_can_be_disabled_by_its_name(tmp_path):
    disabled = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "otel_kfs_kafka,confluent_kafka"}
    assert "send t" not in run(tmp_path, f"{sys.prefix}/bin/opentelemetry-instrument", sys.executable, **disabled)


LEFT_BEHIND = """
import otel_kfs
from otel_kfs.kafka import Producer
otel_kfs.configure("left", traces_file="left.jsonl")
producer = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
producer.produce("t", b"1")
"""


@pytest.mark.parametrize("order", ["configured first", "made first"])
def test_records_undelivered_at_the_program_s_end_have_their_spans_written(tmp_path, order):
    lines = LEFT_BEHIND.splitlines()
    if order == "made first":
        lines[3], lines[4] = lines[4], lines[3]
    with start([sys.executable, "-c", "\n".join(lines)]) as process_:
        process_.communicate(timeout=LIMIT)
    (span,) = read_traces(tmp_path / "left.jsonl")
    assert (span.name, span.attributes["error.type"]) == ("send t", "abandoned")


def test_importing_the_instrumentor_changes_nothing_yet():
    importlib.import_module("otel_kfs.kafka.instrumentor")
    gc.collect()
    assert confluent_kafka.Producer is EarlyProducer
