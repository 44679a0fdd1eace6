"""Sections follow one another without a gap, whatever the times and the clocks of two hosts are."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from path_support import DRAWINGS, HTTP_SEGMENTS, KAFKA_SEGMENTS, one, reasons
from traces_builder import EPOCH, HTTP, KAFKA, MS, STRAIGHT, at, sections, spans, with_options

from otel_kfs import semconv
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.traces.span import SpanGraph

# --- what came before what ---


def test_a_request_to_another_host_came_before_it_was_there_and_the_answer_before_it_was_back():
    drawing = HTTP.replace(
        "POST /v1/models       SERVER    540  910", "POST /v1/models       SERVER    540  910  @predictor"
    )
    drawing = with_options(drawing, "POST /v1/models", "@transformer")
    assert one(*spans(drawing)).before == (
        ("host", at(130), "transformer", at(150)),
        ("transformer", at(500), "predictor", at(520)),
        ("predictor", at(895), "transformer", at(930)),
        ("transformer", at(960), "host", at(990)),
    )


def test_a_record_was_produced_before_it_was_processed_and_that_is_all_that_is_certain():
    drawing = with_options(KAFKA, "process images", "@bridge")
    assert one(*spans(drawing)).before == (("host", at(130), "bridge", at(330)),)


def test_on_one_host_nothing_is_to_be_told():
    assert one(*spans(KAFKA)).before == ()


# --- clocks of two hosts ---


def shifted(drawn, host, milliseconds):
    """The spans as a host whose clock is ahead would have written them."""
    offset = milliseconds * MS
    return [replace(s, start=s.start + offset, end=s.end + offset) if s.host == host else s for s in drawn]


def test_segments_between_two_hosts_say_so_and_hold_their_clocks_difference():
    drawing = with_options(HTTP, "POST /v1/models", "@server")
    assert one(*shifted(spans(drawing), "server", 1000)).sections == sections(
        HTTP_SEGMENTS.replace("transformer request 20", "transformer request 1020!host>server").replace(
            "transformer response 30", "transformer response -970!server>host"
        )
    )


def test_an_image_during_which_its_sender_s_clock_was_set_back_is_left_out():
    """What lies between two stamps of one host would be printed as exact, and negative."""
    drawn = spans(with_options(HTTP, "POST /v1/models", "@server"))
    set_back = [replace(s, end=s.end - 2000 * MS) if s.name in {"send image", "POST"} else s for s in drawn[:3]]
    assert reasons(*set_back, *drawn[3:]) == {"stamp 4 is out of order": 1}


def test_the_stamps_stay_what_each_host_wrote():
    drawing = with_options(HTTP, "POST /v1/models", "@server")
    assert one(*shifted(spans(drawing), "server", 1000)).stamps == (at(0), at(1200), at(1400), at(1000))


def test_an_acknowledgement_by_another_host_s_clock_gives_way_when_the_clocks_are_known():
    drawing = with_options(KAFKA, "process images", "@bridge")
    found = one(*shifted(spans(drawing), "bridge", -100)).sections
    assert found == sections(KAFKA_SEGMENTS.replace("deliver 160, broker 40", "deliver 160~, broker -60!host>bridge"))


# --- whatever the times are ---

EDGES = {
    name: sorted({edge for s in spans(drawing) for edge in (s.start, s.end)}) for name, drawing in DRAWINGS.items()
}
SPARE = {"encode", "decode", "postprocess"}
HOSTS = st.sampled_from(["one", "two"])


@st.composite
def images(draw):
    """One of the ways above with any gaps and lengths, without any of the spans that can be spared."""
    name = draw(st.sampled_from(sorted(DRAWINGS)))
    edges, moment = {}, at(0)
    for edge in EDGES[name]:
        moment += draw(st.integers(0, 10**12))
        edges[edge] = moment
    drawn = [replace(span, start=edges[span.start], end=edges[span.end]) for span in spans(DRAWINGS[name])]
    return [span for span in drawn if span.name not in SPARE or draw(st.booleans())]


@st.composite
def images_on_two_hosts(draw):
    """Such an image, each span on one of two hosts whose clocks differ by anything."""
    offset = draw(st.integers(-(10**13), 10**13))
    moved = []
    for span in draw(images()):
        host = draw(HOSTS)
        shift = offset if host == "two" else 0
        moved.append(replace(span, host=host, start=span.start + shift, end=span.end + shift))
    return moved


def assert_whole(path):
    """The segments follow one another without a gap from stamp 1 to stamp 4."""
    starts = [section.start for section in path.sections]
    ends = [section.end for section in path.sections]
    assert [*starts, path.stamps[3]] == [path.stamps[0], *ends]
    assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]


@given(images())
def test_segments_add_up_to_the_whole_whatever_the_times(drawn):
    assert_whole(one(*drawn))


@given(images())
def test_no_segment_of_one_host_is_negative_or_crosses(drawn):
    assert [s for s in one(*drawn).sections if s.duration < 0 or s.hosts] == []


@given(images())
def test_stamps_come_one_after_the_other_on_one_host(drawn):
    stamps = one(*drawn).stamps
    assert sorted(stamps) == list(stamps)


@given(images())
def test_every_stamp_and_every_end_of_a_segment_is_the_edge_of_a_span(drawn):
    path = one(*drawn)
    points = {*path.stamps, *(point for section in path.sections for point in (section.start, section.end))}
    assert points - {edge for span in drawn for edge in (span.start, span.end)} == set()


@given(images_on_two_hosts())
def test_segments_add_up_to_the_whole_whatever_the_clocks(drawn):
    found, coverage = critical_paths(SpanGraph(drawn))
    assert coverage.measured == 1
    assert_whole(found[0])


@given(images_on_two_hosts())
def test_a_negative_segment_always_crosses_hosts(drawn):
    found, _ = critical_paths(SpanGraph(drawn))
    assert [one for one in found[0].sections if one.duration < 0 and not one.hosts] == []


# --- what is certain of two clocks ---


def before_of(drawing, attributes=None):
    drawn = spans(drawing)
    drawn[0] = replace(drawn[0], attributes=drawn[0].attributes | (attributes or {}))
    return [(host, (at_ - EPOCH) // MS, other, (later - EPOCH) // MS) for host, at_, other, later in one(*drawn).before]


def test_a_request_arrives_after_it_was_sent_and_its_answer_too():
    assert before_of(with_options(STRAIGHT, "POST /v1/models", "@server")) == [
        ("host", 130, "server", 150),
        ("server", 460, "host", 490),
    ]


def test_a_request_that_was_placed_afterwards_was_certainly_not_sent_before_its_program_began():
    drawing = with_options(STRAIGHT, "POST /v1/models", "@server")
    assert before_of(drawing, {semconv.PROCESS_EXECUTABLE_NAME: "curl"})[0] == ("host", 0, "server", 150)


def test_what_a_proxy_hands_on_and_back_is_certain_of_its_clock_but_not_that_its_span_ends_before_the_answer_is_there():
    lines = STRAIGHT.splitlines()
    drawing = "\n".join([*lines[:4], "    ingress  SERVER  140  491  @edge", *("  " + line for line in lines[4:])])
    assert before_of(with_options(drawing, "POST /v1/models", "@server")) == [
        ("host", 130, "server", 150),
        ("host", 130, "edge", 140),
        ("edge", 140, "server", 150),
        ("server", 460, "host", 490),
        ("server", 460, "edge", 491),
    ]


def test_a_server_that_is_not_ours_has_certainly_not_answered_when_its_last_step_ends():
    drawing = "POST  CLIENT  0  100\n  POST /v2/models/m/infer  SERVER  10  101  @server"
    assert before_of(drawing) == [("host", 0, "server", 10), ("server", 10, "host", 100)]
