"""From a TOML file to the cells of an experiment: every combination of its matrix, or one clear line a mistake."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from otel_kfs import encodings, names
from otel_kfs.claim_check import NAME as CLAIM_CHECK
from otel_kfs.demo import example
from otel_kfs.encodings.compression import CODECS
from otel_kfs.errors import ConfigError
from otel_kfs.measurement import Way

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TRANSPORTS = (names.HTTP, names.KAFKA, names.GRPC)
ENCODINGS = (*encodings.NAMES, CLAIM_CHECK)
NONE = "none"  # TOML has no null
PATTERNS = ("poisson", "constant")
EMBEDDED_WAYS = ("seed", "fast")

_MOST_CELLS = 500
_MOST_THREADS = 256
_LEAST_ARRIVALS = 5


@dataclass(frozen=True)
class PlannedCell:
    """One combination: a way in which every image is sent. `label` tells it from the others of its transport."""

    transport: str = names.HTTP
    encoding: str = "json"
    compression: str | None = None
    resize: int | None = None  # pixels of the shorter side
    way: str = ""  # which servers
    keep_alive: bool = True  # HTTP: False opens a connection for each image
    concurrency: int = 1  # images under way at a time, in a closed loop
    kafka: tuple[tuple[str, str], ...] = ()  # the producer's further settings
    rate: float | None = None  # images a second, in an open loop
    label: str = ""
    unloaded: str = ""  # the label without the rate

    @property
    def name(self) -> str:
        """As the tables call it: `HTTP, json`."""
        return Way(self.transport, cell=self.label).label


@dataclass(frozen=True)
class Servers:
    """Where images are sent: the demo's own servers, or the user's, by the way's name."""

    embedded: bool = False
    serving: str | None = None  # of the demo's
    bridge_concurrency: int = 1
    ways: Mapping[str, OwnServers] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnServers:
    """The user's servers of one way; paths are those of files."""

    url: str | None = None  # of the model server or the ingress before it
    model: str | None = None
    host: str | None = None
    grpc: str | None = None  # host:port
    bootstrap_servers: str | None = None
    topic: str | None = None  # without it, a topic is made, and a bridge of ours leads from it to `url`
    pause: float | None = None  # seconds after a record of a topic whose bridge is not ours
    producer_config: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    token_file: str | None = None
    bucket: str | None = None
    store_url: str | None = None


@dataclass(frozen=True)
class Arrivals:
    """An open loop: images are due at their times, whether those before them were answered or not."""

    pattern: str = "poisson"
    rates: tuple[float, ...] = ()  # images a second
    duration: float = 30.0  # seconds of one stage
    workers: int = 16  # threads that send


@dataclass(frozen=True)
class Plan:
    """What is sent, how, in which order (`seed`), and what it is compared with."""

    file: Path
    document: Mapping[str, Any]  # as it was read, to tell whether it was changed
    cells: tuple[PlannedCell, ...]
    baselines: tuple[PlannedCell, ...]  # one; in an open loop one a rate
    images: tuple[str, ...]  # files, or the embedded pictures' names
    servers: Servers
    repeat: int = 10
    warmups: int = 2
    seed: int = 1
    max_failures: int = 10
    timeout: float = 60.0  # seconds for one image
    arrivals: Arrivals | None = None
    otlp_endpoint: str | None = None
    query: str | None = None  # where the traces can be read, if not in the folder


def load(path: Path) -> Plan:
    """Read and check a file.

    Raises:
        ConfigError: it can't be read, or has mistakes; the message has a line for each.
    """
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return planned(document, path)


