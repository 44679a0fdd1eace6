"""An answer in pieces: handed on as the model makes it, inside one span that ends once, with the truth."""

import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from otel_kfs import semconv
from otel_kfs.serving import model_spans


class Model:
    """Answers in pieces, synchronously or not, and raises after `fails_after` of them if that is given."""

    name = "m"

    def __init__(self, pieces=3, fails_after=None):
        self.pieces = pieces
        self.fails_after = fails_after

    def explain(self, request):
        for number in range(self.pieces):
            if number == self.fails_after:
                raise ZeroDivisionError("broken")
            yield number
        return "the end"

    async def predict(self, request):
        for number in range(self.pieces):
            if number == self.fails_after:
                raise ZeroDivisionError("broken")
            yield number

    async def postprocess(self, request):
        async def pieces():
            for number in range(self.pieces):
                with trace.get_tracer("the model's").start_as_current_span(f"piece {number}"):
                    await asyncio.sleep(0)
                yield number

        return pieces()


@pytest.fixture
def spans(spans_of_models):
    return spans_of_models


def traced(**settings):
    model = Model(**settings)
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)
    return model


async def all_of(pieces):
    return [piece async for piece in pieces]


def only(spans):
    gc.collect()
    (span,) = spans.get_finished_spans()
    return span


def told(span):
    """What a span tells of an answer's end."""
    return (
        span.attributes[semconv.RESPONSE_CHUNKS],
        semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK in span.attributes,
        span.attributes.get("error.type"),
        span.status.description,
        len(span.events),
    )


def test_a_step_that_answers_in_pieces_lasts_to_the_last_one(spans):
    pieces = traced().predict(1)
    assert not spans.get_finished_spans()
    assert asyncio.run(all_of(pieces)) == [0, 1, 2]
    span = only(spans)
    assert (span.name, told(span)) == ("predict", (3, True, None, None, 0))
    assert 0 <= span.attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] <= (span.end_time - span.start_time) / 1e9


def test_so_does_one_that_is_not_asynchronous_and_returns_something(spans):
    returned = []

    def read(pieces):
        returned.append((yield from pieces))

    found = list(read(traced().explain(1)))
    assert (found, returned) == ([0, 1, 2], ["the end"])
    assert told(only(spans)) == (3, True, None, None, 0)


@pytest.mark.parametrize("step", ["predict", "explain"])
def test_a_postprocess_that_hands_on_what_the_model_makes_is_over_at_once(spans, step):
    class HandsOn(Model):
        def postprocess(self, request):
            return request

    model = HandsOn()
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)
    pieces = getattr(model, step)(1)
    assert model.postprocess(pieces) is pieces
    assert (only(spans).name, semconv.RESPONSE_CHUNKS in only(spans).attributes) == ("postprocess", False)
    found = asyncio.run(all_of(pieces)) if step == "predict" else list(pieces)
    assert found == [0, 1, 2]
    ends = {span.name: span.end_time for span in spans.get_finished_spans()}
    assert ends["postprocess"] < ends[step]


def test_one_that_makes_pieces_of_pieces_lasts_as_long_as_they_do(spans):
    class Marks(Model):
        async def postprocess(self, request):
            async for piece in request:
                yield f"<{piece}>"

    model = Marks()
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)
    assert asyncio.run(all_of(model.postprocess(model.predict(1)))) == ["<0>", "<1>", "<2>"]
    chunks = {span.name: span.attributes[semconv.RESPONSE_CHUNKS] for span in spans.get_finished_spans()}
    assert chunks == {"predict": 3, "postprocess": 3}


class Iterator:
    """Makes three pieces in its own class."""

    def __init__(self, fails_at=None):
        self.number = -1
        self.fails_at = fails_at

    def __aiter__(self):
        return self

    async def __anext__(self):
        self.number += 1
        await asyncio.sleep(0)
        if self.number == self.fails_at:
            raise ZeroDivisionError("broken")
        if self.number == 3:
            raise StopAsyncIteration
        return self.number


class GeneratorOfAnotherKind(Iterator):
    """Has all that an asynchronous generator has, without being Python's own."""

    async def asend(self, value):
        return await self.__anext__()

    async def athrow(self, *error):
        raise error[0]

    async def aclose(self):
        pass


async def handed_over(answer):
    """What a traced model's `predict` returns that returns this."""

    class Returns(Model):
        async def predict(self, request):
            return answer

    model = Returns()
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)
    return await model.predict(1)


def test_a_generator_of_a_class_of_the_users_lasts_to_its_last_piece(spans):
    async def main():
        return await all_of(await handed_over(GeneratorOfAnotherKind()))

    assert asyncio.run(main()) == [0, 1, 2]
    assert told(only(spans)) == (3, True, None, None, 0)


def test_a_generator_of_a_class_of_the_users_that_raises_fails(spans):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await all_of(await handed_over(GeneratorOfAnotherKind(fails_at=1)))

    asyncio.run(main())
    assert told(only(spans)) == (1, True, "ZeroDivisionError", "ZeroDivisionError: broken", 1)


def test_an_iterator_that_is_no_generator_is_passed_on_as_it_is_and_its_step_is_over(spans):
    answer = Iterator()

    async def main():
        given = await handed_over(answer)
        assert (given is answer, len(spans.get_finished_spans())) == (True, 1)
        return await all_of(given)

    assert asyncio.run(main()) == [0, 1, 2]
    assert semconv.RESPONSE_CHUNKS not in only(spans).attributes


def test_an_answer_without_a_piece_has_no_time_to_the_first(spans):
    assert asyncio.run(all_of(traced(pieces=0).predict(1))) == []
    assert told(only(spans)) == (0, False, None, None, 0)


