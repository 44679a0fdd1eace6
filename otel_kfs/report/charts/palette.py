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
_PROXIES = frozenset(("ingress", "activator", "queue-proxy", "proxy"))
_SERVERS = {"transformer": TRANSFORMER, "predictor": PREDICTOR}
NO_SPAN = "no span"  # a server's time that no span of its accounts for

# Light page, dark page; by place and step. A place has its hue. Neighbours in a bar differ in lightness, too, so that
# they stay apart for every kind of sight and in grey: tests/report/charts/test_palette.py computes it.
_COLOURS: dict[tuple[str, str], tuple[str, str]] = {
    (SENDER, "late start"): ("#798490", "#95aec1"),
    (SENDER, "program start"): ("#a1b3d0", "#768db1"),
    (SENDER, "client"): ("#c6d4e0", "#425065"),
    (SENDER, "encode"): ("#48679e", "#6387c1"),
    (SENDER, "retries"): ("#4a4b51", "#b0b1b8"),
    (SENDER, "upload"): ("#7097c1", "#354283"),
    (KAFKA, "object store"): ("#9b822f", "#dfc268"),
    (KAFKA, "deliver"): ("#c29c65", "#c79e58"),
    (KAFKA, "broker"): ("#913b01", "#a56500"),
    (KAFKA, "hand over"): ("#ecc77a", "#be8801"),
    (KAFKA, "deliver + broker"): ("#d28b24", "#dea650"),
    (KAFKA, "redeliveries"): ("#a44a1e", "#ab4a09"),
    (KAFKA, "event source"): ("#eece9f", "#95835f"),
    (KAFKA, "bridge"): ("#937569", "#663c1f"),
    (TRANSFORMER, "request"): ("#89a24e", "#56655b"),
    (TRANSFORMER, "queue"): ("#c9dba3", "#6d9a87"),
    (TRANSFORMER, "receive"): ("#0cc8db", "#8ddeb6"),
    (TRANSFORMER, NO_SPAN): ("#d0d8c2", "#474943"),
    (TRANSFORMER, "decode"): ("#4ba48b", "#25ac92"),
    (TRANSFORMER, "preprocess"): ("#306d4c", "#2ecdc1"),
    (TRANSFORMER, "retries"): ("#788081", "#d4606f"),
    (TRANSFORMER, "serialise"): ("#a3c450", "#c2e570"),
    (TRANSFORMER, "predict"): ("#08564c", "#4d804d"),
    (TRANSFORMER, "explain"): ("#2a727b", "#459eaa"),
    (TRANSFORMER, "first token"): ("#509838", "#76c26b"),
    (TRANSFORMER, "generate"): ("#1b5f23", "#87e69a"),
    (TRANSFORMER, "postprocess"): ("#269faa", "#6aa993"),
    (TRANSFORMER, "response"): ("#afe1bc", "#638862"),
    (UNTRACED_SERVER, "server (untraced)"): ("#283650", "#9ba9c3"),
    (PREDICTOR, "request"): ("#7c527a", "#625e86"),
    (PREDICTOR, "receive"): ("#c392d3", "#c4b3e8"),
    (PREDICTOR, NO_SPAN): ("#cabfce", "#52424f"),
    (PREDICTOR, "decode"): ("#8d5fad", "#9578d3"),
    (PREDICTOR, "preprocess"): ("#703494", "#884aa9"),
    (PREDICTOR, "retries"): ("#aa498b", "#bf629f"),
    (PREDICTOR, "serialise"): ("#8687e4", "#ab9cec"),
    (PREDICTOR, "queue and input"): ("#cab2d6", "#806478"),
    (PREDICTOR, "queue"): ("#debae1", "#877b92"),
    (PREDICTOR, "input"): ("#a48fdb", "#a698cf"),
    (PREDICTOR, "prefill"): ("#684f9f", "#8877bc"),
    (PREDICTOR, "compute"): ("#47298c", "#c599f2"),
    (PREDICTOR, "output"): ("#b98dba", "#8e699d"),
    (PREDICTOR, "predict"): ("#4d2376", "#d2bdfb"),
    (PREDICTOR, "explain"): ("#574b8b", "#7974d0"),
    (PREDICTOR, "first token"): ("#6373d4", "#879af7"),
    (PREDICTOR, "generate"): ("#2e358a", "#b7c4fd"),
    (PREDICTOR, "postprocess"): ("#a76896", "#b37aa3"),
    (PREDICTOR, "response"): ("#a59dd7", "#7a5778"),
    (PROXIES, "ingress request"): ("#e2a589", "#a88b8d"),
    (PROXIES, "ingress"): ("#a45d46", "#e8a07f"),
    (PROXIES, "ingress retries"): ("#bf866b", "#a46d55"),
    (PROXIES, "activator request"): ("#d9a8b8", "#844a5e"),
    (PROXIES, "activator"): ("#b16577", "#d7889d"),
    (PROXIES, "activator retries"): ("#c88a97", "#a8687d"),
    (PROXIES, "queue-proxy request"): ("#deb4a2", "#785444"),
    (PROXIES, "queue-proxy"): ("#8c5c46", "#c08d75"),
    (PROXIES, "queue-proxy retries"): ("#a78474", "#8d7164"),
    (PROXIES, "proxy request"): ("#b2a9ac", "#5f5659"),
    (PROXIES, "proxy"): ("#775659", "#bc9aa0"),
    (PROXIES, "proxy retries"): ("#9e7268", "#867e7f"),
    (PROXIES, "proxy response"): ("#988085", "#a39b99"),
    (PROXIES, "queue-proxy response"): ("#c9ada1", "#7d585e"),
    (PROXIES, "activator response"): ("#eccad3", "#5d3d49"),
    (PROXIES, "ingress response"): ("#8d6b6c", "#6a615d"),
}
_OTHERS = (("#8b929b", "#8b929b"), ("#b7bcc3", "#5f666f"), ("#6a717a", "#b0b6bd"))
_LABELS = (
    ("#3375c4", "#a2c8fa"),
    ("#6d3b0b", "#ef9383"),
    ("#172c00", "#489d2b"),
    ("#754e84", "#fce6ff"),
    ("#013b3e", "#22afb6"),
    ("#410423", "#cb607f"),
    ("#7d6917", "#f9dd73"),
    ("#36405f", "#7a95eb"),
)
_DASHES = ("none", "5 2.5", "1.5 2.5", "7 2 1.5 2")
_LIGHT_ENOUGH = 0.179  # relative luminance from which black text reads better than white


_BY_STEP = {OWN_STAMPS: STAMPED, CLIENT.name: SENDER, TOPIC.name: KAFKA, BRIDGE.name: KAFKA}


def place_and_step(stretch: Stretch) -> tuple[str, str]:
    """Return the place and the step of a segment, (`Transformer`, `decode`); all proxies are one place."""
    if isinstance(stretch, str):
        return ELSEWHERE, stretch
    place, step, _ = stretch
    if place.name in _PROXIES:
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
        f".edge{{stroke:{ink['muted']};fill:none}}",
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


def dashes(number: int) -> str:
    """Return the dashes of the line of the labels with that number: what tells it apart besides its colour."""
    return _DASHES[number % len(_DASHES)]


def by_place(segments: Iterable[Segment]) -> dict[str, list[Segment]]:
    """Group segments by place; places without segments are left out."""
    found: dict[str, list[Segment]] = {name: [] for name in PLACES}
    for segment in segments:
        found[place_and_step(segment)[0]].append(segment)
    return {name: of_place for name, of_place in found.items() if of_place}


def _luminance(colour: str) -> float:
    """Return the relative luminance, 0 to 1, as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
