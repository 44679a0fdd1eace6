"""Makes cells of a document's `matrix`: the product of its lists, less what is excluded, and what is included."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from otel_kfs import semconv
from otel_kfs.client import encodings
from otel_kfs.client.claim_check import NAME as CLAIM_CHECK
from otel_kfs.client.encodings.compression import CODECS
from otel_kfs.client.encodings.openai_chat import NAME as OPENAI
from otel_kfs.client.grpc_sender import is_encrypted
from otel_kfs.demo import example
from otel_kfs.experiment.config.experiment_config import CHAT, Cell, ServersConfig
from otel_kfs.experiment.config.validation import (
    Rule,
    Validator,
    anything,
    excerpt,
    flag,
    number,
    one_of,
    or_none,
    setting,
)
from otel_kfs.traces.printable import did_you_mean

TRANSPORTS = (semconv.HTTP, semconv.KAFKA, semconv.GRPC)
ENCODINGS = (*encodings.NAMES, OPENAI, CLAIM_CHECK)
THREADS = number(1, 256)
Axes = Mapping[str, tuple[Rule, Any]]

# Each axis of the matrix but `way` and `kafka`: what it may be, and what it is where it is left out.
AXES: Axes = {
    "transport": (one_of(*TRANSPORTS), semconv.HTTP),
    "encoding": (one_of(*ENCODINGS), "json"),
    "compression": (or_none(one_of(*CODECS)), None),
    "resize": (or_none(number(1, 100_000)), None),
    "keep_alive": (flag, True),
    "concurrency": (THREADS, 1),
}


def combinations(validator: Validator, document: Mapping[str, Any], axes: Axes) -> list[dict[str, Any]]:
    """Return the matrix's product without what is excluded, and what is included."""
    matrix = document.get("matrix", {})
    if not isinstance(matrix, Mapping):
        validator.error("matrix", "it is not a table of keys and lists")
        return []
    include = _list(validator, matrix, "include")
    exclude = [_conditions(validator, item, key, axes) for key, item in _list(validator, matrix, "exclude")]
    given = {key: value for key, value in matrix.items() if key not in {"include", "exclude"}}
    found: list[dict[str, Any]] = []
    if given or not include:
        keys, values = _matrix(validator, given, axes)
        found = [dict(zip(keys, combination, strict=True)) for combination in itertools.product(*values)]
        defaults = {key: default for key, (_, default) in axes.items()}
        for place, condition in enumerate(exclude):
            left = [one for one in found if not _fits(defaults | one, condition)]
            if found and len(left) == len(found):
                validator.error(f"matrix.exclude[{place}]", "it matches no combination of the matrix")
            found = left
    return found + [_conditions(validator, item, key, axes) for key, item in include]


