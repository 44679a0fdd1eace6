"""The colours of segments and labels, the same in every chart: a hue for each place, a shade for each step."""

from __future__ import annotations

from collections.abc import Iterable

from otel_kfs.analysis.paths.segment import BRIDGE, CLIENT, OWN_STAMPS, UNTRACED, Segment, Stretch
from otel_kfs.analysis.paths.segment import KAFKA as TOPIC
from otel_kfs.report.segment_names import segment_name

# Light page, dark page.
INK: dict[str, tuple[str, str]] = {
    "text": ("#1d2127", "#e6e9ed"),
    "muted": ("#59626e", "#a3adb9"),
    "faint": ("#c9ced5", "#444c57"),
    "grid": ("#e6e9ed", "#2a3038"),
    "page": ("#ffffff", "#14171c"),
}

SENDER, KAFKA, PROXIES, UNTRACED_SERVER, TRANSFORMER, PREDICTOR, STAMPED, ELSEWHERE = PLACES = (
    "Sender",
    "Kafka",
    "Proxies",
    "Server",
    "Transformer",
    "Predictor",
    "Between stamps",
    "Elsewhere",
)
_SERVERS = {"transformer": TRANSFORMER, "predictor": PREDICTOR}
NO_SPAN = "no span"  # a server's time that no span of its accounts for

# Light page, dark page; by place and step.
_PROXY = {
    "ingress": ("#a9583d", "#d08a70"),
    "activator": ("#bd5f79", "#d9849b"),
    "queue-proxy": ("#8a6038", "#bd9066"),
    "proxy": ("#7d6d66", "#a89a93"),
}
_STEPS: dict[tuple[str, str], tuple[str, str]] = {
    (SENDER, "late start"): ("#7a8594", "#9aa5b4"),
    (SENDER, "program start"): ("#9db4d0", "#7f9dc2"),
    (SENDER, "client"): ("#c9d4e2", "#5d6b7d"),
    (SENDER, "encode"): ("#5a86b8", "#6b9ad0"),
    (SENDER, "retries"): ("#b03a3a", "#d05a5a"),
    (SENDER, "upload"): ("#7fa3cf", "#5c84b5"),
    (KAFKA, "object store"): ("#8c8a2e", "#b3b04f"),
    (KAFKA, "deliver"): ("#e2a63f", "#dca441"),
    (KAFKA, "broker"): ("#bf6f1c", "#c77a2a"),
    (KAFKA, "hand over"): ("#edc780", "#b98d3d"),
    (KAFKA, "deliver + broker"): ("#d38b2b", "#d0913a"),
    (KAFKA, "redeliveries"): ("#a34a1a", "#b9582a"),
    (KAFKA, "event source"): ("#f0d7a6", "#8d7440"),
    (KAFKA, "bridge"): ("#ece2cb", "#6d634b"),
    (TRANSFORMER, "request"): ("#bfe0d4", "#3f6b5e"),
    (TRANSFORMER, "queue"): ("#9fd0b8", "#6f9a86"),
    (TRANSFORMER, "receive"): ("#7fc4ac", "#5fae95"),
    (TRANSFORMER, NO_SPAN): ("#dcebe5", "#3a4a45"),
    (TRANSFORMER, "decode"): ("#4ea58b", "#4aa489"),
    (TRANSFORMER, "preprocess"): ("#1d7d69", "#2b937c"),
    (TRANSFORMER, "retries"): ("#b53f52", "#d4606f"),
    (TRANSFORMER, "serialise"): ("#9ab23c", "#a5bd4a"),
    (TRANSFORMER, "predict"): ("#0e5a50", "#1c7a6d"),
    (TRANSFORMER, "explain"): ("#2f7290", "#3d88a8"),
    (TRANSFORMER, "first token"): ("#3c8f3f", "#5fb862"),
    (TRANSFORMER, "generate"): ("#1f5f22", "#88d38b"),
    (TRANSFORMER, "postprocess"): ("#6fb596", "#5aa184"),
    (TRANSFORMER, "response"): ("#a9d2c3", "#4f7d6d"),
    (UNTRACED_SERVER, "server (untraced)"): ("#6f7f95", "#93a3ba"),
    (PREDICTOR, "request"): ("#dccbe6", "#5d4a6b"),
    (PREDICTOR, "receive"): ("#bb9bd0", "#a583bd"),
    (PREDICTOR, NO_SPAN): ("#ebe3f1", "#453d4d"),
    (PREDICTOR, "decode"): ("#9a6ab8", "#a273c2"),
    (PREDICTOR, "preprocess"): ("#7d4c9e", "#8a57ad"),
    (PREDICTOR, "retries"): ("#a8326b", "#c95089"),
    (PREDICTOR, "serialise"): ("#7f8fd6", "#8e9ce0"),
    (PREDICTOR, "queue and input"): ("#d0a9c9", "#7f5d79"),
    (PREDICTOR, "queue"): ("#cfb3d6", "#75597d"),
    (PREDICTOR, "input"): ("#a99ad8", "#9c8ed0"),
    (PREDICTOR, "prefill"): ("#6c5fb0", "#a296e6"),
    (PREDICTOR, "compute"): ("#4a2a86", "#b99af0"),
    (PREDICTOR, "output"): ("#b48fc4", "#8e6a9e"),
    (PREDICTOR, "predict"): ("#552a7d", "#c79be6"),
    (PREDICTOR, "explain"): ("#43327d", "#8577c9"),
    (PREDICTOR, "first token"): ("#3f5fc0", "#7d9bf0"),
    (PREDICTOR, "generate"): ("#22398a", "#b5c5fa"),
    (PREDICTOR, "postprocess"): ("#c48db4", "#b57aa4"),
    (PREDICTOR, "response"): ("#e3cadb", "#6b4f62"),
}
_OTHERS = (("#8b929b", "#8b929b"), ("#b7bcc3", "#5f666f"), ("#6a717a", "#b0b6bd"))
_LABELS = (
    ("#2766b0", "#6fabec"),
    ("#bd5212", "#f09a5c"),
    ("#2f7d4f", "#6cc391"),
    ("#8a3d96", "#cf8bdb"),
    ("#0d7c86", "#55c3cd"),
    ("#a83256", "#f0839f"),
    ("#6b5b10", "#cdb95a"),
    ("#565d66", "#aab2bc"),
)
_LIGHT_ENOUGH = 0.179  # relative luminance from which black text reads better than white