def planned(document: Mapping[str, Any], path: Path) -> Plan:
    """The plan of a document that was read from `path`, beside which its files lie.

    Raises:
        ConfigError: there are mistakes; the message has a line for each.
    """
    check = _Check(path)
    servers = _servers(check, document.get("servers"))
    top = check.table(document, "", _TOP)
    arrivals = _arrivals(check, document.get("arrivals"))
    traces = check.table(document.get("traces", {}), "traces", _TRACES)
    axes = {**_AXES, "way": (_one_of(*_ways(servers)), _ways(servers)[0])}
    if arrivals is not None:
        # In an open loop as many are under way as there are.
        axes.pop("concurrency")
    found = _combinations(check, document, axes)
    check.raise_mistakes()
    applicable = dict.fromkeys(_applicable(combination, servers) for combination in found)
    rates: Sequence[float | None] = arrivals.rates if arrivals else (None,)
    cells = _labelled([replace(cell, rate=rate) for cell in applicable for rate in rates])
    if not cells:
        check.mistake("matrix.exclude", "it leaves no cell: take something out of it")
    if len(cells) > _MOST_CELLS:
        check.mistake("matrix", f"it has {len(cells)} cells, and {_MOST_CELLS} are allowed: exclude some")
    for cell in dict.fromkeys(replace(cell, rate=None, label=cell.unloaded) for cell in cells):
        if why := _impossible(cell, servers, closed=arrivals is None):
            check.mistake("matrix", f"{cell.name}: {why}")
    baselines = _baselines(check, document.get("baseline"), cells, axes)
    images = _images(check, top.pop("images", None), servers)
    check.raise_mistakes()
    return Plan(
        file=path,
        document=document,
        cells=tuple(cells),
        baselines=baselines,
        images=images,
        servers=servers,
        arrivals=arrivals,
        **{key: value for key, value in top.items() if key not in _TABLES},
        **traces,
    )


# --- what a value may be: each returns the value, or raises ValueError with what is allowed ---

_Rule = Callable[[Any], Any]


def _one_of(*allowed: str) -> _Rule:
    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"choose {' or '.join(allowed)}")
        return value

    return rule


def _number(least: float, most: float, *, whole: bool = True) -> _Rule:
    def rule(value: Any) -> float:
        kinds = int if whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"give a {'whole ' if whole else ''}number from {least:g} to {most:g}")
        return value

    return rule


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("choose true or false")  # noqa: TRY004 - one kind for all rules
    return value


def _any(value: Any) -> Any:
    return value  # it is looked at elsewhere


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError('give a list of texts, as ["1.1MB"]')
    return value


def _rates(value: Any) -> tuple[float, ...]:
    rule = _number(0.01, 10_000, whole=False)
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError("give a list of images a second, each once, as [1, 2, 4]")
    return tuple(rule(item) for item in value)


