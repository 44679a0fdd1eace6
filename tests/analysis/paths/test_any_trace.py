"""Drawn traces of programs that are not ours, whose truth is known: every image is measured, and adds up."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.traces.span import Kind, Span, SpanGraph

EPOCH = 1_600_000_000_000_000_000


@dataclass
class Drawn:
    """The spans of a trace, and when the models in it worked."""

    spans: list[Span] = field(default_factory=list)
    models: list[tuple[int, int]] = field(default_factory=list)

    def add(self, parent, name, kind, start, end, service, **attributes):
        number = f"{len(self.spans):x}"
        above = parent and parent.span_id
        times = EPOCH + start, EPOCH + end
        span = Span("t", number, above, name, kind, *times, service, "h", False, attributes)
        self.spans.append(span)
        return span


@st.composite
def traces(draw):
    """A client of any kind, proxies that have one span or two, an unknown middleware, and models asked in turn."""
    drawn = Drawn()
    width = draw(st.integers(1_000, 10**9))
    at, until = 0, width * 100
    root, service = None, "client"

    def shrunk():
        return at + draw(st.integers(1, width)), until - draw(st.integers(1, width))

    if draw(st.booleans()):
        root = drawn.add(root, "classify", Kind.INTERNAL, at, until, service)
        at, until = shrunk()
    root = drawn.add(root, "POST", Kind.CLIENT, at, until, service, **{"url.full": "http://m/v1/models/m:predict"})
    for number in range(draw(st.integers(0, 3))):
        service = f"proxy{number}"
        for kind in draw(st.sampled_from([(Kind.SERVER,), (Kind.CLIENT,), (Kind.SERVER, Kind.CLIENT)])):
            at, until = shrunk()
            root = drawn.add(root, "hop", kind, at, until, service)
        if draw(st.booleans()):
            at, until = shrunk()
            root = drawn.add(root, "middleware", Kind.INTERNAL, at, until, service)
    servers = draw(st.integers(1, 3))
    share = (until - at) // servers
    for number in range(servers):
        start = at + number * share + draw(st.integers(1, width))
        end = at + (number + 1) * share - draw(st.integers(1, width))
        name = draw(st.sampled_from(["POST /v2/models/{name}/infer", "InferRequest", "POST /v1/models/m:predict"]))
        server = drawn.add(root, name, Kind.SERVER, start, end, f"model{number}")
        drawn.models.append((EPOCH + start, EPOCH + end))
        cut = (end - start) // 4
        for step in range(draw(st.integers(0, 2))):
            drawn.add(
                server,
                f"step {step}",
                Kind.INTERNAL,
                start + (step + 1) * cut,
                start + (step + 2) * cut,
                server.service,
            )
    return drawn


def measured(spans):
    """The one path in some spans, of which the sections follow one another and add up to 4-1."""
    (path,), coverage = critical_paths(SpanGraph(spans))
    assert coverage.left_out == {}
    assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]
    at = path.stamps[0]
    for section in path.sections:
        assert (section.start, section.end >= at) == (at, True)
        at = section.end
    assert at == path.stamps[3]
    return path


def of_models(path):
    """The times at which the path is in a model server, from its request's arrival to its answer."""
    found = []
    for section in path.sections:
        place, step, _ = section.segment
        if place.name == "predictor" and step not in {"request", "response"}:
            if found and found[-1][0] == place:
                found[-1][2] = section.end
            else:
                found.append([place, section.start, section.end])
    return [(start, end) for _, start, end in found]


@settings(max_examples=60, deadline=None)
@given(traces())
def test_what_was_sent_and_answered_is_measured_and_adds_up(drawn):
    path = measured(drawn.spans)
    assert (path.stamps[0], path.stamps[3]) == (drawn.spans[0].start, drawn.spans[0].end)
    assert of_models(path) == drawn.models


@settings(max_examples=60, deadline=None)
@given(traces(), st.data())
def test_without_any_one_inner_span_it_is_measured_and_adds_up(drawn, data):
    lost = data.draw(st.integers(1, len(drawn.spans) - 1))
    path = measured([*drawn.spans[:lost], *drawn.spans[lost + 1 :]])
    assert (path.stamps[0], path.stamps[3]) == (drawn.spans[0].start, drawn.spans[0].end)


@settings(max_examples=60, deadline=None)
@given(traces(), st.data())
def test_below_something_that_is_not_there_it_is_the_same_and_one_image_whatever_else_is_lost(drawn, data):
    root, *others = drawn.spans
    orphaned = [replace(root, parent_id="gone"), *others]
    assert measured(orphaned) == measured(drawn.spans)
    lost = data.draw(st.integers(1, len(orphaned) - 1))
    found, coverage = critical_paths(SpanGraph([*orphaned[:lost], *orphaned[lost + 1 :]]))
    assert (len(found), coverage.left_out) == (1, {})


