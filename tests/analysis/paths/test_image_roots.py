"""With which span an image begins where no sender of ours sent it, and what is measured then."""

import pytest
from msgspec.structs import replace
from path_support import one, reasons, text_of
from traces_builder import HTTP, KAFKA, STRAIGHT, at, sections, spans, without

from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.traces.span import SpanGraph

SERVER = """
    POST /v2/models/m/infer  SERVER  20  90  service=mlserver
"""


def below(*above):
    """A server that is not ours, each span below the one before."""
    lines = [f"{' ' * depth}{text}" for depth, text in enumerate(above)]
    return "\n".join([*lines, f"{' ' * len(above)}{SERVER.strip()}"])


@pytest.mark.parametrize(
    "root",
    [
        "POST  CLIENT  0  100  service=browser",
        "HTTP POST  CLIENT  0  100  service=java",
        "classify  INTERNAL  0  100  service=job",
    ],
)
def test_the_outermost_span_that_leads_to_a_model_server_is_the_root(root):
    drawing = below(root) if "CLIENT" in root else below(root, "POST  CLIENT  10  95")
    path = one(*spans(drawing))
    assert (path.stamps, path.root, path.second_is_spans) == (
        (at(0), at(20), None, at(100)),
        f"`{root.split('  ')[0]}` ({root.rpartition('=')[2]})",
        True,
    )
    assert path.sections == sections(
        "predictor request 20, predictor 70, predictor response 10"
        if "CLIENT" in root
        else "client 10, predictor request 10, predictor 70, predictor response 5, client 5"
    )


def test_a_proxy_that_begins_a_trace_is_the_root():
    drawing = below("ingress  SERVER  0  100  service=gateway", "router  CLIENT  5  95")
    assert text_of(drawing) == (
        "ingress request 0, ingress 5, predictor request 15, predictor 70, predictor response 5, ingress 5"
    )


def test_a_server_that_begins_a_trace_is_measured_from_its_own_span_on():
    path = one(*spans(SERVER))
    assert (path.stamps, path.sections) == (
        (at(20), at(20), None, at(90)),
        sections("predictor request 0, predictor 70", 20),
    )


def published(offset=""):
    """The drawing from the record's span on, as another program's producer names it."""
    *_, publish = [line for line in KAFKA.splitlines() if "send images" in line]
    as_others = publish.replace("send images  ", "images publish") + offset
    return KAFKA[KAFKA.index(publish) :].replace(publish, as_others)


def test_a_producer_that_knows_no_offset_has_not_seen_the_acknowledgement():
    assert text_of(published()).startswith("hand over 160, deliver + broker 40, bridge 20, transformer request 10, ")


def test_a_record_of_any_producer_is_followed_to_the_end_of_its_processing():
    drawing = published("  offset=3")
    path = one(*spans(drawing))
    assert (path.transport, path.stamps, path.root) == (
        "kafka",
        (at(130), at(400), at(600), at(1000)),
        "`images publish` (service)",
    )
    assert text_of(drawing).startswith("deliver 160, broker 40, bridge 20, transformer request 10, ")


def test_a_record_that_came_without_its_producer_is_measured_from_its_processing_on():
    drawing = KAFKA[KAFKA.index("    process images") :]
    path = one(*spans(drawing))
    assert (path.transport, path.stamps[0], path.stamps[3]) == ("messaging", at(330), at(1000))
    assert text_of(drawing).startswith("bridge 20, transformer request 10, ")


@pytest.mark.parametrize(
    ("attributes", "transport"),
    [
        ("", "messaging"),
        (".messaging.system=kafka", "kafka"),
        (".messaging.system=aws_sqs", "aws_sqs"),
        ("group=bridge", "messaging"),
        (".messaging.kafka.consumer.group=bridge", "kafka"),
        ("offset=3", "kafka"),
    ],
)
def test_a_record_of_others_is_kafka_s_where_something_says_so(attributes, transport):
    (process, *below) = spans(KAFKA[KAFKA.index("    process images") :])
    said = spans(f"process images  CONSUMER  330  1000  {attributes}")[0].attributes
    assert one(replace(process, attributes=said), *below).transport == transport


def test_a_client_s_call_to_a_model_s_route_is_measured_though_its_server_is_not_traced():
    drawing = "classify  INTERNAL  0  100\n  POST  CLIENT  10  90  url=http://triton/v2/models/m/infer"
    assert text_of(drawing) == "client 10, server (untraced) 80, client 10"
    assert one(*spans(drawing)).stamps == (at(0), None, None, at(100))


