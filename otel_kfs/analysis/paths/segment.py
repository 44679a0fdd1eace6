"""Segment, what the time on an image's path is spent on, and the order in which a path meets segments.

A segment is a key: the same place and step are the same segment in every image. What it is called when it is printed
is said in `report/segment_names.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from otel_kfs import semconv


class Place(NamedTuple):
    """Who has the image then; `occurrence` numbers those of one name, by when the path meets them.

    A proxy that stands `before` another server than the first is told apart by it.
    """

    name: str
    occurrence: int = 1
    before: Place | None = None

    @property
    def label(self) -> str:
        """For people: `predictor 2`, `predictor activator`."""
        label = self.name if self.before is None else f"{self.before.label} {self.name}"
        return label if self.occurrence == 1 else f"{label} {self.occurrence}"


class Segment(NamedTuple):
    """A step at a place; without a step it is the place's time that no span covers.

    `missing`: steps at that place whose spans are not there; their time is part of this segment.
    """

    place: Place
    step: str = ""
    missing: tuple[str, ...] = ()


@lru_cache(1024)
def segment_at(place: Place, step: str = "") -> Segment:
    """Return the segment of a step at a place: the same object for all images, which is found faster in a dict."""
    return Segment(place, step)


TOTAL: Final = "4-1"
Stretch = Segment | str  # a segment, or the time between two stamps: "2-1", "4-3", TOTAL

UNNAMED_SYSTEM: Final = "messaging"  # the transport of a record whose spans do not say by what it was sent
OWN_STAMPS: Final = "own stamps"  # the place of segments between stamps of a stamps file, in whose order they occur
CLIENT, KAFKA, BRIDGE = Place("client"), Place("kafka"), Place("bridge")
INGRESS, ACTIVATOR, QUEUE_PROXY, PROXY = "ingress", "activator", "queue-proxy", "proxy"

LATE_START = Segment(CLIENT, "late start")
PROGRAM_START = Segment(CLIENT, "program start")
ENCODE = Segment(CLIENT, "encode")
OBJECT_STORE = Segment(KAFKA, "object store")
DELIVER = Segment(KAFKA, "deliver")
BROKER = Segment(KAFKA, "broker")
HAND_OVER = Segment(KAFKA, "hand over")  # where the broker's acknowledgement can't be seen
DELIVER_AND_BROKER = Segment(KAFKA, "deliver + broker")  # the same
REDELIVERIES = Segment(KAFKA, "redeliveries")
EVENT_SOURCE = Segment(KAFKA, "event source")
RETRIES = Segment(CLIENT, "retries")  # of the client that asks the model, which may be the bridge's
UPLOAD = Segment(CLIENT, semconv.UPLOAD)  # the same, to a server that is not traced
UNTRACED = Segment(Place("server (untraced)"))

FIRST_TOKEN: Final = "first token"  # noqa: S105 - of an answer in pieces: until the first one
GENERATE: Final = "generate"  # the pieces after it, or the whole answer of an OpenAI route

_PROXIES = (INGRESS, ACTIVATOR, QUEUE_PROXY, PROXY)
_IN = ("request", "queue", "receive", "", "decode", "preprocess", "retries", "serialise")
_MODEL = ("predict", "explain", FIRST_TOKEN, GENERATE)
# Of other programs' steps those that are known; others stand where the model is.
_OTHERS = ("queue and input", "input", "prefill", "compute", "output")
_OUT = ("postprocess", "response")
_TRANSFORMER, _PREDICTOR = Place(semconv.TRANSFORMER), Place(semconv.PREDICTOR)


def _to(before: Place | None = None) -> Iterator[Segment]:
    return (Segment(Place(name, before=before), step) for name in _PROXIES for step in ("request", "", "retries"))


def _back(before: Place | None = None) -> Iterator[Segment]:
    return (Segment(Place(name, before=before), "response") for name in reversed(_PROXIES))


def _at(place: Place, steps: tuple[str, ...]) -> Iterator[Segment]:
    return (Segment(place, step) for step in steps)


# Every segment, in the order of the path. Proxies stand before the server that they lead to. A second server stands for
# all further ones of its role, with whatever they do.
ORDER = (
    LATE_START,
    PROGRAM_START,
    Segment(CLIENT),
    ENCODE,
    OBJECT_STORE,
    DELIVER,
    BROKER,
    HAND_OVER,
    DELIVER_AND_BROKER,
    REDELIVERIES,
    EVENT_SOURCE,
    Segment(BRIDGE),
    RETRIES,
    UPLOAD,
    *_to(),
    UNTRACED,
    *_at(_TRANSFORMER, (*_IN, *_MODEL)),
    *_to(_TRANSFORMER),
    Segment(Place(semconv.TRANSFORMER, 2)),
    *_to(_PREDICTOR),
    *_at(_PREDICTOR, (*_IN, *_OTHERS, *_MODEL, *_OUT)),
    *_back(_PREDICTOR),
    Segment(Place(semconv.PREDICTOR, 2)),
    *_back(_TRANSFORMER),
    *_at(_TRANSFORMER, _OUT),
    *_back(),
)
_POSITION = {segment: position for position, segment in enumerate(ORDER)}


def path_order(stretch: Stretch) -> tuple[object, ...]:
    """Return the key that sorts segments in the order of the path, the whole last."""
    if isinstance(stretch, str):
        return len(ORDER) + 1, stretch
    place, step, missing = stretch
    server = place.before or place
    first = place._replace(occurrence=1, before=place.before and place.before._replace(occurrence=1))
    position = _POSITION.get(Segment(first, step))
    if position is None:  # another program's step
        position = _POSITION.get(Segment(first, semconv.PREDICT), len(ORDER))
    block = _POSITION.get(Segment(Place(server.name, 2)), position) if server.occurrence > 1 else position
    # An answer passes the proxies of one name the other way.
    met = -place.occurrence if step == "response" and place.name in _PROXIES else place.occurrence
    return block, server.occurrence, position, met, server.name, place.name, step, missing
