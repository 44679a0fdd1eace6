"""Telemetry that is broken: requests are answered as without it, and each part that fails is in the log once."""

import re
import types
from collections import Counter

import pytest
from contract import Server, is_ready
from support import LIMIT

from otel_kfs.demo.processes import Processes, python

BROKEN = """
import sys
import otel_kfs
from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

def broken(*_, **__):
    raise RuntimeError("broken telemetry")

class BrokenSampler(Sampler):
    should_sample = broken
    def get_description(self): return "broken"

class BrokenStart(SpanProcessor):
    on_start = broken

class BrokenEnd(SpanProcessor):
    on_end = broken

class BrokenPropagator(TextMapPropagator):
    extract = inject = broken
    fields = property(broken)

sys.argv.remove(what := sys.argv[-1])
provider = TracerProvider(sampler=BrokenSampler() if what == "sampler" else ALWAYS_ON)
if what == "start":
    provider.add_span_processor(BrokenStart())
if what == "end":
    provider.add_span_processor(BrokenEnd())
trace.set_tracer_provider(provider)
if what == "propagator":
    propagate.set_global_textmap(BrokenPropagator())
"""

KFSERVING = """
import kfserving

class Sync(kfserving.KFModel):
    def predict(self, request):
        if request["instances"] == ["fail"]:
            raise ZeroDivisionError("broken model")
        return {"predictions": request["instances"]}

class Transformer(kfserving.KFModel):
    pass

server, start = kfserving.KFServer(), lambda models, host: [
    setattr(model, "predictor_host", host) for model in models] and server.start(models)
"""

KSERVE = """
import kserve
from kserve.predictor_config import PredictorConfig

class Sync(kserve.Model):
    def predict(self, payload, headers=None):
        if payload["instances"] == ["fail"]:
            raise ZeroDivisionError("broken model")
        return {"predictions": payload["instances"]}

class Transformer(kserve.Model):
    pass

start = lambda models, host: kserve.ModelServer(predictor_config=PredictorConfig(host) if host else None).start(models)
"""

SERVE = """
host = sys.argv[1]
del sys.argv[1]
model = (Sync if host == "-" else Transformer)("sync")
model.load()
if what != "nothing":
    otel_kfs.trace_model(model)
start([model], None if host == "-" else host)
"""

PARTS = ("sampler", "start", "end", "propagator")
SDKS = [
    pytest.param((KFSERVING, []), marks=pytest.mark.kfserving, id="kfserving"),
    pytest.param(
        (KSERVE, ["--enable_grpc", "false", "--event-loop", "asyncio"]), marks=pytest.mark.kserve, id="kserve"
    ),
]


@pytest.fixture(scope="module", params=SDKS)
def servers(request, tmp_path_factory):
    """A predictor without telemetry; transformers before it and predictors, each with one part broken; and all logs."""
    models, options = request.param
    folder = tmp_path_factory.mktemp("broken")
    (folder / "models.py").write_text(BROKEN + models + SERVE)
    with Processes(folder / "logs") as processes:

        def start(service, what, host="-"):
            server = Server(service)
            script = ["-m", "otel_kfs.demo.loopback", str(folder / "models.py"), host]
            processes.start(service, python(*script, "--http_port", str(server.port), *options, what))
            return server

        plain = start("plain", "nothing")
        host = f"127.0.0.1:{plain.port}"
        found = {"plain": plain, "plain transformer": start("plain transformer", "nothing", host)}
        for part in PARTS:
            found[part] = start(part, part)
            found[f"{part} transformer"] = start(f"{part} transformer", part, host)
        for name, server in found.items():
            processes.wait_until(name, lambda server=server: is_ready(server), LIMIT)
        yield found, processes


@pytest.mark.parametrize("body", [b'{"instances": [1]}', b'{"instances": ["fail"]}', b"{not json"])
@pytest.mark.parametrize("role", ["", " transformer"])
@pytest.mark.parametrize("part", PARTS)
def test_a_request_is_answered_as_by_the_untraced_server(servers, part, role, body):
    found, _ = servers
    expected = found[f"plain{role}"].predict("sync", body=body)
    assert found[f"{part}{role}"].predict("sync", "ab" * 16, body) == expected


@pytest.mark.parametrize("role", ["", " transformer"])
@pytest.mark.parametrize("part", PARTS)
def test_each_part_that_fails_is_logged_once(servers, part, role):
    found, processes = servers
    for _ in range(3):
        found[f"{part}{role}"].predict("sync")
    log = processes.log(f"{part}{role}").read_text()
    times = Counter(re.findall(r"telemetry failed \((.*?)\)", log))
    assert set(times.values()) == {1}


def test_a_model_without_a_name_is_traced_without_one(spans):
    from otel_kfs.serving.model_spans import trace_steps

    class Nameless:
        def predict(self, request):
            return request

    for name in (None, 7, ...):
        model = Nameless()
        if name is not ...:
            model.name = name
        trace_steps(model, lambda _: "predictor")
        assert model.predict(1) == 1
    assert [dict(span.attributes) for span in spans.get_finished_spans()] == [{"otel_kfs.role": "predictor"}] * 3


def test_a_role_that_can_t_be_told_leaves_the_step_as_it_is(spans, caplog):
    from otel_kfs.serving.model_spans import trace_steps

    class Model:
        name = "m"

        def predict(self, request):
            return request

    def role(_):
        raise RuntimeError("no role")

    model = Model()
    trace_steps(model, role)
    assert [model.predict(number) for number in range(3)] == [0, 1, 2]
    assert spans.get_finished_spans() == ()
    assert len(caplog.records) <= 1


def refused(response):
    """An exception with a response, as HTTP clients' and botocore's have."""
    error = RuntimeError("refused")
    error.response = response
    return error


@pytest.mark.parametrize(
    ("response", "events"),
    [
        ({"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, 1),
        (None, 1),
        (types.SimpleNamespace(status_code=503), 0),
        (types.SimpleNamespace(code=503), 0),
    ],
    ids=["botocore", "none", "requests or httpx", "tornado"],
)
def test_an_exception_is_the_answer_of_another_server_only_with_an_http_status(spans, response, events):
    from otel_kfs.serving.model_spans import trace_steps

    class Model:
        def predict(self, request):
            raise refused(response)

    model = Model()
    trace_steps(model, lambda _: "predictor")
    with pytest.raises(RuntimeError, match="refused"):
        model.predict(1)
    assert [len(span.events) for span in spans.get_finished_spans()] == [events]