def test_a_client_s_further_calls_of_untraced_servers_are_the_same_segment():
    call = "  POST  CLIENT  {}  {}  url=http://triton/v2/models/{}/infer"
    drawing = "\n".join(["classify  INTERNAL  0  100", call.format(10, 40, "m"), call.format(50, 90, "n")])
    assert text_of(drawing) == "client 10, server (untraced) 30, client 10, server (untraced) 40, client 10"


@pytest.mark.parametrize(
    "name",
    [
        "POST /v1/models/{model_name}:predict",
        "POST /v1/models/m:explain",
        "POST /v2/models/m/versions/1/infer",
        "/inference.GRPCInferenceService/ModelInfer",
        "POST /v1/models/m/versions/3:predict",
        "POST /v1/models/m:classify",
        "POST /v2/models/m/generate_stream",
        "POST /openai/v1/chat/completions",
        "POST /v1/chat/completions",
        "POST /openai/deployments/d/chat/completions",
        "POST /v1/embeddings",
        "POST /predictions/m",
        "POST /predictions/m/2.0",
        "POST /api/v1.0/predictions",
        "POST /invocations",
        "/generate_stream",
        "tensorflow.serving.PredictionService/Predict",
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/StreamPredictions",
        "InferRequest",
        "llm_request",
    ],
)
def test_a_model_server_is_known_by_its_route_or_its_own_spans_names(name):
    found, coverage = critical_paths(SpanGraph(spans(f"POST  CLIENT  0  100\n  {name}  SERVER  10  90")))
    assert (len(found), coverage) == (1, Coverage(measured=1, roots={"`POST` (service)": 1}))


@pytest.mark.parametrize(
    "name", ["POST /v1/models", "GET /weather/predictions/7", "POST /reports/generate", "POST /invocations/3", "chat"]
)
def test_other_requests_are_no_images(name):
    drawing = f"POST  CLIENT  0  100\n  {name}  SERVER  10  90"
    assert critical_paths(SpanGraph(spans(drawing))) == ([], Coverage())


@pytest.mark.parametrize("key", ["url.full", "http.url", "http.path", "http.target"])
def test_a_request_is_known_by_where_it_goes_whatever_the_attribute_is_called(key):
    where = f"{'http://ts:8080' if key.endswith(('full', 'url')) else ''}/predictions/m?x=1"
    assert text_of(f"post  CLIENT  0  100  .{key}={where}") == "server (untraced) 100"


@pytest.mark.parametrize(("operation", "found"), [("chat", 1), ("embeddings", 1), ("execute_tool", 0)])
def test_a_client_s_span_of_generative_ai_is_a_request_to_a_model(operation, found):
    drawing = f"{operation} llama  CLIENT  0  100  .gen_ai.operation.name={operation}"
    assert len(critical_paths(SpanGraph(spans(drawing)))[0]) == found


# --- who asks the model ---


def test_a_server_that_asks_a_model_is_its_client_and_no_proxy():
    drawing = below("POST /search  SERVER  0  100  service=app", "handle  INTERNAL  3  98", "POST  CLIENT  10  95")
    assert text_of(drawing) == "client 10, predictor request 10, predictor 70, predictor response 5, client 5"


def test_a_server_with_a_framework_s_route_of_a_model_is_a_model_server_though_it_asks_another_one():
    route = ".http.route=/v1/models/{model_name}:predict"
    drawing = below("POST  CLIENT  0  100", f"POST  SERVER  5  98  service=transformer {route}", "POST  CLIENT  10  95")
    assert text_of(drawing) == (
        "transformer request 5, transformer 5, predictor request 10, predictor 70, predictor response 5, "
        "transformer 3, transformer response 2"
    )


WORKER = """
images process  CONSUMER  50  150  service=worker
  POST  CLIENT  55  145  url=http://m/v2/models/m/infer
"""
BEHIND_THE_TOPIC = "bridge 5, server (untraced) 90, bridge 5"


