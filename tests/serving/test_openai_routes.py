"""KServe's OpenAI routes, with vLLM's types or their stand-ins: what is answered, and the spans of it."""

import http.client
import json
import re
import uuid

import pytest
from contract import EXPORT, INSTRUMENTED, NO_EXPORTERS, Server, answered, traceparent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import ERROR, EXAMPLE, LIMIT, SERVER, read_traces, wait_until

from otel_kfs import semconv
from otel_kfs.demo.processes import Processes, python

pytestmark = pytest.mark.kserve

MODELS = f"""
{EXPORT}
import asyncio, builtins, json, os, sys
sys.path.insert(0, {str(EXAMPLE)!r})
import vllm_types
vllm_types.install()
import kserve
from kserve.errors import InvalidInput
from kserve.protocol.rest.openai import *
from kserve.protocol.rest.openai.errors import OpenAIError, create_error_response
from kserve.protocol.rest.openai.types import *

USAGE = dict(prompt_tokens=3, completion_tokens=2, total_tokens=5)

class Writes(OpenAIGenerativeModel):
    async def create_completion(self, request, raw_request=None, context=None):
        if request.prompt == "refuse": raise InvalidInput("not that")
        if request.prompt == "error": raise OpenAIError(create_error_response("no room for that prompt"))
        if request.prompt == "answer an error": return create_error_response("no room for that prompt")
        if request.stream: return self.pieces(request, CompletionChunk, "text")
        choice = CompletionChoice(index=0, text="hello", finish_reason="length")
        return Completion(model=self.name, choices=[choice], usage=UsageInfo(**USAGE))

    async def create_chat_completion(self, request, raw_request=None, context=None):
        if request.stream: return self.pieces(request, ChatCompletionChunk, "delta")
        said = ChatMessage(role="assistant", content=str(len(request.messages)))
        choices = [ChatCompletionChoice(index=0, message=said)]
        return ChatCompletion(model=self.name, choices=choices, usage=UsageInfo(**USAGE))

    async def pieces(self, request, chunk, field):
        plan = json.loads(request.user or "{{}}")
        saw, number = None, -1
        try:
            async for piece in self.planned(request, chunk, field, plan):
                number += 1
                yield piece
        except BaseException as error:
            saw = type(error).__name__
            raise
        finally:
            if "key" in plan:
                with open(os.environ["SEEN"], "a") as file:
                    file.write(json.dumps([plan["key"], number, saw]) + "\\n")

    async def planned(self, request, chunk, field, plan):
        count = 3 if request.max_tokens is None else request.max_tokens
        for number in range(count):
            if number == plan.get("breaks"): raise getattr(builtins, plan["with"])("broken")
            if number == plan.get("waits"): await asyncio.Event().wait()
            if number == 0 or count < 100: await asyncio.sleep(0.001)
            said = dict(text="word ") if field == "text" else dict(delta=ChoiceDelta(content="word "))
            choice = (CompletionChunkChoice if field == "text" else ChunkChoice)(index=0, **said)
            yield f"data: {{chunk(id='1', model=self.name, choices=[choice]).model_dump_json()}}\\n\\n"
        usage = UsageInfo(prompt_tokens=3, completion_tokens=count, total_tokens=3 + count)
        yield f"data: {{chunk(id='1', model=self.name, choices=[], usage=usage).model_dump_json()}}\\n\\n"
        yield "data: [DONE]\\n\\n"

class Iterator:
    def __init__(self, model): self.model, self.number = model, -1
    def __aiter__(self): return self
    async def __anext__(self):
        await asyncio.sleep(0.001)
        self.number += 1
        if self.number == 3: raise StopAsyncIteration
        return f"{{self.number}};"

class Generator(Iterator):  # one that KServe's OpenAI routes stream, too
    async def asend(self, value): return await self.__anext__()
    async def athrow(self, *error): raise error[0]
    async def aclose(self): pass

class Iterates(OpenAIGenerativeModel):
    async def create_completion(self, request, raw_request=None, context=None):
        return (Generator if request.stream else Iterator)(self.name)
    async def create_chat_completion(self, request, raw_request=None, context=None): raise NotImplementedError

class Later(OpenAIGenerativeModel):
    def create_completion(self, request, raw_request=None, context=None):
        return asyncio.ensure_future(self.later(request))
    async def create_chat_completion(self, request, raw_request=None, context=None): raise NotImplementedError

    async def later(self, request):
        await asyncio.sleep(0.001)
        if request.prompt == "refuse": raise InvalidInput("not that")
        return Completion(model=self.name, choices=[], usage=UsageInfo(**USAGE))

class Chats(OpenAIChatAdapterModel):
    def apply_chat_template(self, request): return ChatPrompt(prompt="template")
    create_completion, pieces, planned = Writes.create_completion, Writes.pieces, Writes.planned

class Encodes(OpenAIEncoderModel):
    async def create_embedding(self, request, raw_request=None, context=None):
        data = [EmbeddingResponseData(index=0, embedding=[0.5])]
        return Embedding(id="1", model=self.name, data=data, usage=UsageInfo(prompt_tokens=3, total_tokens=3))

    async def create_rerank(self, request, raw_request=None, context=None):
        return Rerank(id="1", model=self.name, results=[], usage=dict(prompt_tokens=3, total_tokens=3))

class Streams(kserve.Model):
    async def predict(self, payload, headers=None):
        async def pieces():
            for number in range(3):
                await asyncio.sleep(0.001)
                yield f"{{number}};"
        return pieces()

class IteratesV1(kserve.Model):
    async def predict(self, payload, headers=None): return Iterator(self.name)

class Unprintable(Exception):
    def __str__(self): raise RuntimeError("no text")

class Fails(kserve.Model):
    def predict(self, payload, headers=None): raise Unprintable

class Gathers(Streams):
    async def postprocess(self, pieces, headers=None):
        data = [piece async for piece in pieces]
        output = dict(name="o", shape=[len(data)], datatype="BYTES", data=data)
        return dict(id="1", model_name=self.name, outputs=[output])

class Marks(kserve.Model):
    async def predict(self, payload, headers=None):
        for number in range(3): yield f"{{number}};"

    async def postprocess(self, pieces, headers=None):
        async for piece in pieces: yield f"<{{piece}}>"

class Blocks(kserve.Model):
    def predict(self, payload, headers=None):
        yield "0;"

if __name__ == "__main__":
    models = [Writes("writes"), Chats("chats"), Encodes("encodes")]
    models += [Streams("streams"), Gathers("gathers"), Marks("marks"), Blocks("blocks")]
    models += [Iterates("iterates"), Later("later"), IteratesV1("iterates-v1"), Fails("fails")]
    unready = Writes("unready")
    unready.ready = False
    for model in models: model.load()
    server = kserve.ModelServer()
    server.register_model(models[0], "alias")
    if "--trace" in sys.argv:
        sys.argv.remove("--trace")
        import otel_kfs
        for model in [*models, unready]: otel_kfs.trace_model(model)
        otel_kfs.configure("a-model")
    else:
        export()
    server.start([*models, unready])
"""


