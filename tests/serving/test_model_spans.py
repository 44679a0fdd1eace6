"""A model's steps as spans: the same methods, sync or async, on one object; and a request's way into them."""

import asyncio
import inspect
import types
from contextlib import suppress

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_kfs import trace_model
from otel_kfs.errors import ConfigError
from otel_kfs.serving.model_spans import decoded, received, role_of, trace_steps, use_provider
from otel_kfs.serving.server_errors import guard_span

TRACER = trace.get_tracer("a test")


class Model:
    """A model with sync and async steps."""

    name = "mobilenet"

    def preprocess(self, request, *, scale=1):
        """Scales."""
        return [item * scale for item in request]

    async def predict(self, request):
        await asyncio.sleep(0)
        return sum(request)


@pytest.fixture
def model():
    model = Model()
    trace_steps(model, lambda: "predictor")
    return model


def seen(spans):
    return [(span.name, dict(span.attributes)) for span in spans.get_finished_spans()]


STEP = {"otel_kfs.model.name": "mobilenet", "otel_kfs.role": "predictor"}


def test_a_sync_step_stays_sync_and_returns_what_it_returned(spans, model):
    assert not inspect.iscoroutinefunction(model.preprocess)
    assert model.preprocess([1, 2], scale=3) == [3, 6]
    assert seen(spans) == [("preprocess", STEP)]


def test_an_async_step_stays_async_and_returns_what_it_returned(spans, model):
    assert inspect.iscoroutinefunction(model.predict)
    assert asyncio.run(model.predict([1, 2])) == 3
    assert seen(spans) == [("predict", STEP)]


def test_a_step_keeps_its_name_documentation_and_signature(model):
    assert (model.preprocess.__name__, model.preprocess.__doc__) == ("preprocess", "Scales.")
    assert inspect.signature(model.preprocess) == inspect.signature(Model().preprocess)


def test_a_step_that_the_model_lacks_is_not_made_up(model):
    assert not hasattr(model, "explain")
    assert not hasattr(model, "postprocess")


def test_other_objects_of_the_class_stay_untraced(spans, model):
    Model().preprocess([1])
    assert seen(spans) == []


def test_tracing_twice_makes_one_span(spans, model):
    trace_steps(model, lambda: "transformer")
    model.preprocess([1])
    assert seen(spans) == [("preprocess", STEP)]


def test_an_exception_passes_through_unchanged_and_marks_the_span(spans):
    failure = ValueError("no picture")

    class Failing(Model):
        def preprocess(self, request):
            raise failure

    model = Failing()
    trace_steps(model, lambda: "predictor")
    with pytest.raises(ValueError, match="no picture") as raised:
        model.preprocess([1])
    assert raised.value is failure
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: no picture")


def test_the_role_is_asked_for_at_each_call(spans):
    roles = iter(["transformer", "predictor"])
    model = Model()
    trace_steps(model, lambda: next(roles))
    model.preprocess([1])
    model.preprocess([1])
    assert [span.attributes["otel_kfs.role"] for span in spans.get_finished_spans()] == ["transformer", "predictor"]


def test_a_role_may_have_a_name_of_the_user_s(spans):
    model = Model()
    trace_steps(model, lambda: "explainer")
    model.preprocess([1])
    assert seen(spans) == [("preprocess", {**STEP, "otel_kfs.role": "explainer"})]


def test_the_span_is_current_inside_the_step(spans):
    class Calling(Model):
        def preprocess(self, request):
            with TRACER.start_as_current_span("inside"):
                return request

    model = Calling()
    trace_steps(model, lambda: "predictor")
    model.preprocess([1])
    inside, step = spans.get_finished_spans()
    assert inside.parent.span_id == step.context.span_id


def test_receive_lasts_from_the_headers_to_the_whole_body(spans):
    received(1_000, 5_000, 13_900_000)
    (span,) = spans.get_finished_spans()
    assert (span.name, span.start_time, span.end_time) == ("receive", 1_000, 5_000)
    assert dict(span.attributes) == {"http.request.body.size": 13_900_000}
    decoded()


