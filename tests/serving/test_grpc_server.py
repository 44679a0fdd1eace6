"""KServe over gRPC: the server's span, and the call from transformer to predictor; and binary tensors over HTTP."""

import uuid
from contextlib import contextmanager

import pytest
from contract import EXPORT, INSTRUMENTED, NO_EXPORTERS, STEPS, Servers, is_ready, shape
from listening_support import addresses_of_port
from support import CLIENT, ERROR, LIMIT, SERVER, printed_json, wait_until

from otel_kfs import semconv
from otel_kfs.demo.processes import Processes, free_port, python

pytestmark = pytest.mark.kserve

MODELS = (
    EXPORT
    + """
import argparse, grpc.aio, kserve
from kserve.errors import InvalidInput
from kserve.predictor_config import PredictorConfig

# KServe's gRPC server listens on every interface; grpc does not use Python's sockets, which the demo's loopback minds.
add = grpc.aio._server.Server.add_insecure_port
grpc.aio._server.Server.add_insecure_port = lambda self, address: add(self, address.replace("[::]", "127.0.0.1"))

class Doubles(kserve.Model):
    async def predict(self, payload, headers=None):
        if self.name == "refuses":
            raise InvalidInput("no picture")
        if self.name == "fails":
            raise ZeroDivisionError("broken")
        outputs = [kserve.InferOutput(i.name, i.shape, i.datatype, [2 * x for x in i.as_numpy().ravel().tolist()])
                   for i in payload.inputs]
        return kserve.InferResponse(payload.id, self.name, outputs)

class Transformer(kserve.Model):
    pass

parser = argparse.ArgumentParser(parents=[kserve.model_server.parser])
parser.add_argument("--plain", action="store_true")
args, _ = parser.parse_known_args()
models = [(Transformer if args.predictor_host else Doubles)(name) for name in ("sync", "refuses", "fails")]
for model in models:
    model.load()
    if not args.plain:
        import otel_kfs
        otel_kfs.trace_model(model)
if args.plain:
    export()
else:
    otel_kfs.configure("a-model")
config = PredictorConfig(args.predictor_host, args.predictor_protocol) if args.predictor_host else None
kserve.ModelServer(predictor_config=config).start(models)
"""
)

METHOD = "inference.GRPCInferenceService/ModelInfer"


@contextmanager
def running(folder, command):
    """A predictor and a transformer, both asked and asking over gRPC, with their ports for it."""
    (folder / "models.py").write_text(MODELS)
    servers = Servers(folder / "traces")
    ports = {"predictor": free_port(), "transformer": free_port(), "plain": free_port()}
    to_predictor = ["--predictor_host", f"127.0.0.1:{ports['predictor']}", "--predictor_protocol", "grpc-v2"]
    with Processes(folder / "logs") as processes:
        for server, before, own in [
            (servers.predictor, command, []),
            (servers.transformer, command, to_predictor),
            (servers.plain, [], ["--plain"]),
        ]:
            options = ["--http_port", str(server.port), "--grpc_port", str(ports[server.service]), *own]
            options += ["--plain"] if command and server is not servers.plain else []
            script = ["-m", "otel_kfs.demo.loopback", str(folder / "models.py"), "--event-loop", "asyncio"]
            environment = {
                **NO_EXPORTERS,
                "OTEL_KFS_TRACES_FILE": str(servers.traces / f"{server.service}.jsonl"),
                "OTEL_SERVICE_NAME": server.service,
            }
            processes.start(server.service, [*before, *python(*script, *options)], environment)
        for server in (servers.predictor, servers.transformer, servers.plain):
            processes.wait_until(server.service, lambda server=server: is_ready(server), LIMIT)
        yield servers, ports


@pytest.fixture(scope="module", params=[[], INSTRUMENTED], ids=["trace_model", "opentelemetry-instrument"])
def grpc_servers(request, tmp_path_factory):
    with running(tmp_path_factory.mktemp("grpc"), request.param) as found:
        yield found


@pytest.fixture(scope="module")
def servers(grpc_servers):
    return grpc_servers[0]


def message(model):
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

    tensor = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype="FP32", shape=[2], contents=pb.InferTensorContents(fp32_contents=[1.0, 2.0])
    )
    return pb.ModelInferRequest(id="1", model_name=model, inputs=[tensor])


@pytest.fixture(scope="module")
def infer(grpc_servers):
    """Asks a server over gRPC; returns the numbers that it answers, or the status and its details."""
    import grpc
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    def ask(service, model, trace_id=None):
        metadata = [("traceparent", f"00-{trace_id}-00000000000000a1-01")] if trace_id else []
        with grpc.insecure_channel(f"127.0.0.1:{grpc_servers[1][service]}") as channel:
            stub = GRPCInferenceServiceStub(channel)
            try:
                answer = stub.ModelInfer(message(model), metadata=metadata, timeout=30, wait_for_ready=True)
            except grpc.RpcError as error:
                return error.code().name, error.details()
        return [number for output in answer.outputs for number in output.contents.fp32_contents]

    return ask