@pytest.mark.parametrize(
    "above",
    [
        ("POST /upload  SERVER  0  40  service=shop",),
        ("click  INTERNAL  0  48", "POST  CLIENT  2  46", "POST /upload  SERVER  4  44  service=shop"),
        ("POST  CLIENT  0  48  service=browser", "POST /upload  SERVER  4  44  service=shop"),
    ],
)
def test_an_image_that_others_took_in_and_sent_on_as_a_record_goes_through_the_topic(above):
    lines = [*above, "images publish  PRODUCER  10  35  offset=3", *WORKER.strip().splitlines()]
    drawing = "\n".join(f"{' ' * depth}{line}" for depth, line in enumerate(lines))
    assert text_of(drawing) == f"client 10, deliver 25, broker 15, {BEHIND_THE_TOPIC}"


def test_a_record_that_is_sent_on_to_another_topic_goes_through_both():
    drawing = """
images publish  PRODUCER  0  10  offset=3
  images process  CONSUMER  15  45  service=validator
    GET  CLIENT  16  18
    valid publish  PRODUCER  20  30  offset=4
""" + "\n".join(f"      {line}" for line in WORKER.strip().splitlines())
    assert text_of(drawing) == f"deliver 10, broker 5, bridge 5, deliver 10, broker 20, {BEHIND_THE_TOPIC}"


@pytest.mark.parametrize("poll", ["images receive  CONSUMER  45  49", "images poll  CLIENT  45  49"])
def test_records_that_one_poll_brought_are_followed_by_their_links(poll):
    sent = [spans(f"images publish  PRODUCER  {at}  30  offset={at}", trace) for at, trace in enumerate("ab")]
    each = "".join(
        f"\n  {line}" if not line.startswith("images") else f"\n  {line}  links={trace}/{trace}0"
        for trace in "ab"
        for line in WORKER.strip().splitlines()
    )
    found, coverage = critical_paths(SpanGraph([*sent[0], *sent[1], *spans(poll + each, "c")]))
    assert [(path.trace_id, path.stamps[0], path.stamps[3]) for path in found] == [
        ("a", at(0), at(150)),
        ("b", at(1), at(150)),
    ]
    assert coverage == Coverage(measured=2, roots={"`images publish` (service)": 2})


@pytest.mark.parametrize("poll", ["images receive  CONSUMER  45  49", "images poll  CLIENT  45  49"])
def test_records_of_one_poll_whose_producers_traces_are_not_there_are_an_image_each(poll):
    each = "".join(
        f"\n  {line}  links={trace}/gone" if line.startswith("images") else f"\n  {line}"
        for trace in "ab"
        for line in WORKER.strip().splitlines()
    )
    _, coverage = critical_paths(SpanGraph(spans(poll + each, "c")))
    assert coverage == Coverage(measured=2, roots={"`images process` (worker)": 2})


# --- the parent of what a trace begins with is not there ---


def orphaned(drawing, trace="a"):
    """The drawing's spans, the first below one that is not there."""
    first, *others = spans(drawing, trace)
    return [replace(first, parent_id="gone"), *others]


@pytest.mark.parametrize(
    "first",
    ["POST  CLIENT  0  100", "POST /search  SERVER  0  100  service=app", "classify  INTERNAL  0  100"],
)
def test_an_image_is_measured_from_the_outermost_span_that_is_there(first):
    drawing = below(first) if "CLIENT" in first else below(first, "POST  CLIENT  10  95")
    assert one(*orphaned(drawing)) == one(*spans(drawing))


def test_a_worker_whose_producer_s_trace_is_not_there_is_measured_from_its_processing_on():
    path = one(*spans(WORKER.replace("service=worker", "service=worker links=b/gone")))
    assert (path.stamps[0], path.root) == (at(50), "`images process` (worker)")


def test_two_requests_of_one_lost_span_are_two_images():
    later = [replace(span, span_id=f"x{span.span_id}") for span in orphaned("POST  CLIENT  200  300")]
    asks = {"attributes": {"url.full": "http://m/v2/models/m/infer"}}
    drawn = [replace(span, **asks) for span in [*orphaned("POST  CLIENT  0  100"), *later]]
    assert critical_paths(SpanGraph(drawn))[1].measured == 2


def test_whatever_else_a_trace_without_its_root_has_lost_it_is_one_image():
    whole = orphaned(below("POST  CLIENT  0  100", "route  SERVER  5  98  service=app", "POST  CLIENT  10  95"))
    for lost in range(1, len(whole) - 1):
        found, coverage = critical_paths(SpanGraph([*whole[:lost], *whole[lost + 1 :]]))
        assert (len(found), coverage.left_out, found[0].stamps[3]) == (1, {}, at(100)), lost


