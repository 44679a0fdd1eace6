"""With which span an image begins where no sender of ours sent it, and what is measured then."""

import pytest
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
    assert (path.transport, path.stamps[0], path.stamps[3]) == ("kafka", at(330), at(1000))
    assert text_of(drawing).startswith("bridge 20, transformer request 10, ")


def test_a_client_s_call_to_a_model_s_route_is_measured_though_its_server_is_not_traced():
    drawing = "classify  INTERNAL  0  100\n  POST  CLIENT  10  90  url=http://triton/v2/models/m/infer"
    assert text_of(drawing) == "client 10, server (untraced) 80, client 10"
    assert one(*spans(drawing)).stamps == (at(0), None, None, at(100))


@pytest.mark.parametrize(
    "name",
    [
        "POST /v1/models/{model_name}:predict",
        "POST /v1/models/m:explain",
        "POST /v2/models/m/versions/1/infer",
        "/inference.GRPCInferenceService/ModelInfer",
        "POST /openai/v1/chat/completions",
        "InferRequest",
        "llm_request",
    ],
)
def test_a_model_server_is_known_by_its_route_or_its_own_spans_names(name):
    found, coverage = critical_paths(SpanGraph(spans(f"POST  CLIENT  0  100\n  {name}  SERVER  10  90")))
    assert (len(found), coverage) == (1, Coverage(measured=1, roots={"`POST` (service)": 1}))


def test_other_requests_are_no_images():
    drawing = "POST  CLIENT  0  100\n  POST /v1/models  SERVER  10  90"
    assert critical_paths(SpanGraph(spans(drawing))) == ([], Coverage())


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