def trace_of(servers, trace_id, services):
    """A trace's spans, once each of the services has written its SERVER span."""

    def written():
        spans = [span for span in read(servers) if span.trace_id == trace_id]
        return spans if {span.service for span in spans if span.kind == SERVER} == services else None

    return wait_until("the spans of a call", written)


def read(servers):
    from support import read_traces

    return read_traces(servers.traces)


def test_a_call_has_one_server_span_in_the_caller_s_trace_and_the_model_s_steps(servers, infer, trace_id):
    assert infer("predictor", "sync", trace_id) == [2.0, 4.0]
    spans = trace_of(servers, trace_id, {"predictor"})
    assert shape(spans) == STEPS
    (server,) = [span for span in spans if span.kind == SERVER]
    assert server.parent_id == "00000000000000a1"
    assert {span.parent_id for span in spans if span is not server} == {server.span_id}


def test_decode_starts_a_microsecond_after_receive_ends_which_tells_the_message_s_size(servers, infer, trace_id):
    infer("predictor", "sync", trace_id)
    spans = {span.name: span for span in trace_of(servers, trace_id, {"predictor"})}
    assert int(spans["receive"].attributes[semconv.HTTP_REQUEST_BODY_SIZE]) == message("sync").ByteSize()
    assert spans["receive"].start <= spans["receive"].end < spans["decode"].start <= spans["decode"].end
    assert spans["decode"].start == spans["receive"].end + 1_000


def test_the_context_reaches_the_predictor_over_grpc(servers, infer, trace_id):
    assert infer("transformer", "sync", trace_id) == [2.0, 4.0]
    spans = trace_of(servers, trace_id, {"transformer", "predictor"})
    (call,) = [span for span in spans if span.kind == CLIENT]
    (predict,) = [span for span in spans if span.name == "predict" and span.service == "transformer"]
    (arrival,) = [span for span in spans if span.service == "predictor" and span.kind == SERVER]
    assert (call.service, call.parent_id, arrival.parent_id) == ("transformer", predict.span_id, call.span_id)