def _list(validator: Validator, matrix: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    given = matrix.get(name, [])
    if not isinstance(given, list):
        validator.error(f"matrix.{name}", 'it is not a list of tables, like [{ transport = "kafka" }]')
        return []
    return [(f"matrix.{name}[{place}]", item) for place, item in enumerate(given)]


def _matrix(validator: Validator, matrix: Mapping[str, Any], axes: Axes) -> tuple[list[str], list[list[Any]]]:
    """Return the axes that are given, Kafka's settings as `kafka.linger.ms` among them, and the values of each."""
    keys, values = [], []
    rules: dict[str, Rule] = {key: rule for key, (rule, _) in axes.items()} | {"kafka": anything}
    for key, given in validator.table(
        matrix, "matrix", dict.fromkeys((*rules, "include", "exclude"), anything)
    ).items():
        settings = given.items() if key == "kafka" and isinstance(given, Mapping) else [("", given)]
        for name, of_axis in settings:
            full = f"{key}.{name}" if name else key
            if full == "kafka":
                validator.error(
                    "matrix.kafka", 'it is not a table of settings and lists, like { "linger.ms" = [0, 5] }'
                )
                continue
            if not isinstance(of_axis, list) or not of_axis:
                validator.error(f"matrix.{full}", f"{excerpt(of_axis)} is not allowed; give a list of values")
                continue
            rule = setting if name else rules[key]
            taken = []
            for place, item in enumerate(of_axis):
                try:
                    taken.append(rule(item))
                except ValueError as error:
                    validator.error(f"matrix.{full}[{place}]", f"{excerpt(item)} is not allowed; {error}")
            keys.append(full)
            values.append(taken)
    return keys, values


def _conditions(validator: Validator, item: Any, where: str, axes: Axes) -> dict[str, Any]:
    """Return the values that a table gives for some axes."""
    if not isinstance(item, Mapping):
        validator.error(where, 'it is not a table like { transport = "kafka" }')
        return {}
    kafka = item.get("kafka", {})
    if not isinstance(kafka, Mapping):
        validator.error(f"{where}.kafka", 'it is not a table like { "linger.ms" = 5 }')
        kafka = {}
    found: dict[str, Any] = {}
    for key, value in item.items():
        if key == "kafka":
            continue
        if key not in axes:
            validator.error(
                f"{where}.{key}",
                f"unknown key{did_you_mean(key, [*axes, 'kafka'])}; the keys are {', '.join(axes)}, kafka",
            )
            continue
        try:
            found[key] = axes[key][0](value)
        except ValueError as error:
            validator.error(f"{where}.{key}", f"{excerpt(value)} is not allowed; {error}")
    for key, value in kafka.items():
        found[f"kafka.{key}"] = validator.value(value, f"{where}.kafka.{key}", setting)
    return found


def _fits(combination: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    return all(key in combination and combination[key] == value for key, value in condition.items())


def make_cell(way: str, combination: Mapping[str, Any]) -> Cell:
    """Make a combination's cell, without what has no meaning for its transport, so that equal ones become one.

    `way` holds where the combination names none.
    """
    values = {key: value for key, value in combination.items() if not key.startswith("kafka.")}
    kafka = {key.partition(".")[2]: value for key, value in combination.items() if key.startswith("kafka.")}
    cell = Cell(**{"way": way, **values})
    if cell.transport == semconv.KAFKA:
        return replace(cell, keep_alive=True, kafka=tuple(sorted(kafka.items())))
    if cell.transport == semconv.GRPC:
        return replace(cell, keep_alive=True, encoding=semconv.GRPC)
    return cell


def label_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Label each cell by its encoding, and all in which it differs from others of its transport."""
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
        base_label = " ".join(parts)
        label = base_label if cell.rate is None else f"{base_label} {cell.rate:g}/s"
        found.append(replace(cell, label=label, base_label=base_label))
    return found


def why_impossible(cell: Cell, servers: ServersConfig, *, closed: bool) -> str:
    """Say why a cell's servers can't take it, and what to do; nothing where they can."""
    reasons = _impossible_embedded(cell, servers) if servers.embedded else _impossible_own(cell, servers, closed)
    only_http = cell.encoding == OPENAI and cell.transport == semconv.KAFKA
    twice = cell.compression is not None and "compression.type" in dict(cell.kafka)
    unknown = cell.transport == semconv.GRPC and cell.compression not in {None, "gzip"}
    first = (
        (only_http, "a chat is asked over HTTP only: exclude it"),
        (twice, "compression and kafka's compression.type are the same setting: leave one out"),
        (unknown, "gRPC compresses by gzip only: exclude it"),
    )
    return next((why for is_so, why in (*first, *reasons) if is_so), "")


_Reasons = Sequence[tuple[bool, str]]
_V1_BRIDGE = "the bridge calls models with the V1 protocol: exclude it"


def _impossible_embedded(cell: Cell, servers: ServersConfig) -> _Reasons:
    kfserving, kafka = example.serving(servers.serving) == "kfserving", cell.transport == semconv.KAFKA
    seed, inflated = cell.way == "seed", cell.compression is not None and cell.transport == semconv.HTTP
    fast = 'exclude it, or choose way = "fast"'
    chat = cell.way == CHAT
    return (
        (
            chat and example.serving(servers.serving) != "kserve",
            'KFServing has no chat route: give servers.serving = "kserve", or exclude it',
        ),
        (chat and cell.transport != semconv.HTTP, 'the server of way = "chat" is asked over HTTP only: exclude it'),
        (
            chat and cell.encoding not in {"json", OPENAI},
            'the server of way = "chat" accepts json and openai only: exclude it',
        ),
        (
            chat and cell.compression is not None,
            'the server of way = "chat" does not decompress: exclude it',
        ),
        (cell.encoding == OPENAI and not chat, 'only the server of way = "chat" has a chat: exclude it'),
        (
            kfserving and cell.transport == semconv.GRPC,
            'KFServing has no gRPC: give servers.serving = "kserve", or exclude it',
        ),
        (seed and cell.encoding != "json", f'the servers of way = "seed" accept json only: {fast}'),
        (seed and inflated, f'the servers of way = "seed" do not decompress: {fast}'),
        (kfserving and cell.encoding in {"raw", "v2"}, f"KFServing does not accept {cell.encoding}: exclude it"),
        (kafka and cell.encoding == "v2", _V1_BRIDGE),
        (
            cell.encoding == CLAIM_CHECK and not servers.bucket,
            "it needs servers.bucket, and servers.store_url where the store is not AWS's",
        ),
    )


def _impossible_own(cell: Cell, servers: ServersConfig, closed: bool) -> _Reasons:
    own = servers.ways[cell.way]
    where = f"servers.{cell.way}" if cell.way else "servers"
    certificates = [key for key in ("ca", "cert", "key") if getattr(own, key)]
    # Where HTTP uses them, they may be meant for it alone.
    unused = bool(certificates) and not is_encrypted(own.url or "") and not is_encrypted(own.grpc or "")
    kafka, http, grpc = (cell.transport == transport for transport in (semconv.KAFKA, semconv.HTTP, semconv.GRPC))
    return (
        (cell.encoding == CLAIM_CHECK and not own.bucket, f"it needs {where}.bucket"),
        (cell.encoding == OPENAI and not own.model, f"it needs {where}.model, which the request names"),
        (http and not own.url, f"it needs {where}.url"),
        (grpc and not (own.grpc and own.model), f"it needs {where}.grpc (host:port) and {where}.model"),
        (
            grpc and unused,
            f"{where}.grpc is plain: write it as https://host:port, or leave {', '.join(certificates)} out",
        ),
        (kafka and not own.topic and cell.encoding == "v2", _V1_BRIDGE),
        (kafka and not own.bootstrap_servers, f"it needs {where}.bootstrap_servers"),
        (
            kafka and not own.topic and not own.url,
            f"it needs {where}.topic, or {where}.url for a topic and a bridge of the experiment's own",
        ),
        (
            kafka and own.topic is not None and closed and own.pause is None,
            f"nothing tells when the bridge of {where}.topic has answered: give {where}.pause, the seconds to wait "
            "after each record, or leave the topic out for one of the experiment's own",
        ),
    )


def baselines(validator: Validator, value: Any, cells: Sequence[Cell], axes: Axes) -> tuple[Cell, ...]:
    """Choose the baseline, one for each rate: by default base64 in JSON over HTTP, else the first cell."""
    if not cells:
        return ()
    if value is None:
        fitting = [cell for cell in cells if _fits(_values(cell), {"transport": semconv.HTTP, "encoding": "json"})]
        chosen = _plainest(fitting, {}, axes) or fitting or list(cells)
    else:
        wanted = _conditions(validator, value, "baseline", axes)
        fitting = [cell for cell in cells if _fits(_values(cell), wanted)]
        chosen = _plainest(fitting, wanted, axes) or fitting
        if len({cell.base_label for cell in chosen}) > 1:
            some = ", ".join(dict.fromkeys(cell.name for cell in chosen))
            validator.error("baseline", f"it matches several cells: {some}; add what sets yours apart")
            return ()
        if not chosen:
            validator.error("baseline", f"it matches no cell; there are {', '.join(cell.name for cell in cells)}")
            return ()
    first = chosen[0]
    return tuple(cell for cell in cells if (cell.transport, cell.base_label) == (first.transport, first.base_label))


def _plainest(cells: Sequence[Cell], wanted: Mapping[str, Any], axes: Axes) -> list[Cell]:
    """Return the cells that have the default in all that was not asked for."""
    defaults = {key: default for key, (_, default) in axes.items() if key not in wanted}
    return [cell for cell in cells if _fits(_values(cell), defaults)]


def _values(cell: Cell) -> dict[str, Any]:
    values = {key: getattr(cell, key) for key in (*AXES, "way")}
    return values | {f"kafka.{key}": value for key, value in cell.kafka}
