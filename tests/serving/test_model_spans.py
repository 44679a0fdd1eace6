"""A model's steps as spans: the same methods, sync or async, on one object; and a request's way into them."""

import asyncio
import copy
import gc
import inspect
import pickle
import types
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_kfs import semconv, trace_model
from otel_kfs.errors import ConfigError
from otel_kfs.serving.model_spans import record_decode, record_receive, role_of, trace_steps, untrace_all, use_provider
from otel_kfs.serving.server_errors import record_exceptions_once

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
    trace_steps(model, lambda _: "predictor")
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


def test_a_coroutine_that_a_step_returns_has_the_name_of_the_model_s():
    class Called:
        async def __call__(self, request):
            return request

    class Named(Model):
        explain = Called()

        def postprocess(self, request):
            return self.explain(request)

    def names(model):
        answers = [getattr(model, step)([1]) for step in ("predict", "explain", "postprocess")]
        found = [(answer.__name__, answer.__qualname__) for answer in answers]
        for answer in answers:
            asyncio.run(answer)
        return found

    plain, traced = Named(), Named()
    untraced = names(plain)
    trace_steps(traced, lambda _: "predictor")
    assert names(traced) == untraced


def test_a_step_that_is_asynchronous_behind_a_decorator_lasts_until_it_is_awaited(spans):
    class Decorated(Model):
        def predict(self, request):
            return Model.predict(self, request)

        def explain(self, request):
            return self.fail()

        async def fail(self):
            await asyncio.sleep(0)
            raise ZeroDivisionError("broken")

    model = Decorated()
    trace_steps(model, lambda _: "predictor")
    assert inspect.iscoroutinefunction(model.predict) is inspect.iscoroutinefunction(Decorated().predict) is False

    async def main():
        coroutine = model.predict([1, 2])
        assert (inspect.iscoroutine(coroutine), seen(spans)) == (True, [])
        return await coroutine, trace.get_current_span()

    assert asyncio.run(main()) == (3, trace.INVALID_SPAN)
    assert seen(spans) == [("predict", STEP)]
    spans.clear()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(model.explain(1))
    (failed,) = spans.get_finished_spans()
    assert (failed.name, failed.attributes["error.type"]) == ("explain", "ZeroDivisionError")


class Prepares(Model):
    """Does something before what it returns is awaited: a coroutine, or a task that is under way."""

    def predict(self, request):
        with TRACER.start_as_current_span("prepare"):
            return self.answer(request)

    def explain(self, request):
        return asyncio.ensure_future(self.answer(request))

    @types.coroutine
    def preprocess(self, request):
        return (yield from self.answer(request))

    def postprocess(self, answer):
        return answer

    async def answer(self, request):
        await asyncio.sleep(0.001)
        with TRACER.start_as_current_span("answer"):
            return sum(request)


@pytest.mark.parametrize(
    ("step", "below"), [("predict", ["prepare", "answer"]), ("explain", ["answer"]), ("preprocess", ["answer"])]
)
def test_what_is_done_before_an_answer_is_awaited_is_below_the_same_span(spans, step, below):
    model = Prepares()
    trace_steps(model, lambda _: "predictor")

    async def main():
        return await getattr(model, step)([1, 2]), trace.get_current_span()

    assert asyncio.run(main()) == (3, trace.INVALID_SPAN)
    *inner, whole = spans.get_finished_spans()
    assert (whole.name, [span.name for span in inner]) == (step, below)
    assert {span.parent.span_id for span in inner} == {whole.context.span_id}
    assert whole.end_time >= inner[-1].end_time


def test_an_answer_of_a_class_that_can_t_be_hashed_is_returned(spans):
    class Unhashable(type):
        __hash__ = None

    class Answers(Model):
        def predict(self, request):
            return Unhashable("Answer", (), {})()

    model = Answers()
    trace_steps(model, lambda _: "predictor")
    assert type(model.predict(1)).__name__ == "Answer"
    assert seen(spans) == [("predict", STEP)]


