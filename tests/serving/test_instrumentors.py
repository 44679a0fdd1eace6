"""The two instrumentors in programs of their own: what they change, when, and that they put it back."""

import json

import pytest
from support import printed_json, run_python

KFSERVING = pytest.param("kfserving", marks=pytest.mark.kfserving)
KSERVE = pytest.param("kserve", marks=pytest.mark.kserve)

# What the instrumentors or the instrumentations that they turn on change, by name.
LOOK = """
import json, sys
from opentelemetry import propagate

def everything(sdk):
    if sdk == "kfserving":
        import tornado.httpclient, tornado.web
        from kfserving import kfmodel, kfserver, kfmodel_repository
        from kfserving.handlers import http
        classes = [http.HTTPHandler, http.PredictHandler, http.ExplainHandler, kfserver.LivenessHandler,
                   kfserver.HealthHandler, kfserver.ListHandler, kfserver.KFServer,
                   kfmodel_repository.KFModelRepository, kfmodel.KFModel, tornado.web.RequestHandler,
                   tornado.web.Application, tornado.httpclient.AsyncHTTPClient]
    else:
        import fastapi, httpx, kserve.model_server, starlette.background
        from kserve import inference_client, model_repository
        from kserve.protocol.grpc import server
        from kserve.protocol.rest import server as rest
        from kserve.protocol.rest.multiprocess.server import RESTServerProcess
        classes = [kserve.model_server.app, inference_client.InferenceGRPCClient, model_repository.ModelRepository,
                   server, rest.RESTServer, RESTServerProcess, kserve.Model, httpx.HTTPTransport,
                   httpx.AsyncHTTPTransport, kserve.ModelServer,
                   starlette.background.BackgroundTask]
    found = {f"{c}.{k}": v for c in classes for k, v in vars(c).items() if k != "_is_instrumented_by_opentelemetry"}
    found = {k: list(v) if k.endswith("user_middleware") else v for k, v in found.items()}
    return {**found, "propagator": propagate.get_global_textmap()}

def changed(before, after):
    return sorted(k for k in before.keys() | after.keys() if before.get(k) is not after.get(k)
                  and before.get(k) != after.get(k))

def is_traced(model):
    from otel_kfs.serving import model_spans
    return model_spans.is_traced(model)

def instrumentor(sdk):
    if sdk == "kfserving":
        from otel_kfs.serving.kfserving import KFServingInstrumentor as instrumentor
    else:
        from otel_kfs.serving.kserve import KServeInstrumentor as instrumentor
    return instrumentor()

sdk = sys.argv[1] if len(sys.argv) > 1 else SDK
Model = lambda name: __import__(sdk).KFModel(name) if sdk == "kfserving" else __import__(sdk).Model(name)
def register(model):
    if sdk == "kfserving":
        import kfserving
        kfserving.KFServer().register_model(model)
    else:
        import kserve
        kserve.ModelServer().register_model(model)
"""