@pytest.mark.parametrize("service", ["predictor", "transformer"])
@pytest.mark.parametrize("model", ["refuses", "fails", "no-such"])
def test_a_failure_keeps_its_status_and_marks_the_server_s_span_if_it_is_the_server_s(servers, infer, service, model):
    trace_id = uuid.uuid4().hex
    answer = infer(service, model, trace_id)
    if service == "predictor":
        assert answer == infer("plain", model)
    spans = trace_of(servers, trace_id, {service} if model == "no-such" else {"predictor", service})
    (server,) = [span for span in spans if span.service == service and span.kind == SERVER]
    client_errors = {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert (server.status == ERROR) is (answer[0] not in client_errors)


def test_an_exception_is_recorded_once_on_the_innermost_span(servers, infer, trace_id):
    infer("transformer", "fails", trace_id)
    spans = trace_of(servers, trace_id, {"transformer", "predictor"})
    assert [(s.service, s.name, s.events) for s in spans if "exception" in s.events] == [
        ("predictor", "predict", ("exception",))
    ]


@pytest.mark.parametrize(("model", "by_the_server"), [("no-such", True), ("refuses", False)])
def test_a_client_s_error_is_recorded_once_where_it_was_raised(servers, infer, trace_id, model, by_the_server):
    infer("predictor", model, trace_id)
    spans = trace_of(servers, trace_id, {"predictor"})
    assert [(span.kind == SERVER, span.events) for span in spans if span.events] == [(by_the_server, ("exception",))]


def test_a_call_without_a_trace_starts_one(servers, infer):
    before = {span.trace_id for span in read(servers)}
    infer("predictor", "sync")

    def new():
        return [span for span in read(servers) if span.trace_id not in before and span.kind == SERVER]

    (server,) = wait_until("the span of a call", new)
    assert (server.service, server.parent_id) == ("predictor", "")


@pytest.mark.parametrize("content_type", ["application/octet-stream"])
def test_binary_tensors_over_http_are_answered_as_by_the_untraced_server(servers, trace_id, content_type):
    import numpy as np
    from kserve import InferInput, InferRequest

    tensor = InferInput("x", [2], "FP32")
    tensor.set_data_from_numpy(np.array([1.0, 2.0], np.float32), binary_data=True)
    body, json_size = InferRequest("sync", [tensor], request_id="1").to_rest()
    headers = {"Content-Type": content_type, "Inference-Header-Content-Length": str(json_size)}
    ask = ("POST", "/v2/models/sync/infer", body, trace_id, headers)
    expected = servers.plain.ask(*ask)
    assert expected[0] == 200
    assert servers.predictor.ask(*ask) == expected
    spans = trace_of(servers, trace_id, {"predictor"})
    assert shape(spans) == STEPS
    (receive,) = [span for span in spans if span.name == "receive"]
    assert int(receive.attributes[semconv.HTTP_REQUEST_BODY_SIZE]) == len(body)


def test_the_servers_listen_on_127_0_0_1_only(grpc_servers):
    assert [addresses_of_port(port) for port in grpc_servers[1].values()] == [{"127.0.0.1"}] * 3


BESIDE_CONTRIB = """
import asyncio, json
from collections import Counter
import grpc, kserve, otel_kfs
from kserve.model_repository import ModelRepository
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb, grpc_predict_v2_pb2_grpc, server
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorServer
from opentelemetry.sdk.trace import RandomIdGenerator, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

class TakenInTurn(RandomIdGenerator):
    # Of every two traces a ratio of a half takes the first.
    made = 0
    def generate_trace_id(self):
        self.made += 1
        return self.made if self.made % 2 else 2**64 - self.made

def set_up(**settings):
    spans, provider = InMemorySpanExporter(), TracerProvider(**settings)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    return spans

class Echo(kserve.Model):
    async def predict(self, payload, headers=None):
        return kserve.InferResponse(payload.id, self.name, [])

async def with_stub(ask, *first):
    model, models = Echo("m"), ModelRepository()
    model.load()
    models.update(otel_kfs.trace_model(model))
    interceptors = (*first, server.LoggingInterceptor(), server.ExceptionToStatusInterceptor())
    answering = server.aio.server(interceptors=interceptors)
    servicer = server.InferenceServicer(DataPlane(models), ModelRepositoryExtension(models))
    grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, answering)
    port = answering.add_insecure_port("127.0.0.1:0")
    await answering.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await ask(grpc_predict_v2_pb2_grpc.GRPCInferenceServiceStub(channel))
    await answering.stop(None)
"""


@pytest.mark.parametrize("contrib", ["GrpcAioInstrumentorServer().instrument()", ""])
def test_a_call_that_another_instrumentation_s_sampler_dropped_is_not_sampled_again(contrib):
    script = """
async def ask(stub):
    for _ in range(10):
        await stub.ModelInfer(pb.ModelInferRequest(id="1", model_name="m"))

spans = set_up(sampler=ParentBased(TraceIdRatioBased(0.5)), id_generator=TakenInTurn())
asyncio.run(with_stub(ask))
done = spans.get_finished_spans()
servers = sum(span.kind is trace.SpanKind.SERVER for span in done)
print(json.dumps([servers, Counter(span.name for span in done)["predict"], len({s.context.trace_id for s in done})]))
"""
    assert printed_json(f"{BESIDE_CONTRIB}\n{contrib}\n{script}") == [5, 5, 5]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("provider", ["the global one", "the server's own"])
def test_an_explicit_interceptor_of_contrib_makes_the_one_server_span_with_all_below(provider, place):
    script = f"""
from opentelemetry.instrumentation.grpc import aio_server_interceptor

class Other(grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation, details):
        return await continuation(details)

async def ask(stub):
    await stub.ServerLive(pb.ServerLiveRequest())
    await stub.ModelInfer(pb.ModelInferRequest(id="1", model_name="m"))

spans, own = set_up(), InMemorySpanExporter()
provider = None
if {provider!r} == "the server's own":
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(own))
    spans = own
interceptors = [Other(), Other()]
interceptors[{place}] = aio_server_interceptor(tracer_provider=provider)
asyncio.run(with_stub(ask, *interceptors))
done = spans.get_finished_spans()
names = {{span.context.span_id: span.kind.name for span in done}}
print(json.dumps([[span.name, span.kind.name, span.parent and names[span.parent.span_id]] for span in done]))
"""
    steps = [[name, "INTERNAL", "SERVER"] for name in STEPS[1:]]
    server = ["/inference.GRPCInferenceService/ModelInfer", "SERVER", None]
    assert printed_json(f"{BESIDE_CONTRIB}\n{script}") == [*steps, server]


def test_a_span_in_which_the_server_was_started_is_no_call_s_parent():
    script = """
async def ask(stub):
    await stub.ModelInfer(pb.ModelInferRequest(id="1", model_name="m"))

spans = set_up()
with trace.get_tracer("a test").start_as_current_span("main"):
    asyncio.run(with_stub(ask))
print(json.dumps([s.parent for s in spans.get_finished_spans() if s.kind is trace.SpanKind.SERVER]))
"""
    assert printed_json(BESIDE_CONTRIB + script) == [None]


def test_health_and_metadata_calls_make_no_spans_beside_another_instrumentation():
    script = """
async def ask(stub):
    for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata"):
        request = getattr(pb, f"{name}Request")()
        if name.startswith("Model"):
            request.name = "m"
        await getattr(stub, name)(request)
    await stub.ModelInfer(pb.ModelInferRequest(id="1", model_name="m"))

GrpcAioInstrumentorServer().instrument()
spans = set_up()
asyncio.run(with_stub(ask))
print(json.dumps([s.name for s in spans.get_finished_spans() if s.kind is trace.SpanKind.SERVER]))
"""
    assert printed_json(BESIDE_CONTRIB + script) == ["/inference.GRPCInferenceService/ModelInfer"]


STATUSES = """
import asyncio, json, time
import grpc, otel_kfs
from grpc import StatusCode, aio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_kfs.serving.kserve.grpc_server import METHOD, Interceptor

spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
service, _, name = METHOD.partition("/")

class Unprintable(Exception):
    def __str__(self): raise RuntimeError("no text")

async def answer(request, context):
    if request == b"abort": await context.abort(StatusCode.NOT_FOUND, "none")
    if request == b"abort by the server": await context.abort(StatusCode.UNAVAILABLE, "none")
    if request.startswith(b"set"): context.set_code(StatusCode.INVALID_ARGUMENT); context.set_details("no picture")
    if request == b"number": context.set_code(5)
    if request == b"set and raise": raise ValueError("broken")
    if request == b"raise": raise ValueError("broken")
    if request == b"unprintable": raise Unprintable
    if request == b"late": await asyncio.sleep(60)
    if request == b"blocked": time.sleep(1)
    return type(context).__name__.encode()

def decode(message):
    if message == b"undecodable": raise ValueError("no message")
    return message

async def statuses(*interceptors):
    # A status, its details and the answer of each request.
    found = {}
    answering = aio.server(interceptors=interceptors)
    handler = grpc.unary_unary_rpc_method_handler(answer, decode)
    answering.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {name: handler})])
    port = answering.add_insecure_port("127.0.0.1:0")
    await answering.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for request in REQUESTS:
            seconds = 0.5 if request in ("late", "blocked", "unprintable") else 60
            call = channel.unary_unary(f"/{METHOD}")(request.encode(), timeout=seconds)
            try:
                found[request] = ["OK", "", (await call).decode()]
            except grpc.RpcError as error:
                found[request] = [error.code().name, error.details(), None]
            if interceptors:
                while len(spans.get_finished_spans()) < 2 * len(found):
                    await asyncio.sleep(0.01)
    await answering.stop(None)
    return found

plain, traced = asyncio.run(statuses()), asyncio.run(statuses(Interceptor()))
servers = [s for s in spans.get_finished_spans() if s.kind is trace.SpanKind.SERVER]
seen = [[s.attributes["rpc.response.status_code"], s.status.status_code.name, len(s.events)] for s in servers]
print(json.dumps([plain == traced, {r: [traced[r][0], *span] for r, span in zip(REQUESTS, seen)}]))
"""


def test_a_call_is_answered_as_without_a_span_and_the_span_has_the_status_that_the_caller_gets():
    expected = {
        "well": ["OK", "UNSET", 0],
        "abort": ["NOT_FOUND", "UNSET", 1],
        "abort by the server": ["UNAVAILABLE", "ERROR", 1],
        "set": ["INVALID_ARGUMENT", "UNSET", 0],
        "number": ["NOT_FOUND", "UNSET", 0],
        "set and raise": ["INVALID_ARGUMENT", "UNSET", 1],
        "raise": ["UNKNOWN", "ERROR", 1],
        "late": ["DEADLINE_EXCEEDED", "ERROR", 0],
        "blocked": ["DEADLINE_EXCEEDED", "ERROR", 0],
        "undecodable": ["UNKNOWN", "ERROR", 1],
    }
    same, found = printed_json(f"REQUESTS = {list(expected)}\n{STATUSES}")
    assert same
    assert found == {request: [code, code, *span] for request, (code, *span) in expected.items()}


def test_the_span_of_a_call_ends_though_its_exception_can_t_be_described():
    # gRPC itself gives no answer then.
    same, found = printed_json(f"REQUESTS = ['unprintable']\n{STATUSES}")
    assert (same, found) == (True, {"unprintable": ["DEADLINE_EXCEEDED", "UNKNOWN", "ERROR", 1]})