@pytest.mark.parametrize("step", ["predict", "explain"])
def test_a_step_that_hands_on_what_another_returned_to_be_awaited_is_over_at_once(spans, step):
    model = Prepares()
    trace_steps(model, lambda _: "predictor")

    async def main():
        return await model.postprocess(getattr(model, step)([1, 2]))

    assert asyncio.run(main()) == 3
    ended = [span.name for span in spans.get_finished_spans() if span.parent is None]
    assert ended == ["postprocess", step]


def test_a_task_that_fails_or_is_cancelled_ends_the_span_with_that(spans):
    model = Prepares()
    trace_steps(model, lambda _: "predictor")

    async def main():
        cancelled = model.explain([1])
        cancelled.cancel()
        return await asyncio.gather(model.explain("no numbers"), cancelled, return_exceptions=True)

    assert [type(found).__name__ for found in asyncio.run(main())] == ["TypeError", "CancelledError"]
    steps = [span for span in spans.get_finished_spans() if span.name == "explain"]
    assert {(span.attributes["error.type"], len(span.events)) for span in steps} == {
        ("TypeError", 1),
        ("CancelledError", 0),
    }


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_an_answer_that_nobody_awaits_ends_its_span_when_it_is_dropped(spans):
    model = Prepares()
    trace_steps(model, lambda _: "predictor")
    model.predict([1])
    gc.collect()
    (step,) = (span for span in spans.get_finished_spans() if span.name == "predict")
    assert (step.attributes["error.type"], step.status.description) == (
        "GeneratorExit",
        "GeneratorExit: never awaited",
    )


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
    trace_steps(model, lambda _: "transformer")
    model.preprocess([1])
    assert seen(spans) == [("preprocess", STEP)]


def test_an_exception_passes_through_unchanged_and_marks_the_span(spans):
    failure = ValueError("no picture")

    class Failing(Model):
        def preprocess(self, request):
            raise failure

    model = Failing()
    trace_steps(model, lambda _: "predictor")
    with pytest.raises(ValueError, match="no picture") as raised:
        model.preprocess([1])
    assert raised.value is failure
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: no picture")


def test_the_role_is_asked_for_at_each_call(spans):
    roles = iter(["transformer", "predictor"])
    model = Model()
    trace_steps(model, lambda _: next(roles))
    model.preprocess([1])
    model.preprocess([1])
    assert [span.attributes["otel_kfs.role"] for span in spans.get_finished_spans()] == ["transformer", "predictor"]


def test_a_role_may_have_a_name_of_the_user_s(spans):
    model = Model()
    trace_steps(model, lambda _: "explainer")
    model.preprocess([1])
    assert seen(spans) == [("preprocess", {**STEP, "otel_kfs.role": "explainer"})]


def test_the_span_is_current_inside_the_step(spans):
    class Calling(Model):
        def preprocess(self, request):
            with TRACER.start_as_current_span("inside"):
                return request

    model = Calling()
    trace_steps(model, lambda _: "predictor")
    model.preprocess([1])
    inside, step = spans.get_finished_spans()
    assert inside.parent.span_id == step.context.span_id


def test_receive_lasts_from_the_headers_to_the_whole_body(spans):
    record_receive(1_000, 5_000, 13_900_000)
    (span,) = spans.get_finished_spans()
    assert (span.name, span.start_time, span.end_time) == ("receive", 1_000, 5_000)
    assert dict(span.attributes) == {"http.request.body.size": 13_900_000}
    record_decode()


def test_decode_lasts_from_the_whole_body_to_the_first_step_once_a_request(spans, model):
    record_receive(1_000, 5_000)
    model.preprocess([1])
    model.preprocess([1])
    assert [span.name for span in spans.get_finished_spans()] == ["receive", "decode", "preprocess", "preprocess"]
    decode, preprocess = spans.get_finished_spans()[1:3]
    assert decode.start_time == 6_000
    assert decode.end_time <= preprocess.start_time


def test_without_a_request_there_is_no_decode(spans, model):
    model.preprocess([1])
    assert [span.name for span in spans.get_finished_spans()] == ["preprocess"]


def test_requests_side_by_side_keep_their_bodies_times_apart(spans):
    async def request(number):
        record_receive(0, number)
        await asyncio.sleep(0)
        record_decode()

    async def both():
        await asyncio.gather(request(1), request(2))

    asyncio.run(both())
    assert [span.start_time for span in spans.get_finished_spans() if span.name == "decode"] == [1_001, 1_002]