@pytest.fixture(scope="module", params=[[], INSTRUMENTED], ids=["trace_model", "opentelemetry-instrument"])
def started(request, tmp_path_factory):
    """The traced server, the untraced one, and where the spans go."""
    folder = tmp_path_factory.mktemp("openai")
    (folder / "models.py").write_text(MODELS)
    traced, plain = Server("traced"), Server("plain")
    environment = {
        **NO_EXPORTERS,
        "OTEL_KFS_TRACES_FILE": f"{folder}/traces/t.jsonl",
        "OTEL_SERVICE_NAME": "traced",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
    }
    run = ["-m", "otel_kfs.demo.loopback", str(folder / "models.py")]
    options = ["--enable_grpc", "false", "--event-loop", "asyncio", "--http_port"]
    with Processes(folder / "logs") as processes:
        own = [] if request.param else ["--trace"]
        environment |= {"SEEN": f"{folder}/traced.seen"}
        processes.start("traced", [*request.param, *python(*run, *own, *options, str(traced.port))], environment)
        processes.start("plain", python(*run, *options, str(plain.port)), {"SEEN": f"{folder}/plain.seen"})
        for server in (traced, plain):
            processes.wait_until(server.service, lambda server=server: is_ready(server), LIMIT)
        yield traced, plain, folder / "traces"


def is_ready(server):
    try:
        return server.ask("GET", "/openai/v1/models/writes")[0] == 200
    except OSError:
        return False


@pytest.fixture
def traces(started):
    """The spans of one trace, once its SERVER span has been written, by their starts."""

    def read(trace_id, count=1):
        def written():
            spans = [span for span in read_traces(started[2]) if span.trace_id == trace_id]
            return spans if sum(span.kind == SERVER for span in spans) == count else []

        return wait_until("a trace", written)

    return read


