"""A model's steps as spans, and the `receive` and `decode` spans of the request before them, for both serving SDKs.

A step is traced in the model's class, by a descriptor that hands out the model's own method, with a span around it if
the model is a traced one. The model keeps its attributes, and gets one more that says so: a copy, or a model that comes
out of a pickle, computes with what it holds itself.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextvars import ContextVar
from types import FunctionType, GeneratorType, MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

import wrapt
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.trace import Span, Tracer, TracerProvider, get_tracer

from otel_kfs import __version__, semconv
from otel_kfs.serving.server_errors import fail, never_raises, report_failure
from otel_kfs.serving.streamed_answer import StreamedAnswer, handed_on, is_handed_on, is_in_pieces
from otel_kfs.telemetry.current_span import CurrentSpan
from otel_kfs.telemetry.provider import SCHEMA_URL

# When the body of the request that is being served was complete (ns since the epoch): where `decode` starts.
_body_complete: ContextVar[int | None] = ContextVar("otel_kfs_body_complete", default=None)

# An attribute of a traced model: the role that it was given, None for the one that it turns out to have.
_ROLE = "_otel_kfs_role"
_ABSENT = object()

_models: WeakValueDictionary[int, Any] = WeakValueDictionary()  # the traced ones, by their ids
_steps: list[_TracedStep] = []


def _new_tracer(provider: TracerProvider | None = None) -> Tracer:
    # Not one that never raises, as elsewhere: all that is done with its spans is guarded here.
    return get_tracer("otel_kfs", __version__, provider, SCHEMA_URL)


_tracer = _new_tracer()
_is_global = True

_SERVER_S = otel_context.create_key("otel_kfs_tracer")  # in a context: the tracer beside the one of the SERVER span


def use_provider(provider: TracerProvider | None) -> None:
    """Send the spans of steps to this provider from now on; None: to the SERVER span's, or else to the global one."""
    global _tracer, _is_global
    _tracer, _is_global = _new_tracer(provider), provider is None


def tracer(context: Context | None = None) -> Tracer:
    """Return the tracer of a request's steps, whose spans may raise; `context` is the current one, if it is known."""
    own = otel_context.get_value(_SERVER_S, context) if _is_global else None
    return own if isinstance(own, Tracer) else _tracer


def tracer_beside(server: object) -> Tracer | None:
    """Return a tracer of ours that sends its spans where this one does; None where that can't be told.

    A SERVER span of somebody else's may come from a provider that is not the global one.
    """
    if not isinstance(server, sdk_trace.Tracer):
        return None  # the API's, which stands for the global provider
    provider = sdk_trace.TracerProvider(
        sampler=server.sampler,
        resource=server.resource,
        shutdown_on_exit=False,
        active_span_processor=server.span_processor,
        id_generator=server.id_generator,
    )
    return _new_tracer(provider)


def with_tracer(steps: Tracer | None, context: Context) -> Context:
    """Return the context in which a request's steps have this tracer, if there is one."""
    return context if steps is None else otel_context.set_value(_SERVER_S, steps, context)


# ns between the end of `receive` and the start of `decode`. Jaeger keeps microseconds, and leaves a span out of its
# critical path that ends in the one in which the next span starts.
_APART = 1_000


@never_raises("the receive span")
def record_receive(
    headers_seen: int, body_complete: int, body_size: int | None = None, queued: int | None = None
) -> None:
    """Record the `receive` span of the current request: from its headers to its whole body (ns since the epoch).

    `queued` is for how many milliseconds it had been there when its headers were seen, if that is known.
    """
    _body_complete.set(body_complete)
    known = {semconv.HTTP_REQUEST_BODY_SIZE: body_size, semconv.REQUEST_QUEUE_TIME: queued}
    attributes = {key: value for key, value in known.items() if value is not None}
    tracer().start_span(semconv.RECEIVE, start_time=headers_seen, attributes=attributes).end(body_complete)


@never_raises("the decode span")
def record_decode() -> None:
    """Record the `decode` span of the current request: from its whole body to now; once a request."""
    body_complete = _body_complete.get()
    if body_complete is not None:
        _body_complete.set(None)
        now, current = time.time_ns(), otel_context.get_current()
        tracer(current).start_span(semconv.DECODE, current, start_time=min(body_complete + _APART, now)).end(now)