_BY_STEP = {OWN_STAMPS: STAMPED, CLIENT.name: SENDER, TOPIC.name: KAFKA, BRIDGE.name: KAFKA}


def place_and_step(stretch: Stretch) -> tuple[str, str]:
    """Return the place and the step of a segment, (`Transformer`, `decode`); all proxies are one place."""
    if isinstance(stretch, str):
        return ELSEWHERE, stretch
    place, step, _ = stretch
    if place.name in _PROXY:
        return PROXIES, f"{place.name} {step}".rstrip()
    if place.name in _BY_STEP:
        return _BY_STEP[place.name], step or place.name
    if place.name in _SERVERS:
        return _SERVERS[place.name], step or NO_SPAN
    return (UNTRACED_SERVER, place.name) if place == UNTRACED.place else (ELSEWHERE, segment_name(stretch))


def segment_class(stretch: Stretch) -> str:
    """Return the class that fills a segment's marks."""
    found = place_and_step(stretch)
    if found in _COLOURS:
        return f"s{list(_COLOURS).index(found)}"
    if isinstance(stretch, Segment) and stretch.place.name == OWN_STAMPS:
        return f"s{len(_COLOURS) + len(_OTHERS) + (stretch.place.occurrence - 1) % len(_LABELS)}"
    return f"s{len(_COLOURS) + sum(map(ord, segment_name(stretch))) % len(_OTHERS)}"


def labels_class(number: int) -> str:
    """Return the class of the labels with that number; after the eighth the colours come again."""
    return f"w{number % len(_LABELS)}"


def style(theme: int) -> str:
    """Return the rules that colour every chart: 0 on a light page, 1 on a dark one.

    Colours are literal, as resvg has no var().
    """
    ink = {name: colours[theme] for name, colours in INK.items()}
    rules = [
        f"svg text{{fill:{ink['text']}}}",
        f"svg text.muted,svg tspan.muted{{fill:{ink['muted']}}}",
        f".grid{{stroke:{ink['grid']}}}",
        f".axis{{stroke:{ink['faint']}}}",
        f".ink{{stroke:{ink['text']}}}",
        f".inkfill{{fill:{ink['text']}}}",
        f".page{{fill:{ink['page']}}}",
        f".halo{{stroke:{ink['page']}}}",
    ]
    colours = [of_themes[theme] for of_themes in (*_COLOURS.values(), *_OTHERS, *_LABELS)]
    for number, colour in enumerate(colours):
        rules.append(f".s{number}{{fill:{colour}}}")
        rules.append(f"svg text.on{number}{{fill:{'#000000' if _luminance(colour) > _LIGHT_ENOUGH else '#ffffff'}}}")
    for number, of_themes in enumerate(_LABELS):
        colour = of_themes[theme]
        rules.append(f".w{number},svg text.w{number}{{fill:{colour}}}")
        rules.append(f".l{number}{{stroke:{colour};fill:none}}")
    return "\n".join(rules)


def on(stretch: Stretch) -> str:
    """Return the class of text on a segment's colour."""
    return "on" + segment_class(stretch)[1:]


def line_class(number: int) -> str:
    """Return the class of the lines of the labels with that number."""
    return "l" + labels_class(number)[1:]


def by_place(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    """Group segments by place; places without segments are left out."""
    found: dict[str, list[Segment]] = {name: [] for name in PLACES}
    for segment in segments:
        found[place_and_step(segment)[0]].append(segment)
    return {name: of_place for name, of_place in found.items() if of_place}


def _paler(colour: str, page: str, share: float) -> str:
    """Mix a colour with that share of the page's colour."""
    pairs = [(int(colour[i : i + 2], 16), int(page[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(own + (paper - own) * share):02x}" for own, paper in pairs)


def _luminance(colour: str) -> float:
    """Return the relative luminance, 0 to 1, as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _proxies() -> dict[tuple[str, str], tuple[str, str]]:
    """Return full colour within a proxy, a paler one on the way to it and the palest on the way back."""
    found = {}
    for name, (light, dark) in _PROXY.items():
        for step, share in ((" request", 0.45), ("", 0.0), (" retries", 0.25), (" response", 0.65)):
            pages = INK["page"]
            found[PROXIES, name + step] = (_paler(light, pages[0], share), _paler(dark, pages[1], share))
    return found


_COLOURS = _STEPS | _proxies()
