"""OpenTelemetry's settings in the environment: where spans go by them, and what the SDK would end with a traceback."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from opentelemetry.util.re import parse_env_headers

from otel_kfs.errors import ConfigError
from otel_kfs.telemetry.export.protocol_probe import is_absent, says_of_grpc, says_of_http

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

GRPC, HTTP = "grpc", "http/protobuf"
_DEFAULT_ENDPOINTS = {GRPC: "http://localhost:4317", HTTP: "http://localhost:4318"}
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")  # what both protocols can send
_ENTRIES = {GRPC: "otlp_proto_grpc", HTTP: "otlp_proto_http"}


class ExporterChoice(NamedTuple):
    """An exporter that OTEL_TRACES_EXPORTER names."""

    make: Callable[[], SpanExporter]
    where: str = ""  # where it exports to, for people: without the credentials that a URL may hold
    explain: Callable[[], str] = str  # why it fails, where that can be told, or nothing
    is_absent: Callable[[], bool] = bool  # whether it is on this machine, and nothing listens there


def exporter_choices() -> Iterator[ExporterChoice]:
    """Yield what OTEL_TRACES_EXPORTER names, as the SDK's own auto-configuration understands it.

    Raises:
        ConfigError: an exporter is not installed, or a setting of OTLP's can't be used.
    """
    known = entry_points(group="opentelemetry_traces_exporter").names
    for name in filter(None, map(str.strip, (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(","))):
        if name == "none":
            continue
        protocol = _protocol() if name == "otlp" else ""
        entry = _ENTRIES.get(protocol, name)
        if entry not in known:
            raise ConfigError(f"OTEL_TRACES_EXPORTER={name!r} is not known here; use otlp, console or none")
        (found,) = entry_points(group="opentelemetry_traces_exporter", name=entry)
        protocol = {entry: protocol for protocol, entry in _ENTRIES.items()}.get(entry, "")
        if protocol:
            make = functools.partial(found.load(), **_otlp_arguments(protocol))
            endpoint = _otlp("ENDPOINT") or _DEFAULT_ENDPOINTS[protocol]
            explain = functools.partial(says_of_grpc if protocol == GRPC else says_of_http, endpoint)
            yield ExporterChoice(make, _endpoint(protocol), explain, functools.partial(is_absent, endpoint))
        else:
            yield ExporterChoice(found.load())


def absent_endpoint() -> str:
    """Return the endpoint for spans if it is on this machine and nothing listens there; else "".

    Raises:
        ConfigError: a setting of the exporters can't be used.
    """
    choices = list(exporter_choices())
    return choices[0].where if choices and all(choice.is_absent() for choice in choices) else ""


def batch_settings() -> dict[str, int]:
    """Return the arguments of the batch processor by OTEL_BSP_*.

    Raises:
        ConfigError: one of them can't be used.
    """
    names = {
        "max_queue_size": ("OTEL_BSP_MAX_QUEUE_SIZE", 2048),
        "max_export_batch_size": ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512),
        "schedule_delay_millis": ("OTEL_BSP_SCHEDULE_DELAY", 5000),
        "export_timeout_millis": ("OTEL_BSP_EXPORT_TIMEOUT", 30000),
    }
    settings = {argument: _whole_number(*name) for argument, name in names.items()}
    if settings["max_export_batch_size"] > settings["max_queue_size"]:
        raise ConfigError(
            f"OTEL_BSP_MAX_QUEUE_SIZE ({settings['max_queue_size']}) is below OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
            f" ({settings['max_export_batch_size']}); set both"
        )
    return settings


def check_names() -> None:
    """Look at the settings that name something to be loaded.

    Raises:
        ConfigError: it is not installed.
    """
    for variable, group in (
        ("OTEL_PYTHON_TRACER_PROVIDER", "opentelemetry_tracer_provider"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "opentelemetry_resource_detector"),
    ):
        known = entry_points(group=group).names
        names = filter(None, map(str.strip, os.environ.get(variable, "").split(",")))
        if unknown := [name for name in names if name not in known | {"*"}]:
            raise ConfigError(f"{variable}: {unknown[0]!r} is not installed; there are {', '.join(sorted(known))}")


@dataclass(frozen=True, slots=True)
class OtlpAccess:
    """What a receiver of OTLP wants to see: headers, and for TLS files in PEM, None where none is given."""

    headers: Mapping[str, str] = field(default_factory=dict)
    ca: Path | None = None  # whom to trust, instead of the system's authorities
    certificate: Path | None = None  # the client's
    key: Path | None = None


def otlp_access() -> OtlpAccess:
    """Return what OTEL_EXPORTER_OTLP_HEADERS, ..._CERTIFICATE, ..._CLIENT_CERTIFICATE and ..._CLIENT_KEY say.

    Raises:
        ConfigError: a header can't be one, or a file is missing.
    """
    given = _otlp("HEADERS")
    pairs = [pair for pair in given.split(",") if pair.strip()]
    headers = parse_env_headers(given, liberal=True) if all("=" in pair for pair in pairs) else {}
    names = {unquote(pair.partition("=")[0]).strip().lower() for pair in pairs}
    if names != headers.keys() or not all(map(_HEADER_VALUE.fullmatch, headers.values())):
        raise ConfigError("OTEL_EXPORTER_OTLP_HEADERS is not of the form key=value,key=value, of values as in URLs")
    files = [_otlp("CERTIFICATE"), _otlp("CLIENT_CERTIFICATE"), _otlp("CLIENT_KEY")]
    for file in filter(None, files):
        if not Path(file).is_file():
            raise ConfigError(f"there is no file {file}, which OTEL_EXPORTER_OTLP_... names as certificate or key")
    return OtlpAccess(headers, *(Path(file) if file else None for file in files))


def _whole_number(name: str, default: int) -> int:
    given = os.environ.get(name, "").strip() or str(default)
    if not given.isdecimal() or len(given) > 18 or int(given) == 0:
        raise ConfigError(f"{name}={given!r} is not a whole number above 0")
    return int(given)


def _otlp(name: str) -> str:
    names = f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"
    return next(filter(None, (os.environ.get(name, "").strip() for name in names)), "")


def _protocol() -> str:
    """Return OTLP's protocol: what the variables say, or the endpoint's port, or else the SDK's own default."""
    given = _otlp("PROTOCOL")
    if given and given not in _ENTRIES:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL={given!r} is not known here; use {GRPC} or {HTTP}")
    return given or (HTTP if _split(_otlp("ENDPOINT"))[1] == 4318 else GRPC)