def test_a_model_with_a_predictor_is_a_transformer():
    assert (role_of(True), role_of(False)) == ("transformer", "predictor")


@pytest.mark.parametrize("model", [object(), Model(), None])
def test_what_is_no_model_of_an_sdk_is_refused(model):
    with pytest.raises(ConfigError) as raised:
        trace_model(model)
    name = type(model).__qualname__
    assert str(raised.value) == f"{name} is neither a kfserving.KFModel nor a kserve.Model or OpenAIModel"


def test_a_class_of_models_is_refused_with_what_to_trace():
    with pytest.raises(ConfigError) as raised:
        trace_model(Model)
    assert str(raised.value) == "Model is a class: trace the model that is made of it, as in trace_model(Model(...))"


def test_a_function_set_on_the_model_is_called_with_what_it_takes_and_looks_like_itself(spans):
    model = Model()
    model.predict = lambda request, headers=None: (request, headers)
    before = inspect.signature(model.predict)
    trace_steps(model, lambda _: "predictor")
    assert model.predict(1, headers={}) == (1, {})
    assert inspect.signature(model.predict) == before
    assert seen(spans) == [("predict", STEP)]


def test_an_asynchronous_generator_hands_over_its_pieces(spans):
    class Streaming(Model):
        async def predict(self, request):
            yield request

    model = Streaming()
    trace_steps(model, lambda _: "predictor")

    async def collect():
        return [item async for item in model.predict(1)]

    assert asyncio.run(collect()) == [1]
    ((name, attributes),) = seen(spans)
    assert attributes.pop(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK) > 0
    assert (name, attributes) == ("predict", {**STEP, semconv.RESPONSE_CHUNKS: 1})


def test_an_answer_of_another_server_is_a_status_without_an_event(spans):
    class Refused(Exception):
        response = types.SimpleNamespace(status_code=503)

    class Asking(Model):
        async def predict(self, request):
            raise Refused("no")

    model = Asking()
    trace_steps(model, lambda _: "transformer")
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
    trace_steps(model, lambda _: "predictor")
    for _ in range(2):
        with suppress(ValueError), TRACER.start_as_current_span("outer") as outer:
            record_exceptions_once(outer)
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
    trace_steps(model, lambda _: "predictor")

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
    trace_steps(model, lambda _: "predictor")
    use_provider(provider)
    model.preprocess([1])
    use_provider(None)
    model.preprocess([1])
    assert [len(found.get_finished_spans()) for found in (exporter, spans)] == [1, 1]


class Weighted(Model):
    """A model with a state, and with every kind of step."""

    def __init__(self, name, weight):
        self.name, self.weight = name, weight

    def preprocess(self, request, *, scale=1):
        """Scales, through its base."""
        return [self.weight * item for item in super().preprocess(request, scale=scale)]

    async def predict(self, request):
        return self.weight * await super().predict(request)

    @staticmethod
    def explain(request):
        return request

    @classmethod
    def postprocess(cls, request):
        return cls.__name__, request


COPIES = [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]


@pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_a_copy_of_a_traced_model_computes_with_its_own_state_and_is_traced_under_its_own_name(spans, copied):
    model = Weighted("a", 1)
    trace_steps(model, lambda _: "predictor")
    other = copied(model)
    other.name, other.weight = "b", 2
    assert [one.preprocess([1]) for one in (model, other)] == [[1], [2]]
    assert [asyncio.run(one.predict([1])) for one in (model, other)] == [1, 2]
    names = [span.attributes["otel_kfs.model.name"] for span in spans.get_finished_spans()]
    assert names == ["a", "b", "a", "b"]


@pytest.mark.parametrize("copied", COPIES[:2], ids=["copy", "deepcopy"])
def test_a_copy_of_a_model_with_a_function_of_its_own_calls_that_function(spans, copied):
    plain, model = Weighted("a", 1), Weighted("a", 1)
    for one in (plain, model):
        one.predict = one.preprocess
    trace_steps(model, lambda _: "predictor")
    results = []
    for one in (plain, model):
        other = copied(one)
        one.weight, other.weight = 3, 2
        results.append([one.predict([1]), other.predict([1])])
    assert results[0] == results[1]