def test_a_service_that_the_user_names_is_a_model_server():
    drawing = "POST  CLIENT  0  100\n  POST /predictions/m  SERVER  10  90  service=torchserve"
    found, _ = critical_paths(SpanGraph(spans(drawing)), servers=["torchserve"])
    assert [path.sections for path in found] == [sections("predictor request 10, predictor 80, predictor response 10")]


def test_a_server_that_the_user_names_is_no_proxy_though_it_asks_another_one():
    drawing = below("POST  CLIENT  0  100", "POST /classify  SERVER  4  98  service=frontend", "POST  CLIENT  10  95")
    found, _ = critical_paths(SpanGraph(spans(drawing)), servers=["frontend"])
    assert [path.sections for path in found] == [
        sections(
            "transformer request 4, transformer 6, predictor request 10, predictor 70, predictor response 5, "
            "transformer 3, transformer response 2"
        )
    ]


@pytest.mark.parametrize(
    ("root", "asked", "size"),
    [
        ("size=1500000", "", 1_500_000),
        ("", "size=1500000", 1_500_000),
        ("", "", None),
    ],
)
def test_the_size_is_that_of_the_first_body_that_any_span_tells(root, asked, size):
    drawing = below(f"classify  INTERNAL  0  100  {root}", f"POST  CLIENT  10  95  {asked}")
    path = one(*spans(drawing))
    assert (path.image_size, path.payload_size) == (None, size)


@pytest.mark.parametrize("key", ["http.request_content_length", "messaging.message_payload_size_bytes"])
def test_a_body_s_size_is_known_by_what_it_was_called_before_too(key):
    assert one(*spans(below(f"POST  CLIENT  0  100  .{key}=77"))).payload_size == 77


def test_a_body_s_size_is_known_by_what_only_a_later_request_says():
    drawing = below("POST  CLIENT  0  100", "hop  SERVER  5  98  service=app", "POST  CLIENT  10  95  size=77")
    assert one(*spans(drawing)).payload_size == 77


def test_a_server_that_the_user_names_begins_an_image_whose_sender_has_no_spans_here():
    server = HTTP[HTTP.index("    POST /v1/models") :]
    assert reasons(*orphaned(server)) == {"no `send image` span": 1}
    (path,), _ = critical_paths(SpanGraph(orphaned(server)), servers=["service"])
    assert (path.stamps[0], path.stamps[3]) == (at(150), at(970))


def test_a_server_that_begins_a_trace_has_received_the_request_before_its_span_began():
    path = one(*spans(STRAIGHT[STRAIGHT.index("    POST /v1/models") :]))
    assert (path.stamps, path.sections[:2]) == (
        (at(150), at(200), at(300), at(470)),
        sections("predictor request 0, predictor receive 50", 150),
    )
    triton = one(*spans("InferRequest  SERVER  10  95  events=HTTP_RECV_START:8,HTTP_RECV_END:11"))
    assert (triton.stamps, triton.sections) == (
        (at(8), at(11), None, at(95)),
        sections("predictor request 0, predictor 0, predictor receive 3, predictor 84", 8),
    )


def test_a_root_that_was_there_and_is_lost_leaves_its_image_out():
    _, *others = spans(HTTP)
    assert reasons(*others) == {"no `send image` span": 1}


# --- spans that are missing ---


def test_a_server_without_receive_has_stamp_2_at_its_span_s_start():
    path = one(*spans(without(STRAIGHT, "receive")))
    assert (path.stamps, path.second_is_spans) == ((at(0), at(200), at(300), at(500)), True)
    assert "client 20, predictor request 70, predictor (no predictor receive span) 10, predictor decode 30" in text_of(
        without(STRAIGHT, "receive")
    )


def test_a_server_without_preprocess_has_no_stamp_3():
    path = one(*spans(without(STRAIGHT, "preprocess")))
    assert (path.stamps, path.second_is_spans) == ((at(0), at(200), None, at(500)), False)
    assert "predictor decode 30, predictor (no predictor preprocess span) 70, predictor predict 130" in text_of(
        without(STRAIGHT, "preprocess")
    )