def test_decode_lasts_from_the_whole_body_to_the_first_step_once_a_request(spans, model):
    received(1_000, 5_000)
    model.preprocess([1])
    model.preprocess([1])
    assert [span.name for span in spans.get_finished_spans()] == ["receive", "decode", "preprocess", "preprocess"]
    decode, preprocess = spans.get_finished_spans()[1:3]
    assert decode.start_time == 5_000
    assert decode.end_time <= preprocess.start_time


def test_without_a_request_there_is_no_decode(spans, model):
    model.preprocess([1])
    assert [span.name for span in spans.get_finished_spans()] == ["preprocess"]


def test_requests_side_by_side_keep_their_bodies_times_apart(spans):
    async def request(number):
        received(0, number)
        await asyncio.sleep(0)
        decoded()

    async def both():
        await asyncio.gather(request(1), request(2))

    asyncio.run(both())
    assert [span.start_time for span in spans.get_finished_spans() if span.name == "decode"] == [1, 2]


def test_a_model_with_a_predictor_is_a_transformer():
    assert (role_of(True), role_of(False)) == ("transformer", "predictor")


@pytest.mark.parametrize("model", [object(), Model(), None])
def test_what_is_no_model_of_an_sdk_is_refused(model):
    with pytest.raises(ConfigError) as raised:
        trace_model(model)
    name = type(model).__qualname__
    assert str(raised.value) == f"{name} is neither a kfserving.KFModel nor a kserve.Model"


def test_a_function_set_on_the_model_is_called_with_what_it_takes_and_looks_like_itself(spans):
    model = Model()
    model.predict = lambda request, headers=None: (request, headers)
    before = inspect.signature(model.predict)
    trace_steps(model, lambda: "predictor")
    assert model.predict(1, headers={}) == (1, {})
    assert inspect.signature(model.predict) == before
    assert seen(spans) == [("predict", STEP)]


def test_an_asynchronous_generator_is_handed_over_as_it_is(spans):
    class Streaming(Model):
        async def predict(self, request):
            yield request

    model = Streaming()
    trace_steps(model, lambda: "predictor")

    async def collect():
        return [item async for item in model.predict(1)]

    assert asyncio.run(collect()) == [1]
    assert seen(spans) == [("predict", STEP)]


def test_an_answer_of_another_server_is_a_status_without_an_event(spans):
    class Refused(Exception):
        response = types.SimpleNamespace(status_code=503)

    class Asking(Model):
        async def predict(self, request):
            raise Refused("no")

    model = Asking()
    trace_steps(model, lambda: "transformer")
    with pytest.raises(Refused):
        asyncio.run(model.predict(1))
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.attributes["error.type"], span.events) == (
        StatusCode.ERROR,
        Refused.__qualname__,
        (),
    )


def test_an_exception_is_an_event_of_the_innermost_span_alone_in_each_trace_that_it_passes(spans):
    failure = ValueError("always the same")

    class Failing(Model):
        def preprocess(self, request):
            raise failure

    model = Failing()
    trace_steps(model, lambda: "predictor")
    for _ in range(2):
        with suppress(ValueError), TRACER.start_as_current_span("outer") as outer:
            guard_span(outer)
            model.preprocess([1])
    assert [(span.name, len(span.events)) for span in spans.get_finished_spans()] == [
        ("preprocess", 1),
        ("outer", 0),
    ] * 2


def test_a_cancelled_step_is_an_error_without_an_event_and_stays_cancelled(spans):
    class Slow(Model):
        async def predict(self, request):
            await asyncio.sleep(60)

    model = Slow()
    trace_steps(model, lambda: "predictor")

    async def cancel():
        task = asyncio.ensure_future(model.predict(1))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancel())
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.attributes["error.type"], span.events) == (
        StatusCode.ERROR,
        "CancelledError",
        (),
    )


def test_the_context_is_what_it_was_after_a_step(spans, model):
    with TRACER.start_as_current_span("around") as around:
        model.preprocess([1])
        asyncio.run(model.predict([1]))
        assert trace.get_current_span() is around


def test_spans_go_to_the_provider_in_use(spans):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    model = Model()
    trace_steps(model, lambda: "predictor")
    use_provider(provider)
    model.preprocess([1])
    use_provider(None)
    model.preprocess([1])
    assert [len(found.get_finished_spans()) for found in (exporter, spans)] == [1, 1]