class StepSpan(CurrentSpan):
    """A model's step, current inside the `with`; an exception from there is an event of it if of no span below.

    One that `goes_on` when the `with` is left does not end there: it is entered once more.
    """

    __slots__ = ("_role_of_model", "goes_on", "model", "name", "started", "streamed")
    what = "a step"

    def __init__(
        self,
        name: str,
        model: Any,
        role_of_model: Callable[[Any], str],
        args: tuple[Any, ...] = (),  # noqa: ARG002 - for those that look at the request
        kwargs: Mapping[str, Any] = MappingProxyType({}),  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.name = name
        self.model = model
        self._role_of_model = role_of_model
        self.started = 0
        self.streamed: StreamedAnswer | None = None
        self.goes_on = False

    def start(self) -> tuple[Span, Context] | None:
        """Start the span in the current context, or let one that goes on be current again."""
        if not self.goes_on:
            return self.begin()
        self.goes_on = False
        return (self.span, self.inside(otel_context.get_current())) if self.has_started else None

    def begin(self) -> tuple[Span, Context] | None:
        """Start the span in the current context; None where the step is to have none."""
        if self.name == semconv.PREPROCESS:
            record_decode()
        current = otel_context.get_current()  # once: the SDK would look for it twice more
        self.started = time.time_ns()
        span = tracer(current).start_span(self.name, current, attributes=self.attributes(), start_time=self.started)
        return span, self.inside(current)

    def inside(self, context: Context) -> Context:
        """Return the context inside the `with`, without the span; `context` is the one outside."""
        return context

    def attributes(self) -> dict[str, Any]:
        """Return which model it is, in which role."""
        attributes = {semconv.ROLE: vars(self.model).get(_ROLE) or self._role_of_model(self.model)}
        name = getattr(self.model, "name", None)
        if isinstance(name, str):
            attributes[semconv.MODEL_NAME] = name
        return attributes

    def hand_over(self, answer: Any) -> Any:
        """Return what the step returned; if that comes in pieces, what lets the span go on to the last one.

        A `postprocess` that returns what `predict` did, as KServe's own does, makes none of the pieces.
        """
        if not _is_plain(answer) and is_in_pieces(answer):
            is_given = self.name == semconv.POSTPROCESS and is_handed_on(answer)
            answer = answer if is_given else self._in_pieces(answer)
        if self.streamed is None:
            self.take(answer)
        return answer

    def take(self, answer: Any) -> None:
        """Take note of a whole answer."""

    def hand_over_later(self, answer: Any, finish: Callable[[StepSpan, Any], Coroutine[Any, Any, Any]]) -> Any:
        """Return the coroutine or the future that a step has returned, at whose end the span ends.

        `finish` awaits a coroutine inside the span.
        """
        if not asyncio.isfuture(answer):
            awaited = _named(finish(self, answer), answer)
            weakref.finalize(awaited, self._drop)
            return awaited
        try:
            answer.add_done_callback(self._done)  # it is under way, and others may wait for it, too
        except Exception:
            report_failure("an answer that is awaited")
        return answer

    @never_raises("an answer that was awaited")
    def _done(self, future: Any) -> None:
        self.goes_on = False
        # Not future.exception(): asking for it would keep asyncio from logging an exception that nobody looks at.
        error = asyncio.CancelledError() if future.cancelled() else future._exception
        if error is None:
            self.take(future.result())
        self.finish(self.span, error)

    @never_raises("an answer that nobody awaits")
    def _drop(self) -> None:
        if self.goes_on:
            self.goes_on = False
            self.finish(self.span, GeneratorExit("never awaited"))

    def _in_pieces(self, answer: Any) -> Any:
        try:
            if self.watches():
                self.streamed = self.stream()
                return handed_on(answer, self.streamed)
        except Exception:
            report_failure("an answer in pieces")
        return answer

    def watches(self) -> bool:
        """Whether anybody wants to know of an answer's pieces."""
        return self.span.is_recording()

    def stream(self) -> StreamedAnswer:
        """Return what ends the span of a streamed answer."""
        return StreamedAnswer(self.span, self.started)

    def finish(self, span: Span, error: BaseException | None) -> None:
        """Mark the span with what the step raised, and end it, unless it continues or a streamed answer ends it."""
        if error is not None:
            fail(span, error)
        if self.streamed is None and not self.goes_on:
            span.end()


# What makes the span of a call, of the method's name, the model, what tells a model's role, and the arguments.
OpenStep = Callable[[str, Any, Callable[[Any], str], tuple[Any, ...], dict[str, Any]], StepSpan]


def trace_steps(
    model: Any,
    role_of_model: Callable[[Any], str],
    role: str | None = None,
    steps: Iterable[str] = semconv.MODEL_STEPS,
    open_step: OpenStep = StepSpan,
) -> None:
    """Trace the steps of this one model, and of copies of it.

    Without a `role`, `role_of_model` is asked at each call, because a KServe model learns only from its server whether
    it has a predictor. `open_step` makes the span of a call of one of the model's methods `steps`.
    """
    cls = type(model)
    for step in steps:
        is_new = not isinstance(inspect.getattr_static(cls, step, None), _TracedStep)
        if is_new and callable(getattr(model, step, None)):
            _steps.append(_TracedStep(cls, step, role_of_model, open_step))
    vars(model).setdefault(_ROLE, role)
    _models[id(model)] = model


def is_traced(model: Any) -> bool:
    """Whether `trace_steps` has been called for this model, or for one that it is a copy of."""
    return _ROLE in vars(model)


def untrace_all() -> None:
    """Leave every model as it was before it was traced, and every class."""
    while _steps:
        _steps.pop().remove()
    for model in _models.values():
        vars(model).pop(_ROLE, None)
    _models.clear()


class _TracedMethod(wrapt.FunctionWrapper[Any, Any]):
    """A model's method with a span around it; what is copied or pickled is the model's own."""

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)