@pytest.mark.parametrize("drawing", [HTTP, STRAIGHT])
def test_without_any_one_span_below_its_root_an_image_is_measured_and_adds_up(drawing):
    whole = spans(drawing)
    for number in range(1, len(whole)):
        path = one(*whole[:number], *whole[number + 1 :])
        assert (path.stamps[0], path.stamps[3]) == (whole[0].start, whole[0].end)
        assert sum(section.duration for section in path.sections) == whole[0].end - whole[0].start


def test_without_any_one_span_of_a_record_s_way_the_image_is_measured_and_adds_up():
    whole = spans(KAFKA)
    for number in range(1, len(whole)):
        path = one(*whole[:number], *whole[number + 1 :])
        assert path.stamps[0] == at(0)
        assert path.stamps[3] == (at(990) if whole[number].name == "process images" else at(1000))
        assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]


PREDICT = "http://m/v1/models/m:predict"


def test_each_request_of_a_job_is_an_image():
    job = "job  INTERNAL  0  100\n" + "".join(
        f"  POST  CLIENT  {10 * n}  {10 * n + 8}  url={PREDICT}\n"
        f"    POST /v1/models/m:predict  SERVER  {10 * n + 2}  {10 * n + 6}\n"
        for n in range(4)
    )
    found, coverage = critical_paths(SpanGraph(spans(job)))
    assert [path.stamps[::3] for path in found] == [(at(10 * n), at(10 * n + 8)) for n in range(4)]
    assert coverage == Coverage(measured=4, roots={"`POST` (service)": 4})


def test_what_a_job_does_for_each_image_is_part_of_it():
    job = "cron  INTERNAL  0  100\n  run  INTERNAL  1  99\n" + "".join(
        f"    resize and ask  INTERNAL  {10 * n}  {10 * n + 9}\n"
        f"      POST  CLIENT  {10 * n + 2}  {10 * n + 8}  url={PREDICT}\n"
        for n in range(1, 4)
    )
    found, _ = critical_paths(SpanGraph(spans(job)))
    assert [path.stamps[::3] for path in found] == [(at(10 * n), at(10 * n + 9)) for n in range(1, 4)]


@pytest.mark.parametrize(
    ("below", "stamps"),
    [
        (f"  POST  CLIENT  1  8  failed url={PREDICT}\n  POST  CLIENT  10  18  url={PREDICT}\n", (0, 100)),
        (f"  POST  CLIENT  1  8  url={PREDICT}\n  POST  CLIENT  10  18  url=http://m/v1/models/n:predict\n", (0, 100)),
        ("  POST /v1/models/m:predict  CLIENT  1  8\n  POST /v1/models/m:predict  CLIENT  10  18\n", (0, 100)),
        (
            "  chat m  CLIENT  1  8  .gen_ai.operation.name=chat url=http://m/v1/chat/completions\n"
            "  chat m  CLIENT  10  18  .gen_ai.operation.name=chat url=http://m/v1/chat/completions\n",
            (0, 100),
        ),
    ],
)
def test_retries_models_in_a_row_and_a_talk_are_one(below, stamps):
    (path,), _ = critical_paths(SpanGraph(spans(f"job  INTERNAL  0  100\n{below}")))
    assert path.stamps[::3] == tuple(map(at, stamps))


def test_what_asks_a_model_several_times_to_answer_a_request_is_one_image():
    asked = "".join(f"  POST  CLIENT  {10 * n}  {10 * n + 8}  url={PREDICT}\n" for n in range(1, 3))
    (path,), _ = critical_paths(SpanGraph(spans(f"POST /album  SERVER  0  100\n{asked}")))
    assert path.stamps[::3] == (at(0), at(100))


@pytest.mark.parametrize("name", ["OPTIONS", "HTTP OPTIONS", "OPTIONS /v1/models/{model_name}:predict", "HEAD", "GET"])
def test_what_a_browser_asks_before_it_may_ask_a_model_is_the_caller_s_own_time(name):
    page = f"""
click                               INTERNAL    0  210
  {name}                            CLIENT      2   20  url={PREDICT}
    {name}                          SERVER      5   15  service=model .http.route=/v1/models/{{name}}:predict
  POST                              CLIENT     22  200  url={PREDICT}
    POST /v1/models/{{name}}:predict  SERVER     30  170  service=model
"""
    assert text_of(page) == "client 22, predictor request 8, predictor 140, predictor response 30, client 10"
    alone = "".join(f"{line}\n" for line in page.splitlines() if "POST" not in line)
    assert critical_paths(SpanGraph(spans(alone))) == ([], Coverage())