def ask(server, route, body, trace_id=None):
    """Status, headers and body of an answer, without what differs from one to the next."""
    headers = {"Content-Type": "application/json", **({"traceparent": traceparent(trace_id)} if trace_id else {})}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, headers, answer = answered(server.port, "POST", f"/openai/v1/{route}", content, headers)
    kept = [(name, value) for name, value in headers if name.lower() != "date"]
    return status, kept, re.sub(rb'"(id|created|request_id)":\s*("[^"]*"|\d+)', b"", answer)


CHAT = {"model": "writes", "messages": [{"role": "user", "content": "hi"}]}
PICTURE = [
    {"type": "text", "text": "a secret"},
    {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/"}},
]
WITH_PICTURE = {"model": "writes", "messages": [{"role": "user", "content": PICTURE}], "max_completion_tokens": 7}


def attributes_of(span):
    """An OpenAI call's attributes, without those that differ from one call to the next."""
    varies = {semconv.GEN_AI_RESPONSE_ID, semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK}
    found = {key: value for key, value in span.attributes.items() if key not in varies}
    if reasons := found.pop(semconv.GEN_AI_RESPONSE_FINISH_REASONS, None):
        found[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = [value["stringValue"] for value in reasons["values"]]
    return found


def shared(operation, model):
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "kserve",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "otel_kfs.model.name": model,
        "otel_kfs.role": "predictor",
        "gen_ai.usage.input_tokens": "3",
    }


CALLS = {
    "completions": (
        "completions",
        {"model": "writes", "prompt": "hi", "max_tokens": 5, "temperature": 0.5, "n": 2},
        "text_completion writes",
        {
            "gen_ai.request.max_tokens": "5",
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.choice.count": "2",
            "gen_ai.usage.output_tokens": "2",
            "gen_ai.response.finish_reasons": ["length"],
        },
    ),
    "chat": (
        "chat/completions",
        WITH_PICTURE,
        "chat writes",
        {
            "gen_ai.request.max_tokens": "7",
            "gen_ai.usage.output_tokens": "2",
            "gen_ai.response.finish_reasons": ["stop"],
        },
    ),
    "chat, streamed": (
        "chat/completions",
        {**CHAT, "stream": True},
        "chat writes",
        {"gen_ai.request.stream": True, "gen_ai.usage.output_tokens": "3", "otel_kfs.response.chunks": "4"},
    ),
    "chat by way of a completion": (
        "chat/completions",
        {**CHAT, "model": "chats"},
        "chat chats",
        {"gen_ai.usage.output_tokens": "2", "gen_ai.response.finish_reasons": ["length"]},
    ),
    "embeddings": ("embeddings", {"model": "encodes", "input": "hi"}, "embeddings encodes", {}),
    "rerank": ("rerank", {"model": "encodes", "query": "hi", "documents": ["a"]}, "rerank encodes", {}),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_is_a_span_below_the_server_s_as_the_conventions_name_it(started, traces, trace_id, call):
    route, body, name, attributes = CALLS[call]
    assert ask(started[0], route, body, trace_id)[0] == 200
    spans = traces(trace_id)
    (server,) = (span for span in spans if span.kind == SERVER)
    steps = [span for span in spans if span is not server]
    assert [span.name for span in steps] == ["receive", "decode", name]
    assert {span.parent_id for span in steps} == {server.span_id}
    assert attributes_of(steps[2]) == shared(*name.split()) | attributes
    # `decode` begins a microsecond after `receive` ends, as in all servers.
    assert (steps[1].start - steps[0].end, steps[1].end <= steps[2].start) == (1_000, True)


def test_neither_prompt_nor_picture_nor_answer_is_anywhere_in_the_spans(started, traces, trace_id):
    ask(started[0], "chat/completions", WITH_PICTURE, trace_id)
    traces(trace_id)
    written = "".join(path.read_text() for path in started[2].iterdir())
    assert not {text for text in ("a secret", "/9j/", "base64") if text in written}


@pytest.mark.parametrize("model", ["writes", "chats"])
def test_a_streamed_answer_tells_when_its_first_piece_was_there(started, traces, trace_id, model):
    ask(started[0], "chat/completions", {**CHAT, "model": model, "stream": True}, trace_id)
    spans = traces(trace_id)
    call = next(span for span in spans if span.name == f"chat {model}")
    (server,) = (span for span in spans if span.kind == SERVER)
    assert 0 < call.attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] * 1e9 < call.end - call.start
    assert call.end <= server.end


def test_a_v1_model_s_predict_lasts_until_its_last_piece(started, traces, trace_id):
    status, answer = started[0].predict("streams", trace_id)
    assert (status, answer) == (200, b"0;1;2;")
    predict = next(span for span in traces(trace_id) if span.name == "predict")
    assert predict.attributes[semconv.RESPONSE_CHUNKS] == "3"
    assert 0 < predict.attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] * 1e9 < predict.end - predict.start