def run(sdk, script):
    """What a script prints as its last line, as JSON."""
    done = run_python(f"SDK = {sdk!r}\n{LOOK}\n{script}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_uninstrument_puts_everything_back(sdk):
    script = """
before = everything(sdk)
ours = instrumentor(sdk)
ours.instrument()
model = Model("m")
register(model)
during, traced = changed(before, everything(sdk)), is_traced(model)
ours.uninstrument()
after = changed(before, everything(sdk))
print(json.dumps([bool(during), traced, after, vars(model).keys() == vars(Model("n")).keys()]))
"""
    assert run(sdk, script) == [True, True, [], True]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_uninstrument_takes_back_what_trace_model_did_too(sdk):
    script = """
import otel_kfs
before = everything(sdk)
model = Model("m")
model.predict = own = lambda request, headers=None: request
instrumentor(sdk).instrument()
otel_kfs.trace_model(model)
traced = model.predict is not own
instrumentor(sdk).uninstrument()
print(json.dumps([traced, model.predict is own, changed(before, everything(sdk))]))
"""
    assert run(sdk, script) == [True, True, []]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_uninstrument_takes_back_what_trace_model_alone_did(sdk):
    script = """
import logging, otel_kfs
warned = []
handler = logging.Handler()
handler.emit = lambda record: warned.append(record.getMessage())
logging.getLogger("opentelemetry").addHandler(handler)
model = Model("m")
own = sorted(vars(model))
before = everything(sdk)
otel_kfs.trace_model(model)
during = bool(changed(before, everything(sdk)))
instrumentor(sdk).uninstrument()
print(json.dumps([during, changed(before, everything(sdk)), sorted(vars(model)) == own, warned]))
"""
    assert run(sdk, script) == [True, [], True, []]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_a_provider_given_after_trace_model_gets_every_span(sdk):
    script = """
import asyncio, otel_kfs
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

def provider():
    spans, made = InMemorySpanExporter(), TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(spans))
    return spans, made

def ask(model):
    if sdk == "kfserving":
        import http.client, threading, tornado.httpserver, tornado.ioloop, tornado.netutil
        server = sys.modules["kfserving"].KFServer()
        server.register_model(model)
        async def main():
            answering = tornado.httpserver.HTTPServer(server.create_application())
            (socket,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
            answering.add_sockets([socket])
            connection = http.client.HTTPConnection("127.0.0.1", socket.getsockname()[1])
            def post():
                connection.request("POST", "/v1/models/m:predict", b'{"instances": [1]}')
                return connection.getresponse().read()
            await asyncio.get_running_loop().run_in_executor(None, post)
    else:
        import httpx
        from kserve.model_repository import ModelRepository
        from kserve.model_server import app
        from kserve.protocol.dataplane import DataPlane
        from kserve.protocol.model_repository_extension import ModelRepositoryExtension
        from kserve.protocol.rest.server import RESTServer
        models = ModelRepository()
        models.update(model)
        RESTServer(app, DataPlane(models), ModelRepositoryExtension(models), 0).create_application()
        async def main():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kserve") as client:
                await client.post("/v1/models/m:predict", json={"instances": [1]})
    asyncio.run(main())

(globally, first), (given, second) = provider(), provider()
trace.set_tracer_provider(first)
model = Model("m")
model.predict = lambda payload, headers=None: payload
model.load()
otel_kfs.trace_model(model)
instrumentor(sdk).instrument(tracer_provider=second)
ask(model)
names = sorted(span.kind.name if span.kind is trace.SpanKind.SERVER else span.name
               for span in given.get_finished_spans())
print(json.dumps([names, [span.name for span in globally.get_finished_spans()]]))
"""
    assert run(sdk, script) == [["SERVER", "decode", "postprocess", "predict", "preprocess", "receive"], []]


@pytest.mark.kserve
def test_calls_of_openai_models_are_counted_with_the_given_meter_provider():
    script = """
import asyncio, kserve
from types import SimpleNamespace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_kfs.serving import model_spans
from otel_kfs.serving.kserve import openai_calls

class Chat:
    name = "m"
    async def create_chat_completion(self, request, raw_request=None, context=None):
        return SimpleNamespace(id="1", model="m", choices=[], usage=None, error=None)

reader = InMemoryMetricReader()
ours = instrumentor(sdk)
ours.instrument(meter_provider=MeterProvider([reader]))
model = Chat()
model_spans.trace_steps(model, lambda _: "predictor", None, openai_calls.OPERATIONS, openai_calls.OpenAICall)
def ask():
    asyncio.run(model.create_chat_completion(request=SimpleNamespace(model="m")))
ask()
ours.uninstrument()
model_spans.trace_steps(model, lambda _: "predictor", None, openai_calls.OPERATIONS, openai_calls.OpenAICall)
ask()
found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print(json.dumps([[metric.name, sum(point.count for point in metric.data.data_points)] for metric in found]))
"""
    assert run("kserve", script) == [["gen_ai.client.operation.duration", 1], ["gen_ai.server.request.duration", 1]]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_it_can_be_instrumented_again(sdk):
    script = """
ours = instrumentor(sdk)
found = []
for _ in range(2):
    ours.instrument()
    model = Model("m")
    register(model)
    found.append(is_traced(model))
    ours.uninstrument()
    after = Model("n")
    register(after)
    found.append(is_traced(after))
print(json.dumps(found))
"""
    assert run(sdk, script) == [True, False, True, False]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_it_imports_nothing_of_the_sdk_until_the_program_does(sdk):
    script = """
ours = instrumentor(sdk)
ours.instrument()
before = sdk in sys.modules
model = Model("m")
register(model)
print(json.dumps([before, is_traced(model)]))
"""
    assert run(sdk, script) == [False, True]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_uninstrumented_before_the_program_imports_the_sdk_it_changes_nothing(sdk):
    script = """
ours = instrumentor(sdk)
ours.instrument()
ours.uninstrument()
model = Model("m")
register(model)
print(json.dumps(is_traced(model)))
"""
    assert run(sdk, script) is False


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_a_model_given_to_trace_model_and_then_to_a_server_is_traced_once(sdk):
    script = """
import otel_kfs
instrumentor(sdk).instrument()
model = Model("m")
otel_kfs.trace_model(model, role="transformer")
once = model.predict
register(model)
print(json.dumps(model.predict == once))
"""
    assert run(sdk, script) is True


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_another_instrumentation_that_was_there_before_stays(sdk):
    script = """
if sdk == "kfserving":
    from opentelemetry.instrumentation.tornado import TornadoInstrumentor as Other
else:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor as Other
Other().instrument()
Model("m")
before = everything(sdk)
ours = instrumentor(sdk)
ours.instrument()
ours.uninstrument()
print(json.dumps([Other().is_instrumented_by_opentelemetry, changed(before, everything(sdk))]))
"""
    assert run(sdk, script) == [True, []]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_a_model_keeps_what_inspect_says_and_survives_pickling(sdk):
    script = """
import inspect, otel_kfs, pickle
steps = ("preprocess", "predict", "explain", "postprocess")
plain, model = Model("m"), Model("m")
otel_kfs.trace_model(model)
def told(m):
    return [(str(inspect.signature(getattr(m, s))), str(inspect.getfullargspec(getattr(m, s)).args),
             inspect.iscoroutinefunction(getattr(m, s)), inspect.ismethod(getattr(m, s)), getattr(m, s).__self__ is m,
             getattr(m, s).__name__, getattr(m, s).__doc__) for s in steps]
copy = pickle.loads(pickle.dumps(model))
print(json.dumps([told(model) == told(plain), told(copy) == told(plain)]))
"""
    assert run(sdk, script) == [True, True]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_a_traced_model_out_of_a_pickle_sets_nothing_up_in_a_process_that_never_asked_for_telemetry(sdk, tmp_path):
    script = """
import otel_kfs, pickle
model = Model("m")
otel_kfs.configure("a parent", traces_file="traces.jsonl")
open("model.pickle", "wb").write(pickle.dumps(otel_kfs.trace_model(model, role="predictor")))
print(json.dumps(True))
"""
    assert run(sdk, script) is True
    script = f"""
import json, pickle, signal, sys, {sdk}
model = pickle.load(open("model.pickle", "rb"))
default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
print(json.dumps([model.name, default, [name for name in sys.modules if name.startswith("otel_kfs")]]))
"""
    assert printed_json(script) == ["m", True, []]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_what_is_changed_keeps_its_signature_and_its_kind(sdk):
    script = """
import inspect, otel_kfs
def looks():
    found = {k: v.__get__(None, object) for k, v in everything(sdk).items() if hasattr(type(v), "__get__")}
    contrib = ("httpx", "httpclient", "BackgroundTask")  # changed by OpenTelemetry's instrumentations
    return {k: [str(inspect.signature(v)), inspect.iscoroutinefunction(v)] for k, v in found.items()
            if inspect.isfunction(v) and not any(name in k for name in contrib)}
before = looks()
instrumentor(sdk).instrument()
otel_kfs.trace_model(Model("m"))
after = looks()
print(json.dumps([len(before) > 5, {k: [before[k], after.get(k)] for k in before if before[k] != after.get(k)}]))
"""
    assert run(sdk, script) == [True, {}]


@pytest.mark.parametrize("sdk", [KFSERVING, KSERVE])
def test_uninstrument_leaves_what_others_have_put_around_ours_and_takes_ours_out_of_it(sdk):
    script = """
import wrapt, otel_kfs
called = []
def theirs(wrapped, instance, args, kwargs):
    called.append("theirs")
    return wrapped(*args, **kwargs)
if sdk == "kfserving":
    from kfserving.kfmodel_repository import KFModelRepository as Repository
else:
    from kserve.model_repository import ModelRepository as Repository
ours = instrumentor(sdk)
ours.instrument()
Model("m")
wrapt.wrap_function_wrapper(Repository, "update", theirs)
ours.uninstrument()
model = Model("m")
register(model)
print(json.dumps([called, is_traced(model)]))
"""
    assert run(sdk, script) == [["theirs"], False]


@pytest.mark.kfserving
def test_any_tornado_application_is_asked_for_its_handlers_as_without_tracing():
    script = """
import kfserving, otel_kfs, tornado.httputil, tornado.web
def asked(app, path, *args, **kwargs):
    connection = type("Connection", (), {"context": None, "set_close_callback": lambda *_: None})()
    start = tornado.httputil.RequestStartLine("GET", path, "HTTP/1.1")
    headers = tornado.httputil.HTTPHeaders({"Host": "a"})
    request = tornado.httputil.HTTPServerRequest(connection=connection, start_line=start, headers=headers)
    try:
        delegate = app.get_handler_delegate(request, *args, **kwargs)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return [delegate.handler_class.__name__, delegate.handler_kwargs, delegate.path_kwargs]
def all_asked():
    app, handler = tornado.web.Application(), tornado.web.RequestHandler
    return [asked(app, "/x", handler), asked(app, "/metrics", handler, {"a": 1}, path_kwargs={"b": b"2"}),
            asked(app, "/metrics", target_class=handler, target_kwargs={"a": 1}), asked(app, "/x", wrong=1)]
before = all_asked()
otel_kfs.trace_model(kfserving.KFModel("m"))
print(json.dumps([before, all_asked()], default=repr))
"""
    before, traced = run("kfserving", script)
    assert before == traced
    assert [found[0] for found in before] == ["RequestHandler"] * 3 + ["TypeError"]


@pytest.mark.parametrize(
    ("name", "instrumentor"),
    [("otel_kfs_kfserving", "KFServingInstrumentor"), ("otel_kfs_kserve", "KServeInstrumentor")],
)
def test_opentelemetry_instrument_finds_it_by_its_entry_point(name, instrumentor):
    from importlib.metadata import entry_points

    (entry,) = entry_points(group="opentelemetry_instrumentor", name=name)
    assert entry.load().__name__ == instrumentor
    assert entry.load()().instrumentation_dependencies()[0].startswith(name.removeprefix("otel_kfs_"))