def _split(endpoint: str) -> tuple[str, int | None]:
    """Return an endpoint's host and port; gRPC's may be without a scheme."""
    try:
        parts = urlsplit(endpoint if "//" in endpoint else "//" + endpoint)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError(f"OTEL_EXPORTER_OTLP_ENDPOINT can't be used: {error}") from None
    return host, port


def _otlp_arguments(protocol: str) -> dict[str, Any]:
    """Return the arguments of an exporter where it does not understand the standard: gRPC's has no `none`, or ''."""
    _check_otlp(protocol)
    timeout = _seconds("OTEL_EXPORTER_OTLP_TIMEOUT", _otlp("TIMEOUT") or "10")
    if protocol == HTTP:
        return {"timeout": timeout}
    import grpc

    is_gzip = _otlp("COMPRESSION").lower() == "gzip"
    return {
        "endpoint": _otlp("ENDPOINT") or _DEFAULT_ENDPOINTS[GRPC],
        "timeout": timeout,
        "compression": grpc.Compression.Gzip if is_gzip else grpc.Compression.NoCompression,
    }


def _seconds(name: str, given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{name}={given!r} is not a number of seconds above 0")
    return seconds


def _check_otlp(protocol: str) -> None:
    endpoint = _otlp("ENDPOINT")
    if urlsplit(endpoint).scheme in {"http", "https"} and not _split(endpoint)[0]:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT names no host")
    if endpoint and protocol == HTTP and urlsplit(endpoint).scheme not in {"http", "https"}:
        raise ConfigError("OTEL_EXPORTER_OTLP_ENDPOINT is no URL; write http://host:port")
    compressions = {"none", "gzip"} | ({"deflate"} if protocol == HTTP else set())
    if (compression := _otlp("COMPRESSION").lower() or "none") not in compressions:
        raise ConfigError(
            f"OTEL_EXPORTER_OTLP_COMPRESSION={compression!r} is not known here; use {', '.join(sorted(compressions))}"
        )
    if endpoint.startswith("https:"):
        for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"):
            if (path := _otlp(name)) and not os.access(path, os.R_OK):
                raise ConfigError(f"OTEL_EXPORTER_OTLP_{name}: can't read {path}")


def _endpoint(protocol: str) -> str:
    endpoint = _otlp("ENDPOINT") or _DEFAULT_ENDPOINTS[protocol]
    scheme, separator, rest = endpoint.rpartition("://")
    parts = urlsplit("//" + rest)
    path = parts.path
    if protocol == HTTP and not os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        path = path.rstrip("/") + "/v1/traces"
    return f"{scheme}{separator}{parts.netloc.rpartition('@')[2]}{path}"