V1, V2 = "/v1/models/{}:predict", "/v2/models/{}/infer"
V1_BODY = {"instances": [1]}
V2_BODY = {"id": "1", "inputs": [{"name": "i", "shape": [1], "datatype": "INT64", "data": [1]}]}
STREAMED, UNREAD, SHORT = ("3", None), ("0", "GeneratorExit"), (None, None)


@pytest.mark.parametrize(
    ("model", "path", "status", "predict", "postprocess"),
    [
        ("streams", V1, 200, STREAMED, SHORT),
        ("marks", V1, 200, STREAMED, STREAMED),
        ("gathers", V1, 200, STREAMED, SHORT),
        ("iterates-v1", V1, 200, SHORT, SHORT),  # an iterator is no generator
        ("gathers", V2, 200, STREAMED, SHORT),
        # KServe 0.21's own V2 route knows no answers in pieces, nor does its V1 route if they are not asynchronous.
        ("streams", V2, 500, UNREAD, SHORT),
        ("marks", V2, 500, UNREAD, UNREAD),
        ("blocks", V1, 500, UNREAD, SHORT),
        ("blocks", V2, 500, UNREAD, SHORT),
    ],
)
def test_a_generator_is_answered_as_without_us_and_its_steps_say_what_became_of_it(
    started, traces, trace_id, model, path, status, predict, postprocess
):
    asked = path.format(model), json.dumps(V1_BODY if path == V1 else V2_BODY).encode()
    traced, plain = (server.ask("POST", *asked, trace_id=trace_id) for server in started[:2])
    where = rb" at 0x[0-9a-f]+"
    assert (traced[0], re.sub(where, b"", traced[1])) == (status, re.sub(where, b"", plain[1]))

    def written():  # what is never read ends when it is dropped, which may be after the answer
        spans = {span.name: span.attributes for span in traces(trace_id)}
        return (
            [spans[name] for name in ("predict", "postprocess")] if {"predict", "postprocess"} <= spans.keys() else []
        )

    told = dict(zip(("predict", "postprocess"), wait_until("both steps", written), strict=True))
    assert {name: (of.get(semconv.RESPONSE_CHUNKS), of.get("error.type")) for name, of in told.items()} == {
        "predict": predict,
        "postprocess": postprocess,
    }


@pytest.mark.parametrize(
    ("prompt", "error_type", "events"),
    [("refuse", "InvalidInput", 1), ("error", "OpenAIError", 1), ("answer an error", "400", 0)],
)
def test_a_refused_call_is_marked(started, traces, trace_id, prompt, error_type, events):
    body = {"model": "writes", "prompt": prompt}
    assert ask(started[0], "completions", body, trace_id) == ask(started[1], "completions", body)
    call = next(span for span in traces(trace_id) if span.name == "text_completion writes")
    assert (call.status, call.attributes["error.type"], len(call.events)) == (ERROR, error_type, events)


@pytest.mark.parametrize("streams", [True, False])
def test_an_iterator_that_is_no_generator_is_answered_as_without_us(started, traces, trace_id, streams):
    # KServe's own route writes down what such an object holds if it can't be streamed.
    body = {"model": "iterates", "prompt": "hi", "stream": streams}
    assert ask(started[0], "completions", body, trace_id) == ask(started[1], "completions", body)
    call = next(span for span in traces(trace_id) if span.name == "text_completion iterates")
    chunks = "3" if streams else None
    assert (call.attributes.get(semconv.RESPONSE_CHUNKS), call.attributes.get("error.type")) == (chunks, None)