def test_an_exception_in_mid_stream_passes_through_and_is_an_event(spans):
    with pytest.raises(ZeroDivisionError, match="broken"):
        asyncio.run(all_of(traced(fails_after=2).predict(1)))
    assert told(only(spans)) == (2, True, "ZeroDivisionError", "ZeroDivisionError: broken", 1)


def test_so_does_one_of_a_generator_that_is_not_asynchronous(spans):
    with pytest.raises(ZeroDivisionError, match="broken"):
        list(traced(fails_after=0).explain(1))
    assert told(only(spans)) == (0, False, "ZeroDivisionError", "ZeroDivisionError: broken", 1)


@pytest.mark.parametrize("step", ["predict", "explain"])
def test_an_answer_that_is_never_read_ends_its_span_when_it_is_dropped(spans, step):
    getattr(traced(), step)(1)
    assert told(only(spans)) == (0, False, "GeneratorExit", "GeneratorExit: never read", 0)


def test_an_answer_that_is_left_early_ends_its_span_when_it_is_dropped(spans):
    async def main():
        async for _ in traced().predict(1):
            break

    asyncio.run(main())
    assert told(only(spans)) == (1, True, "GeneratorExit", "GeneratorExit: the answer was left after 1 pieces", 0)


def test_a_reader_that_is_cancelled_ends_the_span(spans):
    class Waits(Model):
        async def predict(self, request):
            yield 0
            await asyncio.Event().wait()

    model = Waits()
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)

    async def main():
        first = asyncio.Event()

        async def read():
            async for _ in model.predict(1):
                first.set()

        task = asyncio.create_task(read())
        await first.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task.cancelled()

    assert asyncio.run(main())
    expected = (1, True, "CancelledError", "CancelledError: the answer was cancelled after 1 pieces", 0)
    assert told(only(spans)) == expected


def test_pieces_are_made_inside_the_span_and_taken_outside_of_it(spans):
    seen = []

    class Looks(Model):
        async def predict(self, request):
            token = otel_context.attach(otel_context.set_value("of the model", "kept"))
            seen.append(trace.get_current_span())
            yield 0
            seen.append(otel_context.get_value("of the model"))
            otel_context.detach(token)

    model = Looks()
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)

    async def main():
        outside = []
        async for _ in model.predict(1):
            outside.append((trace.get_current_span(), otel_context.get_value("of the model")))
        return outside

    assert asyncio.run(main()) == [(trace.INVALID_SPAN, None)]
    assert ([seen[0].name], seen[1:]) == (["predict"], ["kept"])


def test_where_the_span_is_not_sampled_the_model_s_own_generator_is_handed_on():
    model_spans.use_provider(TracerProvider(sampler=ALWAYS_OFF))
    own = Model.predict(traced(), 1)
    answer = traced().predict(1)
    assert (type(answer), answer.ag_code) == (type(own), Model.predict.__code__)
    model_spans.use_provider(None)


READS = st.lists(
    st.one_of(
        st.just(("next",)),
        st.tuples(st.just("send"), st.integers()),
        st.tuples(st.just("throw"), st.sampled_from([ValueError, KeyError, GeneratorExit])),
        st.just(("close",)),
    ),
    max_size=8,
)


class Echoes:
    """Hands back what is sent, survives a ValueError, turns a KeyError into another, and ends after a 3."""

    name = "m"

    async def predict(self, request):
        piece = "first"
        while piece != 3:
            try:
                piece = yield piece
            except ValueError:
                piece = "survived"
            except KeyError:
                raise LookupError("another") from None

    def explain(self, request):
        piece = "first"
        while piece != 3:
            try:
                piece = yield piece
            except ValueError:
                piece = "survived"
            except KeyError:
                raise LookupError("another") from None
        return "done"


async def outcomes(generator, reads):
    """What an asynchronous generator answers to each read."""
    found = []
    for how, *arguments in reads:
        call = {"next": "__anext__", "send": "asend", "throw": "athrow", "close": "aclose"}[how]
        try:
            found.append(await getattr(generator, call)(*arguments))
        except BaseException as error:  # noqa: BLE001 - GeneratorExit, too
            found.append((type(error), str(error)))
    return found


def outcomes_of_sync(generator, reads):
    found = []
    for how, *arguments in reads:
        call = {"next": "__next__"}.get(how, how)
        try:
            found.append(getattr(generator, call)(*arguments))
        except BaseException as error:  # noqa: BLE001 - GeneratorExit, too
            found.append((type(error), str(error), getattr(error, "value", None)))
    return found


@settings(max_examples=10)
@given(reads=READS)
def test_a_generator_answers_every_read_as_the_model_s_own_does(reads):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    model_spans.use_provider(provider)
    model = Echoes()
    own = asyncio.run(outcomes(model.predict(1), reads)), outcomes_of_sync(model.explain(1), reads)
    model_spans.trace_steps(model, lambda _: semconv.PREDICTOR)
    ours = asyncio.run(outcomes(model.predict(1), reads)), outcomes_of_sync(model.explain(1), reads)
    model_spans.untrace_all()
    model_spans.use_provider(None)
    assert ours == own
    gc.collect()
    assert [span.name for span in exporter.get_finished_spans()].count("predict") == 1
    assert len(exporter.get_finished_spans()) == 2


def test_a_span_of_ten_thousand_pieces_has_no_more_attributes_than_one_of_two(spans):
    for count in (2, 10_000):
        asyncio.run(all_of(traced(pieces=count).predict(1)))
    few, many = spans.get_finished_spans()
    assert (many.attributes[semconv.RESPONSE_CHUNKS], set(many.attributes)) == (10_000, set(few.attributes))
    assert (many.status.status_code, len(many.events)) == (StatusCode.UNSET, 0)
