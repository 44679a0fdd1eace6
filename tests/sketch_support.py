"""Images of all sorts, images on hosts with clocks of their own, and the figures of sketches, to be compared."""

from msgspec.structs import replace
from traces_builder import EPOCH, EVENT_SOURCE, HTTP, KAFKA, STRAIGHT, linked, spans, with_options

from otel_kfs.analysis.statistics import summary

EXACT = ("n", "mean", "sd", "max", "bound")
PERCENTILES = ("p50", "p90", "p95", "p99")


SECOND = 1_000_000_000


def on_hosts(drawing):
    """The drawing with its servers, and its bridge, on hosts of their own."""
    lines, servers = [], iter(("transformer", "predictor"))
    for line in drawing.splitlines():
        host = ""
        if "  SERVER " in line:
            host = f"  @{next(servers)}"
        elif "  CONSUMER " in line:
            host = "  @bridge"
        lines.append(line + host)
    return "\n".join(lines)


ON_HOSTS = {"http": on_hosts(HTTP), "kafka": on_hosts(KAFKA)}


class Clock:
    """Shows `offset` more than the true time when the run begins, and `drift` ns more each second."""

    def __init__(self, offset=0, drift=0):
        self.offset, self.drift = offset, drift

    def shows(self, true):
        return true + self.offset + self.drift * (true - EPOCH) // SECOND


def image(drawing, trace, start, factor=1.0):
    """The true spans of one image that is sent at that moment (ns), `factor` times as long as drawn."""

    def moved(moment):
        return EPOCH + start + round((moment - EPOCH) * factor)

    return [replace(one, start=moved(one.start), end=moved(one.end)) for one in spans(drawing, trace)]


def run(drawing, starts):
    """The true spans of some images that are sent at those moments (ns)."""
    return [image(drawing, f"{number:032x}", start) for number, start in enumerate(starts)]


def seen(images, by_host):
    """The spans as their hosts' clocks have them."""
    return [
        replace(one, start=by_host[one.host].shows(one.start), end=by_host[one.host].shows(one.end))
        for spans_ in images
        for one in spans_
    ]


def images(count):
    """Images of all sorts, some of which can't be measured, and spans of nobody's image."""
    drawings = [HTTP, KAFKA, STRAIGHT, EVENT_SOURCE, with_options(HTTP, "send image", "warmup"), "poll  CLIENT  0  9"]
    drawings += [
        with_options(HTTP, "POST", "failed"),
        HTTP[HTTP.index("  POST") :],
        with_options(STRAIGHT, "POST /", "@pod"),
        with_options(HTTP, "send image", "run=one"),
        with_options(KAFKA, "send image", "run=another"),
    ]
    found = []
    for number in range(count):
        found += spans(drawings[number % len(drawings)], f"trace{number:03}-")
        if number % 5 == 0:
            found += linked(f"sender{number:03}-", f"bridge{number:03}-")
    return found


def images_on_hosts(by_host, count=60):
    drawn = run(ON_HOSTS["http"], [number * SECOND for number in range(0, 2 * count, 2)])
    drawn += [
        [replace(one, trace_id=f"k{one.trace_id[1:]}") for one in of_image]
        for of_image in run(ON_HOSTS["kafka"], [number * SECOND for number in range(1, 2 * count, 2)])
    ]
    return seen(drawn, by_host)


HOSTS = {
    "steady": {
        "host": Clock(),
        "bridge": Clock(SECOND),
        "transformer": Clock(5 * SECOND),
        "predictor": Clock(-3 * SECOND),
    },
    "drifting": {
        "host": Clock(),
        "bridge": Clock(SECOND, 10**6),
        "transformer": Clock(5 * SECOND, -(10**6)),
        "predictor": Clock(0, 5 * 10**6),
    },
}


def figures(all_series, bounds, fields=EXACT):
    """Of each column of each series, these figures."""
    return {
        (series.labels, series.size, name): [
            getattr(summary(column, bounds.get((series.labels, series.size, name), 0)), f) for f in fields
        ]
        for series in all_series
        for name, column in series.columns().items()
    }


def apart(one, other):
    """By how much of its length two percentiles differ, rounding left out; None where one alone is missing."""
    if one is None or other is None:
        return 0 if one is other else None
    return max(0, abs(one - other) - 1) / max(abs(one), 1)