@pytest.mark.parametrize(("prompt", "told"), [("hi", (None, "2")), ("refuse", ("InvalidInput", None))])
def test_a_call_that_a_task_answers_is_what_the_task_is(started, traces, trace_id, prompt, told):
    body = {"model": "later", "prompt": prompt}
    assert ask(started[0], "completions", body, trace_id) == ask(started[1], "completions", body)
    call = next(span for span in traces(trace_id) if span.name == "text_completion later")
    assert (call.attributes.get("error.type"), call.attributes.get("gen_ai.usage.output_tokens")) == told


def test_an_exception_that_kserve_can_t_answer_is_answered_by_the_server_as_without_us(started, traces, trace_id):
    asked = "POST", V1.format("fails"), json.dumps(V1_BODY).encode()
    found = [answered(server.port, *asked, {"traceparent": traceparent(trace_id)}) for server in started[:2]]
    assert [(status, dict(headers).get("connection"), body) for status, headers, body in found] == [
        (500, "close", b"Internal Server Error")
    ] * 2
    predict = next(span for span in traces(trace_id) if span.name == "predict")
    assert predict.attributes["error.type"] == "Unprintable"


def test_a_stream_that_breaks_off_is_marked_with_what_broke_it(started, traces, trace_id):
    body = {**CHAT, "stream": True, "user": json.dumps({"breaks": 2, "with": "ZeroDivisionError"})}
    found = []
    for server, wanted in ((started[0], trace_id), (started[1], None)):
        with pytest.raises(http.client.IncompleteRead) as raised:
            ask(server, "chat/completions", body, wanted)
        found.append(re.sub(rb'"created":\d+', b"", raised.value.partial))
    assert found[0] == found[1]
    calls = [span for span in traces(trace_id) if span.name == "chat writes"]
    assert [(call.status, call.attributes["error.type"], call.events) for call in calls] == [
        (ERROR, "ZeroDivisionError", ("exception",))
    ]
    assert calls[0].attributes[semconv.RESPONSE_CHUNKS] == "2"


@pytest.mark.parametrize("pieces", [0, 1])
def test_a_client_that_hangs_up_ends_the_span_once_with_what_happened(started, traces, trace_id, pieces):
    connection = http.client.HTTPConnection("127.0.0.1", started[0].port, timeout=60)
    body = json.dumps({**CHAT, "stream": True, "user": json.dumps({"waits": 2})}).encode()
    headers = {"Content-Type": "application/json", "traceparent": traceparent(trace_id)}
    connection.request("POST", "/openai/v1/chat/completions", body, headers)
    if pieces:
        answer = connection.getresponse()
        assert answer.readline().startswith(b"data:")
        answer.close()
    connection.close()
    calls = [span for span in traces(trace_id) if span.name == "chat writes"]
    assert [(call.status, call.attributes["error.type"] in {"CancelledError", "GeneratorExit"}) for call in calls] == [
        (ERROR, True)
    ]