def _or_none(rule: _Rule) -> _Rule:
    def either(value: Any) -> Any:
        if value == NONE:
            return None
        try:
            return rule(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "{NONE}"') from None

    return either


def _setting(value: Any) -> str:
    """A librdkafka setting's value, as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("give text or a number")


_PIXELS = _number(1, 100_000)
_SECONDS = _number(0.001, 86_400, whole=False)
_COUNT = _number(1, 1_000_000)
_THREADS = _number(1, _MOST_THREADS)
_TABLES = ("servers", "matrix", "baseline", "arrivals", "traces")
_TOP: dict[str, _Rule] = {
    "images": _texts,
    "repeat": _COUNT,
    "warmups": _number(0, 1000),
    "seed": _number(0, 2**31),
    "max_failures": _number(0, 1_000_000),
    "timeout": _SECONDS,
    **dict.fromkeys(_TABLES, _any),
}
_SERVERS: dict[str, _Rule] = {
    "embedded": _flag,
    "serving": _one_of(*example.SERVINGS),
    "bridge_concurrency": _THREADS,
}
_OWN: dict[str, _Rule] = dict.fromkeys(OwnServers.__dataclass_fields__, _text) | {"pause": _SECONDS}
_ARRIVALS: dict[str, _Rule] = {
    "pattern": _one_of(*PATTERNS),
    "rates": _rates,
    "duration": _SECONDS,
    "workers": _THREADS,
}
_TRACES: dict[str, _Rule] = {"otlp_endpoint": _text, "query": _text}
# Each axis of the matrix but `way` and `kafka`: what it may be, and what it is where it is left out.
_AXES: dict[str, tuple[_Rule, Any]] = {
    "transport": (_one_of(*TRANSPORTS), names.HTTP),
    "encoding": (_one_of(*ENCODINGS), "json"),
    "compression": (_or_none(_one_of(*CODECS)), None),
    "resize": (_or_none(_PIXELS), None),
    "keep_alive": (_flag, True),
    "concurrency": (_THREADS, 1),
}


class _Check:
    """Takes values that are as they should be, and notes where they are not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mistakes: list[str] = []

    def mistake(self, key: str, what: str) -> None:
        self._mistakes.append(f"{self._path}: {key}: {what}")

    def raise_mistakes(self) -> None:
        if self._mistakes:
            raise ConfigError("\n".join(dict.fromkeys(self._mistakes)))

    def value(self, value: Any, key: str, rule: _Rule) -> Any:
        try:
            return rule(value)
        except ValueError as error:
            self.mistake(key, f"{_shown(value)} is not allowed; {error}")
            return None

    def table(self, value: Any, where: str, rules: Mapping[str, _Rule]) -> dict[str, Any]:
        """The table's values that are as they should be."""
        if not isinstance(value, Mapping):
            self.mistake(where, "it is no table of keys and values")
            return {}
        found = {}
        for key, item in value.items():
            full = f"{where}.{key}" if where else key
            if key not in rules:
                self.mistake(full, f"there is no such key; there are {', '.join(rules)}")
            elif (taken := self.value(item, full, rules[key])) is not None:
                found[key] = taken
        return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- tables ---


def _servers(check: _Check, value: Any) -> Servers:
    if value is None:
        check.mistake("servers", "it is missing: say embedded = true, or url, bootstrap_servers, ... of yours")
        return Servers()
    if not isinstance(value, Mapping):
        check.mistake("servers", "it is no table of keys and values")
        return Servers()
    ways = {key: item for key, item in value.items() if isinstance(item, Mapping)}
    plain = {key: item for key, item in value.items() if key not in ways}
    if plain.get("embedded") is True:
        return Servers(**check.table({**plain, **ways}, "servers", _SERVERS))
    common = check.table(plain, "servers", {**_OWN, **_SERVERS})
    common.pop("embedded", None)
    if common.pop("serving", None):
        check.mistake("servers.serving", "it is of the embedded servers alone: say embedded = true, or leave it out")
    concurrency = common.pop("bridge_concurrency", 1)
    own = {
        name: OwnServers(**{**common, **check.table(item, f"servers.{name}", _OWN)}) for name, item in ways.items()
    } or {"": OwnServers(**common)}
    return Servers(bridge_concurrency=concurrency, ways=own)


def _ways(servers: Servers) -> tuple[str, ...]:
    return EMBEDDED_WAYS if servers.embedded else tuple(servers.ways) or ("",)


def _arrivals(check: _Check, value: Any) -> Arrivals | None:
    if value is None:
        return None
    found = Arrivals(**check.table(value, "arrivals", _ARRIVALS))
    if not found.rates:
        check.mistake("arrivals.rates", "it is missing: give a list of images a second, as [1, 2, 4]")
    for rate in found.rates:
        if rate * found.duration < _LEAST_ARRIVALS:
            check.mistake(
                "arrivals.duration",
                f"{rate:g} a second is fewer than {_LEAST_ARRIVALS} images in {found.duration:g} s: give more seconds",
            )
    return found


def _images(check: _Check, given: list[str] | None, servers: Servers) -> tuple[str, ...]:
    """Files beside the TOML; of the embedded servers also the demo's pictures, by name."""
    if given is None:
        if not servers.embedded:
            check.mistake("images", 'it is missing: give a list of image files, as ["cat.jpg"]')
        return PICTURES
    found = []
    for name in given:
        if name in PICTURES:
            found.append(name)
            continue
        paths = sorted(check._path.parent.glob(name)) if not Path(name).is_absolute() else [Path(name)]
        if not paths or not all(path.is_file() for path in paths):
            more = f", and no picture of the demo's, {', '.join(PICTURES)}" if servers.embedded else ""
            check.mistake("images", f"{name!r} is no file beside {check._path.name}{more}")
        found += map(str, paths)
    if not servers.embedded and (pictures := [name for name in given if name in PICTURES]):
        check.mistake("images", f"{', '.join(pictures)}: only embedded servers bring pictures; give files")
    return tuple(dict.fromkeys(found))


PICTURES = ("1.1MB", "3.3MB", "4.7MB", "10.2MB")


# --- the matrix ---


def _combinations(check: _Check, document: Mapping[str, Any], axes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The matrix's product without what is excluded, and what is included."""
    matrix = document.get("matrix", {})
    if not isinstance(matrix, Mapping):
        check.mistake("matrix", "it is no table of keys and lists")
        return []
    include = _list(check, matrix, "include")
    exclude = [_conditions(check, item, key, axes) for key, item in _list(check, matrix, "exclude")]
    given = {key: value for key, value in matrix.items() if key not in {"include", "exclude"}}
    found: list[dict[str, Any]] = []
    if given or not include:
        keys, values = _matrix(check, given, axes)
        found = [dict(zip(keys, combination, strict=True)) for combination in itertools.product(*values)]
        defaults = {key: default for key, (_, default) in axes.items()}
        for number, condition in enumerate(exclude):
            left = [one for one in found if not _fits(defaults | one, condition)]
            if found and len(left) == len(found):
                check.mistake(f"matrix.exclude[{number}]", "no combination of the matrix is so")
            found = left
    return found + [_conditions(check, item, key, axes) for key, item in include]


def _list(check: _Check, matrix: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    given = matrix.get(name, [])
    if not isinstance(given, list):
        check.mistake(f"matrix.{name}", 'it is no list of tables, as [{ transport = "kafka" }]')
        return []
    return [(f"matrix.{name}[{number}]", item) for number, item in enumerate(given)]


def _matrix(check: _Check, matrix: Mapping[str, Any], axes: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The axes that are given, those of Kafka's settings among them as `kafka.linger.ms`, and the values of each."""
    keys, values = [], []
    rules: dict[str, _Rule] = {key: rule for key, (rule, _) in axes.items()} | {"kafka": _any}
    for key, given in check.table(matrix, "matrix", dict.fromkeys((*rules, "include", "exclude"), _any)).items():
        settings = given.items() if key == "kafka" and isinstance(given, Mapping) else [("", given)]
        for setting, of_axis in settings:
            full = f"{key}.{setting}" if setting else key
            if not isinstance(of_axis, list) or not of_axis or key == "kafka" != full.partition(".")[0]:
                check.mistake(f"matrix.{full}", "give a list of values")
                continue
            rule = _setting if setting else rules[key]
            taken = []
            for number, item in enumerate(of_axis):
                try:
                    taken.append(rule(item))
                except ValueError as error:
                    check.mistake(f"matrix.{full}[{number}]", f"{_shown(item)} is not allowed; {error}")
            keys.append(full)
            values.append(taken)
    return keys, values


def _conditions(check: _Check, item: Any, where: str, axes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of some axes."""
    if not isinstance(item, Mapping):
        check.mistake(where, 'it is no table, as { transport = "kafka" }')
        return {}
    kafka = item.get("kafka", {})
    if not isinstance(kafka, Mapping):
        check.mistake(f"{where}.kafka", 'it is no table, as { "linger.ms" = 5 }')
        kafka = {}
    found: dict[str, Any] = {}
    for key, value in item.items():
        if key == "kafka":
            continue
        if key not in axes:
            check.mistake(f"{where}.{key}", f"there is no such key; there are {', '.join(axes)}, kafka")
            continue
        try:
            found[key] = axes[key][0](value)
        except ValueError as error:
            check.mistake(f"{where}.{key}", f"{_shown(value)} is not allowed; {error}")
    for key, value in kafka.items():
        found[f"kafka.{key}"] = check.value(value, f"{where}.kafka.{key}", _setting)
    return found


def _fits(combination: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    return all(key in combination and combination[key] == value for key, value in condition.items())


def _applicable(combination: Mapping[str, Any], servers: Servers) -> PlannedCell:
    """The cell of a combination: what has no meaning for its transport is left out, so that equals are one."""
    values = {key: value for key, value in combination.items() if not key.startswith("kafka.")}
    kafka = {key.partition(".")[2]: value for key, value in combination.items() if key.startswith("kafka.")}
    cell = PlannedCell(**{"way": _ways(servers)[0], **values})
    if cell.transport == names.KAFKA:
        return replace(cell, keep_alive=True, kafka=tuple(sorted(kafka.items())))
    if cell.transport == names.GRPC:
        return replace(cell, keep_alive=True, encoding=names.GRPC)
    return cell


def _labelled(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """Each with a label: its encoding, and all in which it differs from others of its transport."""
    found = []
    for cell in cells:
        others = [other for other in cells if other.transport == cell.transport]
        parts = [cell.encoding]
        if cell.compression:
            parts.append(cell.compression)
        if cell.resize:
            parts.append(f"{cell.resize}px")
        if len({other.way for other in cells}) > 1:
            parts.append(cell.way)
        if len({other.keep_alive for other in others}) > 1:
            parts.append("keep-alive" if cell.keep_alive else "new connection")
        if len({other.concurrency for other in others}) > 1:
            parts.append(f"{cell.concurrency} at a time")
        settings = {key for other in others for key, _ in other.kafka}
        for key in sorted(settings):
            if len({dict(other.kafka).get(key) for other in others}) > 1 and key in dict(cell.kafka):
                parts.append(f"{key}={dict(cell.kafka)[key]}")
        unloaded = " ".join(parts)
        label = unloaded if cell.rate is None else f"{unloaded} {cell.rate:g}/s"
        found.append(replace(cell, label=label, unloaded=unloaded))
    return found


def _impossible(cell: PlannedCell, servers: Servers, *, closed: bool) -> str:
    """Why a cell's servers can't take it, and what to do; nothing where they can."""
    if cell.transport == names.KAFKA and any(key == "compression.type" for key, _ in cell.kafka) and cell.compression:
        return "compression and kafka's compression.type say the same: leave one out"
    if servers.embedded:
        return _impossible_here(cell, servers.serving or _installed())
    own = servers.ways[cell.way]
    where = f"servers.{cell.way}" if cell.way else "servers"
    if cell.encoding == CLAIM_CHECK and not own.bucket:
        return f"it needs {where}.bucket"
    if cell.transport == names.HTTP and not own.url:
        return f"it needs {where}.url"
    if cell.transport == names.GRPC and not (own.grpc and own.model):
        return f"it needs {where}.grpc (host:port) and {where}.model"
    if cell.transport == names.KAFKA:
        if not own.bootstrap_servers:
            return f"it needs {where}.bootstrap_servers"
        if not own.topic and not own.url:
            return f"it needs {where}.topic, or {where}.url for a topic and a bridge of the experiment's own"
        if own.topic and closed and own.pause is None:
            return (
                f"nobody tells when the bridge of {where}.topic has answered: give {where}.pause, the seconds to wait "
                "after each record, or leave the topic out for one of the experiment's own"
            )
    return ""


def _impossible_here(cell: PlannedCell, serving: str) -> str:
    exclude = "exclude it"
    if cell.transport == names.GRPC:
        return f"the embedded servers have no gRPC port: {exclude}"
    if cell.encoding == CLAIM_CHECK:
        return f"the embedded servers have no object store: {exclude}"
    if cell.way == "seed" and cell.encoding != "json":
        return f'the servers of way = "seed" take json alone: {exclude}, or choose way = "fast"'
    if cell.way == "seed" and cell.compression and cell.transport == names.HTTP:
        return f'the servers of way = "seed" inflate nothing: {exclude}, or choose way = "fast"'
    if serving == "kfserving" and cell.encoding in {"raw", "v2"}:
        return f"KFServing takes json and cloudevent: {exclude}"
    return ""


def _installed() -> str:
    return example.serving(None)


def _baselines(
    check: _Check, value: Any, cells: Sequence[PlannedCell], axes: Mapping[str, Any]
) -> tuple[PlannedCell, ...]:
    """What the cells are compared with, one of each rate: by default base64 in JSON over HTTP, else the first cell."""
    if not cells:
        return ()
    if value is None:
        fitting = [cell for cell in cells if _fits(_values(cell), {"transport": names.HTTP, "encoding": "json"})]
        chosen = _plainest(fitting, {}) or fitting or list(cells)
    else:
        wanted = _conditions(check, value, "baseline", axes)
        fitting = [cell for cell in cells if _fits(_values(cell), wanted)]
        chosen = _plainest(fitting, wanted) or fitting
        if len({cell.unloaded for cell in chosen}) > 1:
            some = ", ".join(dict.fromkeys(cell.name for cell in chosen))
            check.mistake("baseline", f"it fits several cells: {some}; say more of the one that is meant")
            return ()
        if not chosen:
            check.mistake("baseline", f"no cell is so; there are {', '.join(cell.name for cell in cells)}")
            return ()
    first = chosen[0]
    return tuple(cell for cell in cells if (cell.transport, cell.unloaded) == (first.transport, first.unloaded))


def _plainest(cells: Sequence[PlannedCell], wanted: Mapping[str, Any]) -> list[PlannedCell]:
    """Those that have the default in all that was not asked for."""
    defaults = {key: default for key, (_, default) in _AXES.items() if key not in wanted}
    return [cell for cell in cells if _fits(_values(cell), defaults)]


def _values(cell: PlannedCell) -> dict[str, Any]:
    values = {key: getattr(cell, key) for key in (*_AXES, "way")}
    return values | {f"kafka.{key}": value for key, value in cell.kafka}
