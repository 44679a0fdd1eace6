"""Reads an experiment's TOML file; each mistake in it becomes one clear line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

from otel_kfs.analysis.toml_file import read_toml
from otel_kfs.demo import example
from otel_kfs.experiment.config.experiment_config import (
    EMBEDDED_WAYS,
    PATTERNS,
    PICTURES,
    Arrivals,
    Endpoints,
    ExperimentConfig,
    ServersConfig,
)
from otel_kfs.experiment.config.matrix import (
    AXES,
    THREADS,
    baselines,
    combinations,
    label_cells,
    make_cell,
    why_impossible,
)
from otel_kfs.experiment.config.validation import (
    Rule,
    Validator,
    anything,
    flag,
    number,
    one_of,
    rates,
    seconds,
    text,
    texts,
)

_MOST_CELLS = 500
_LEAST_ARRIVALS = 5

_SECONDS = seconds(0.001, 86_400)
_COUNT = number(1, 1_000_000)
_TABLES = ("servers", "matrix", "baseline", "arrivals", "traces")
_TOP: dict[str, Rule] = {
    "images": texts,
    "repeat": _COUNT,
    "warmups": number(0, 1000),
    "seed": number(0, 2**31),
    "max_failures": number(0, 1_000_000),
    "timeout": _SECONDS,
    "prompt": text,
    "stream": flag,
    **dict.fromkeys(_TABLES, anything),
}
_SERVERS: dict[str, Rule] = {
    "embedded": flag,
    "serving": one_of(*example.SERVINGS),
    "bridge_concurrency": THREADS,
}
_EMBEDDED: dict[str, Rule] = {**_SERVERS, "bucket": text, "store_url": text, "bootstrap_servers": text}
_OWN: dict[str, Rule] = dict.fromkeys(Endpoints.__dataclass_fields__, text) | {"pause": _SECONDS}
# Paths of files, relative to the TOML.
_FILES = ("producer_config", "consumer_config", "ca", "cert", "key", "token_file")
_ARRIVALS: dict[str, Rule] = {
    "pattern": one_of(*PATTERNS),
    "rates": rates,
    "duration": _SECONDS,
    "workers": THREADS,
}
_TRACES: dict[str, Rule] = {"otlp_endpoint": text, "query": text}


def load(path: Path) -> ExperimentConfig:
    """Read and check a file.

    Raises:
        ConfigError: it can't be read, or has mistakes; the message has a line for each.
    """
    return parse(read_toml(path), path)


def parse(document: Mapping[str, Any], path: Path) -> ExperimentConfig:
    """Return the configuration in a document that was read from `path`, beside which its files lie.

    Raises:
        ConfigError: there are mistakes; the message has a line for each.
    """
    validator = Validator(path)
    servers = _servers(validator, document.get("servers"))
    top = validator.table(document, "", _TOP)
    arrivals = _arrivals(validator, document.get("arrivals"))
    traces = validator.table(document.get("traces", {}), "traces", _TRACES)
    axes = {**AXES, "way": (one_of(*_ways(servers)), _ways(servers)[0])}
    if arrivals is not None:
        # In an open loop as many are under way as there are.
        axes.pop("concurrency")
    images = _images(validator, document.get("images"), servers)
    chosen = combinations(validator, document, axes)
    validator.raise_errors()
    distinct = dict.fromkeys(make_cell(axes["way"][1], combination) for combination in chosen)
    cell_rates: Sequence[float | None] = arrivals.rates if arrivals else (None,)
    cells = label_cells([replace(cell, rate=rate) for cell in distinct for rate in cell_rates])
    if not cells:
        validator.error("matrix.exclude", "it excludes every cell: remove something from it")
    if len(cells) > _MOST_CELLS:
        validator.error("matrix", f"it has {len(cells)} cells, and {_MOST_CELLS} are allowed: exclude some")
    for cell in dict.fromkeys(replace(cell, rate=None, label=cell.base_label) for cell in cells):
        if why := why_impossible(cell, servers, closed=arrivals is None):
            validator.error("matrix", f"{cell.name}: {why}")
    compared_with = baselines(validator, document.get("baseline"), cells, axes)
    validator.raise_errors()
    return ExperimentConfig(
        file=path,
        document=document,
        cells=tuple(cells),
        baselines=compared_with,
        images=images,
        servers=servers,
        arrivals=arrivals,
        **{key: value for key, value in top.items() if key not in {"images", *_TABLES}},
        **traces,
    )


def _servers(validator: Validator, value: Any) -> ServersConfig:
    if value is None:
        validator.error(
            "servers", "it is missing: set embedded = true, or url, bootstrap_servers, ... of your own servers"
        )
        return ServersConfig()
    if not isinstance(value, Mapping):
        validator.error("servers", "it is not a table of keys and values")
        return ServersConfig()
    ways = {key: item for key, item in value.items() if isinstance(item, Mapping)}
    plain = {key: item for key, item in value.items() if key not in ways}
    if plain.get("embedded") is True:
        return ServersConfig(**validator.table({**plain, **ways}, "servers", _EMBEDDED))
    common = validator.table(plain, "servers", {**_OWN, **_SERVERS})
    common.pop("embedded", None)
    if common.pop("serving", None):
        validator.error("servers.serving", "only embedded servers have it: set embedded = true, or leave it out")
    concurrency = common.pop("bridge_concurrency", 1)
    tables = {name: {**common, **validator.table(item, f"servers.{name}", _OWN)} for name, item in ways.items()}
    own = {}
    for name, table in (tables or {"": common}).items():
        files = {key: str(validator.file.parent / table[key]) for key in _FILES if key in table}
        own[name] = Endpoints(**{**table, **files})
    return ServersConfig(bridge_concurrency=concurrency, ways=own)


def _ways(servers: ServersConfig) -> tuple[str, ...]:
    return EMBEDDED_WAYS if servers.embedded else tuple(servers.ways) or ("",)


def _arrivals(validator: Validator, value: Any) -> Arrivals | None:
    if value is None:
        return None
    found = Arrivals(**validator.table(value, "arrivals", _ARRIVALS))
    if isinstance(value, Mapping) and "rates" not in value:
        validator.error("arrivals.rates", "it is missing: give a list of images a second, like [1, 2, 4]")
    for rate in found.rates:
        if rate * found.duration < _LEAST_ARRIVALS:
            validator.error(
                "arrivals.duration",
                f"{rate:g} a second is fewer than {_LEAST_ARRIVALS} images in {found.duration:g} s: give more time",
            )
    return found


def _images(validator: Validator, given: Any, servers: ServersConfig) -> tuple[str, ...]:
    """Files beside the TOML; of the embedded servers also the demo's pictures, by name."""
    if given is None:
        if not servers.embedded:
            validator.error("images", 'it is missing: give a list of image files, like ["cat.jpg"]')
        return PICTURES
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        return ()  # this is noted already
    found = []
    for name in given:
        if name in PICTURES:
            found.append(name)
            continue
        paths = [Path(path) for path in sorted(glob(str(validator.file.parent / name), recursive=True))]
        if not paths or not all(path.is_file() for path in paths):
            more = f", nor is it one of the demo's pictures, {', '.join(PICTURES)}" if servers.embedded else ""
            validator.error("images", f"there is no file {name!r} beside {validator.file.name}{more}")
        found += map(str, paths)
    if not servers.embedded and (pictures := [name for name in given if name in PICTURES]):
        validator.error("images", f"{', '.join(pictures)}: only embedded servers have these pictures; give files")
    return tuple(dict.fromkeys(found))