@pytest.mark.parametrize("copied", COPIES, ids=["copy", "deepcopy", "pickle"])
def test_a_step_itself_is_copied_and_pickled_as_without_tracing(spans, copied):
    results = []
    for traced in (False, True):
        model = Weighted("a", 2)
        if traced:
            trace_steps(model, lambda _: "predictor")
        step = copied(model.preprocess)
        model.weight = 3
        results.append((step([1]), step.__self__ is model))
    assert results[0] == results[1]


def outcome(call):
    try:
        result = call()
        return asyncio.run(result) if inspect.iscoroutine(result) else result
    except (TypeError, AttributeError) as error:
        return type(error), str(error)


STEPS = ["preprocess", "predict", "explain", "postprocess"]


@settings(max_examples=60)
@given(
    step=st.sampled_from(STEPS),
    args=st.lists(st.one_of(st.none(), st.lists(st.integers(0, 9), max_size=2)), max_size=2),
    kwargs=st.dictionaries(st.sampled_from(["request", "scale", "other"]), st.integers(0, 9), max_size=2),
    change=st.sampled_from(["nothing", "set", "set and delete", "delete", "on the class"]),
)
def test_a_traced_model_answers_as_an_untraced_one_whatever_it_is_called_with(step, args, kwargs, change):
    found = []
    for traced in (False, True):
        cls = type("Weighted", (Weighted,), {})
        model = cls("a", 2)
        if traced:
            trace_steps(model, lambda _: "predictor")

        def changed(model=model, cls=cls):
            if change.startswith("set"):
                setattr(model, step, lambda *args, **kwargs: ("set", args, kwargs))
            if change == "on the class":
                setattr(cls, step, lambda self, *args, **kwargs: ("class", args, kwargs))
            if change.endswith("delete"):
                delattr(model, step)

        results = [outcome(changed), outcome(lambda model=model: getattr(model, step)(*args, **kwargs))]
        seen = getattr(model, step)
        looks = inspect.signature(seen), inspect.iscoroutinefunction(seen), inspect.ismethod(seen), seen.__doc__
        states = {key: value for key, value in vars(model).items() if not key.startswith("_otel_kfs")}
        found.append([*results, looks, sorted(states), callable(getattr(cls, step))])
        untrace_all()
    assert found[0] == found[1]


def test_a_step_that_calls_its_base_s_is_one_span_also_where_the_base_is_traced_itself(spans):
    models = [Weighted("sub", 1), Model()]
    for model in models:
        trace_steps(model, lambda _: "predictor")
    for model in models:
        model.preprocess([1])
    assert [span.attributes["otel_kfs.model.name"] for span in spans.get_finished_spans()] == ["sub", "mobilenet"]


def test_without_tracing_model_and_class_are_as_before(model):
    before = {**vars(Model)}
    other = Weighted("a", 1)
    inherited, own = {**vars(Weighted)}, {**vars(other)}
    trace_steps(other, lambda _: "predictor")
    untrace_all()
    assert (vars(Weighted), vars(other), vars(model)) == (inherited, own, {})
    assert {**before, "preprocess": None, "predict": None} == {**vars(Model), "preprocess": None, "predict": None}
    assert inspect.isfunction(vars(Model)["preprocess"])


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def test_a_step_whose_exception_can_t_be_described_ends_with_its_type(spans):
    class Failing(Model):
        def preprocess(self, request):
            raise Unprintable

    model = Failing()
    trace_steps(model, lambda _: "predictor")
    with pytest.raises(Unprintable):
        model.preprocess([1])
    (span,) = spans.get_finished_spans()
    event = [(event.name, dict(event.attributes)) for event in span.events]
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "Unprintable")
    assert event == [("exception", {"exception.type": "Unprintable"})]
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_call_leaves_nothing_for_the_garbage_collector(model):
    for _ in range(2):  # the first one fills caches
        gc.collect()
        gc.disable()
        try:
            record_receive(1, 2)
            model.preprocess([1])
            left = gc.collect()
        finally:
            gc.enable()
    assert left == 0