@settings(max_examples=60, deadline=None)
@given(traces(), st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from([None, "kafka", "rabbitmq"]))
def test_what_a_worker_does_with_records_is_measured_for_each_whoever_sent_and_polled_them(
    drawn, records, web, polled, system
):
    spans = []
    of_system = {semconv.MESSAGING_SYSTEM: system} if system else {}
    for number in range(records):
        trace = f"sent{number}"
        parent = None
        if web:
            spans.append(
                Span(trace, "web", None, "POST /up", Kind.SERVER, EPOCH - 90, EPOCH - 20, "web", "h", False, {})
            )
            parent = "web"
        times = EPOCH - 80 + number, EPOCH - 30
        spans.append(Span(trace, "sent", parent, "images publish", Kind.PRODUCER, *times, "web", "h", False, of_system))
        root, *others = [replace(span, span_id=f"{trace}{span.span_id}") for span in drawn.spans]
        others = [replace(span, parent_id=f"{trace}{span.parent_id}") for span in others]
        worker = Span(
            "t", trace, "poll" if polled else None, "images process", Kind.CONSUMER, root.start - 5, root.end + 5,
            "worker", "h", False, {}, ("sent",), (trace,),
        )  # fmt: skip
        spans += [worker, replace(root, parent_id=trace), *others]
    if polled:
        spans.append(
            Span("t", "poll", None, "images receive", Kind.CONSUMER, EPOCH - 9, EPOCH - 6, "w", "h", False, {})
        )
    found, coverage = critical_paths(SpanGraph(spans))
    assert (len(found), coverage.left_out) == (records, {})
    for number, path in enumerate(found):
        began = EPOCH - 90 if web else EPOCH - 80 + number
        expected = system or "messaging", began, drawn.spans[0].end + 5
        assert (path.transport, path.stamps[0], path.stamps[3]) == expected
        assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]
        assert of_models(path) == drawn.models


@settings(max_examples=30, deadline=None)
@given(traces(), st.randoms(use_true_random=False))
def test_the_order_in_which_spans_were_read_makes_no_difference(drawn, random):
    shuffled = random.sample(drawn.spans, len(drawn.spans))
    assert critical_paths(SpanGraph(shuffled)) == critical_paths(SpanGraph(drawn.spans))


NAMES = [
    *("POST", "send image", "encode", "process images", "images process", "receive", "predict", "InferRequest"),
    *("POST /v2/models/m/infer", "chat x", "ingress", "send images", "upload", "poll images"),
]


def any_spans(random):
    """Spans of three traces with any kinship, kinds, times and hosts, whether they make sense or not."""
    spans = []
    for number in range(random.randint(1, 25)):
        trace = random.choice("aaabbc")
        kin = [span.span_id for span in spans if span.trace_id == trace] + ["gone", "lost", None]
        start = EPOCH + random.randint(0, 1000)
        links = random.sample(spans, random.randint(0, 1)) if spans else []
        attributes = {"url.full": "http://m/v1/models/m:predict"} if random.random() < 0.3 else {}
        attributes |= {"gen_ai.operation.name": "chat"} if random.random() < 0.1 else {}
        attributes |= {"messaging.batch.message_count": 2} if random.random() < 0.1 else {}
        attributes |= {"otel_kfs.transport": random.choice(["http", "kafka"])} if random.random() < 0.1 else {}
        spans.append(
            Span(
                *(trace, f"{trace}{number}", random.choice(kin), random.choice(NAMES), Kind(random.randint(0, 5))),
                *(start, start + random.randint(0, 500), random.choice(["x", "y", "gateway"]), random.choice("hhg")),
                *(random.random() < 0.1, attributes),
                *(tuple(span.span_id for span in links), tuple(span.trace_id for span in links)),
            )
        )
    return spans


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_whatever_spans_there_are_paths_add_up_and_are_the_same_in_any_order(random):
    drawn = any_spans(random)
    found, coverage = critical_paths(SpanGraph(drawn))
    assert critical_paths(SpanGraph(random.sample(drawn, len(drawn)))) == (found, coverage)
    assert len({path.key for path in found}) == len(found) == coverage.measured
    for path in found:
        assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]


def test_very_many_requests_of_one_span_take_no_more_than_linear_time():
    # With the square of them this takes ten times as long.
    drawn = Drawn()
    root = drawn.add(None, "job", Kind.INTERNAL, 0, 400_000, "client")
    for number in range(3_000):
        start = number * 20
        request = drawn.add(root, "POST", Kind.CLIENT, start, start + 9, "client")
        drawn.add(request, "POST /v2/models/m/infer", Kind.SERVER, start + 1, start + 8, "model")
        drawn.add(root, "POST", Kind.CLIENT, start + 10, start + 11, "client", error="true")
    path = measured(drawn.spans)
    assert path.requests == 3_000