REQUESTS = st.tuples(
    st.sampled_from(["completions", "chat/completions", "embeddings", "rerank", "none"]),
    st.one_of(
        st.fixed_dictionaries(
            {"model": st.sampled_from(["writes", "chats", "encodes", "streams", "unready", "unknown", None, 3])},
            optional={
                "messages": st.sampled_from([[], CHAT["messages"], WITH_PICTURE["messages"], [{}], "no list", [3]]),
                "prompt": st.sampled_from(["hi", [1, 2], [], {}, "refuse", "error", "answer an error"]),
                "input": st.sampled_from(["hi", ["a", "b"], 3]),
                "query": st.just("hi"),
                "documents": st.sampled_from([["a"], "a", 3]),
                "stream": st.sampled_from([True, False, None, "maybe"]),
                "max_tokens": st.sampled_from([1, 5, None, "many"]),
                "n": st.sampled_from([1, 2, 0]),
            },
        ).map(lambda body: json.dumps(body).encode()),
        st.sampled_from([b"{not json", b"", b"[]", b"null", b'{"model": "writes"', b"\xff\xfe"]),
    ),
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(request=REQUESTS)
def test_whatever_is_asked_is_answered_as_by_the_untraced_server(started, request):
    route, body = request
    assert ask(started[0], route, body) == ask(started[1], route, body)


STREAMS = st.fixed_dictionaries(
    {
        "route": st.sampled_from(["completions", "chat/completions"]),
        "model": st.sampled_from(["writes", "chats", "alias"]),
        "count": st.integers(0, 5),
        "plan": st.one_of(
            st.just({}),
            st.fixed_dictionaries(
                {
                    "breaks": st.integers(0, 5),
                    "with": st.sampled_from(["ValueError", "StopAsyncIteration", "RuntimeError", "GeneratorExit"]),
                }
            ),
            st.fixed_dictionaries({"waits": st.integers(0, 5)}),
        ),
    }
)


def streamed(server, seen, stream, trace_id=None):
    """What the client of a stream got, and what its model saw; the client of one that waits hangs up."""
    key, plan = uuid.uuid4().hex, stream["plan"]
    asked = {"prompt": "hi"} if stream["route"] == "completions" else {"messages": CHAT["messages"]}
    body = {"model": stream["model"], "stream": True, "max_tokens": stream["count"], **asked}
    body["user"] = json.dumps({"key": key, **plan})
    headers = {"Content-Type": "application/json", **({"traceparent": traceparent(trace_id)} if trace_id else {})}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", f"/openai/v1/{stream['route']}", json.dumps(body), headers)
    got = []
    if plan.get("waits", 5) < stream["count"]:
        if plan["waits"]:
            answer = connection.getresponse()
            got = [answer.readline() for _ in range(2 * plan["waits"])]
            answer.close()
    else:
        answer = connection.getresponse()
        try:
            got = [answer.status, answer.read()]
        except http.client.IncompleteRead as error:
            got = [answer.status, "breaks off", error.partial]
    connection.close()

    def ended():
        lines = [json.loads(line) for line in seen.read_text().splitlines()] if seen.exists() else []
        return [line[1:] for line in lines if line[0] == key]

    return [re.sub(r'"created":\d+', "", str(got)), wait_until("the model's generator", ended)]


@settings(max_examples=10, suppress_health_check=list(HealthCheck))
@given(stream=STREAMS)
def test_however_a_stream_ends_client_and_model_see_what_they_see_without_us(started, traces, stream):
    folder, trace_id = started[2].parent, uuid.uuid4().hex
    traced = streamed(started[0], folder / "traced.seen", stream, trace_id)
    assert traced == streamed(started[1], folder / "plain.seen", stream)
    (call,) = (span for span in traces(trace_id) if span.name.startswith(("chat", "text_completion")))
    ((number, saw),) = traced[1]
    chunks = number + 1 if saw else number  # the mark of the end is none
    assert (int(call.attributes[semconv.RESPONSE_CHUNKS]), call.attributes.get("error.type")) == (chunks, saw)


def test_a_model_is_asked_by_the_name_that_it_is_mounted_under(started, traces, trace_id):
    body = {**CHAT, "model": "alias"}
    assert ask(started[0], "chat/completions", body, trace_id) == ask(started[1], "chat/completions", body)
    call = next(span for span in traces(trace_id) if span.name.startswith("chat"))
    assert (call.name, call.attributes["gen_ai.request.model"], call.attributes["otel_kfs.model.name"]) == (
        "chat alias",
        "alias",
        "writes",
    )


def test_a_picture_of_20_mb_is_answered_as_by_the_untraced_server(started, traces, trace_id):
    url = "data:image/jpeg;base64," + "A" * 20_000_000
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = json.dumps({"model": "writes", "messages": [{"role": "user", "content": content}]}).encode()
    assert ask(started[0], "chat/completions", body, trace_id) == ask(started[1], "chat/completions", body)
    receive = next(span for span in traces(trace_id) if span.name == "receive")
    assert int(receive.attributes[semconv.HTTP_REQUEST_BODY_SIZE]) == len(body)


def test_an_answer_of_10_000_pieces_is_that_of_the_untraced_server(started, traces, trace_id):
    body = {**CHAT, "stream": True, "max_tokens": 10_000}
    assert ask(started[0], "chat/completions", body, trace_id) == ask(started[1], "chat/completions", body)
    call = next(span for span in traces(trace_id) if span.name == "chat writes")
    assert (call.attributes[semconv.RESPONSE_CHUNKS], call.status) == ("10001", 0)


@pytest.mark.parametrize("path", ["/openai/v1/models", "/openai/v1/models/writes", "/openai/v1/models/unready"])
def test_the_readiness_of_a_model_is_no_span(started, traces, trace_id, path):
    statuses = [server.ask("GET", path, trace_id=trace_id)[0] for server in started[:2]]
    assert statuses[0] == statuses[1]
    later = uuid.uuid4().hex
    ask(started[0], "chat/completions", CHAT, later)
    traces(later)
    assert not [span for span in read_traces(started[2]) if span.trace_id == trace_id]