class _TracedStep:
    """One step in a class of models: what is looked up is what the model had before, traced where the model is.

    Source: Python's data model, "Invoking Descriptors": one with `__set__` goes before the instance's own attribute.
    """

    def __init__(self, cls: type[Any], name: str, role_of_model: Callable[[Any], str], open_step: OpenStep) -> None:
        self.cls = cls
        self._name = name
        self._role_of_model = role_of_model
        self._open_step = open_step
        self._before = vars(cls).get(name, _ABSENT)
        setattr(cls, name, self)

    def remove(self) -> None:
        """Restore the class's own attribute, unless it has been replaced since."""
        if vars(self.cls).get(self._name) is not self:
            return
        if self._before is _ABSENT:
            delattr(self.cls, self._name)
        else:
            setattr(self.cls, self._name, self._before)

    def __get__(self, model: Any, owner: type[Any] | None = None) -> Any:
        method = self._untraced(model, owner)
        if model is None or not is_traced(model) or not callable(method) or self._is_overridden(type(model)):
            return method
        call = self._call_async if _is_coroutine_function(method) else self._call
        return _TracedMethod(method, functools.partial(call, model))

    def __set__(self, model: Any, value: Any) -> None:
        vars(model)[self._name] = value

    def __delete__(self, model: Any) -> None:
        if vars(model).pop(self._name, _ABSENT) is _ABSENT:
            raise AttributeError(f"{type(model).__name__!r} object has no attribute {self._name!r}")

    def _untraced(self, model: Any, owner: type[Any] | None) -> Any:
        if model is not None and self._name in vars(model):
            return vars(model)[self._name]
        if self._before is _ABSENT:
            return getattr(super(self.cls, owner if model is None else model), self._name)
        bind = getattr(type(self._before), "__get__", None)
        return self._before if bind is None else bind(self._before, model, owner)

    def _is_overridden(self, cls: type[Any]) -> bool:
        """Whether a model of this class comes here from its own method, by `super()`."""
        if cls is not self.cls:
            for base in cls.__mro__:
                if self._name in base.__dict__:
                    return base is not self.cls
        return False

    def _call(self, model: Any, method: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        with (call := self._open_step(self._name, model, self._role_of_model, args, kwargs)):
            answer = method(*args, **kwargs)
            is_plain = _is_plain(answer) or any(answer is given for given in args)  # which it only hands on
            if is_plain or not (_is_coroutine(answer) or asyncio.isfuture(answer)):
                return call.hand_over(answer)
            # The method is asynchronous after all: behind a decorator, compiled, or by way of a task or a thread.
            call.goes_on = True
        return call.hand_over_later(answer, self._finish)

    def _call_async(self, model: Any, method: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        call = self._open_step(self._name, model, self._role_of_model, args, kwargs)
        answer = method(*args, **kwargs)
        return _named(self._finish(call, answer), answer)

    async def _finish(self, call: StepSpan, answer: Coroutine[Any, Any, Any]) -> Any:
        with call:
            return call.hand_over(await answer)


def _named(awaited: Any, answer: Any) -> Any:
    """Give a coroutine of ours the name of the one that it awaits: it may be shown, as KServe does in an error."""
    name = getattr(answer, "__name__", None)
    if isinstance(name, str):
        awaited.__name__, awaited.__qualname__ = name, getattr(answer, "__qualname__", name)
    return awaited


def _is_coroutine_function(method: Any) -> bool:
    """Return whether a method is asynchronous; of a plain one its code says so, which is quicker than to inspect it."""
    function = getattr(method, "__func__", method)
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & inspect.CO_COROUTINE:
        return True
    is_as_written = type(function) is FunctionType and not vars(function)  # neither marked as one nor around another
    return not is_as_written and inspect.iscoroutinefunction(method)


def _is_plain(answer: Any) -> bool:
    """Return whether an answer is there, and whole: most are, and what the others are takes longer to find out."""
    cls: Any = type(answer)
    try:
        return _is_class_of_plain(cls)
    except TypeError:  # a class that can't be hashed
        return True


@functools.lru_cache(1000)
def _is_class_of_plain(cls: Any) -> bool:
    return not issubclass(cls, GeneratorType | AsyncGenerator | Coroutine | asyncio.Future)


def _is_coroutine(answer: Any) -> bool:
    """Return whether it is a coroutine, also one that is a generator (`types.coroutine`)."""
    flags = answer.gi_code.co_flags if isinstance(answer, GeneratorType) else 0
    return bool(flags & inspect.CO_ITERABLE_COROUTINE) or isinstance(answer, Coroutine)


def role_of(has_predictor: bool) -> str:
    """Return the role of a model: one that has a predictor to call is a transformer."""
    return semconv.TRANSFORMER if has_predictor else semconv.PREDICTOR
