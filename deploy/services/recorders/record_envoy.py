"""Envoy and its OpenTelemetry tracer before the transformer or the predictor, as Istio and Kourier set it up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service_process import HERE, HOST

from otel_kfs.demo.processes import free_port
from recorders.recording import Expected, Recording, environment_for, expected

TYPES = "type.googleapis.com/envoy"
FIRST_ATTEMPT_FAILS = "connect-failure"


@dataclass(frozen=True)
class Proxy:
    """How one Envoy is set up: its service's name, and what it writes of a request."""

    service: str
    upstream_span: bool = False  # a CLIENT span below the SERVER span
    outbound: bool = False  # its one span is a CLIENT span, as that of a sidecar before its own application's requests
    decorated: str = ""  # the span's name, which Istio makes the route's
    dead_endpoint: bool = False  # which is asked before the real one


def before_transformer(recording: Recording) -> Expected:
    """As an ingress that writes one span a request."""
    return _before_transformer(recording, Proxy("envoy"))


def upstream_span(recording: Recording) -> Expected:
    """As an ingress that writes two: of the request that it got, and of the one that it makes."""
    return _before_transformer(recording, Proxy("istio-ingressgateway.istio-system", upstream_span=True))


def gateway_and_sidecar(recording: Recording) -> Expected:
    """As an ingress gateway, and as the sidecar of the transformer behind it."""
    gateway = Proxy("istio-ingressgateway.istio-system", outbound=True)
    return _before_transformer(recording, gateway, Proxy("mobilenet-transformer.default"))


def sidecar_decorated(recording: Recording) -> Expected:
    """As a sidecar that names its span after the route."""
    route = "mobilenet-transformer.default.svc.cluster.local:80/*"
    return _before_transformer(recording, Proxy("mobilenet-transformer.default", upstream_span=True, decorated=route))


def retry(recording: Recording) -> Expected:
    """As an ingress whose first attempt finds nobody."""
    return _before_transformer(recording, Proxy("gateway", upstream_span=True, dead_endpoint=True))


def before_predictor(recording: Recording) -> Expected:
    """As the ingress between transformer and predictor."""
    port = free_port()
    transformer, predictor = recording.model_servers("--predictor_host", f"{HOST}:{port}")
    proxy = Proxy("istio-ingressgateway.istio-system")
    _start(recording, proxy, port, predictor)
    count = recording.send_http(transformer)
    recording.wait_for_spans(proxy.service, count)
    return expected(count, "image-sender", "mobilenet-transformer", proxy.service, "mobilenet-predictor")


RECORDINGS = {
    "envoy-before-transformer": before_transformer,
    "envoy-before-predictor": before_predictor,
    "envoy-upstream-span": upstream_span,
    "envoy-gateway-and-sidecar": gateway_and_sidecar,
    "envoy-sidecar-decorated": sidecar_decorated,
    "envoy-retry": retry,
}


def _before_transformer(recording: Recording, *proxies: Proxy) -> Expected:
    """Send the images through the proxies, one behind the other, to the transformer."""
    url, _ = recording.model_servers()
    for proxy in reversed(proxies):
        port = free_port()
        _start(recording, proxy, port, url)
        url = f"http://{HOST}:{port}"
    count = recording.send_http(url)
    for proxy in proxies:
        recording.wait_for_spans(proxy.service, count)
    services = [proxy.service for proxy in proxies]
    return expected(count, "image-sender", *services, "mobilenet-transformer", "mobilenet-predictor")


def _start(recording: Recording, proxy: Proxy, port: int, upstream: str) -> None:
    """Start an Envoy that listens on the port and asks the upstream's URL."""
    bin_folder = environment_for("envoy", HERE / "recorders" / "envoy.txt")
    (executable,) = bin_folder.parent.glob("lib/python*/site-packages/envoy/_bin/envoy")
    name = f"envoy-{proxy.service}"
    config = Path(recording.folder) / f"{name}.json"
    config.write_text(json.dumps(_config(recording, proxy, port, upstream), indent=2), "utf-8")
    command = [str(executable), "--config-path", str(config), "--disable-hot-restart", "--concurrency", "1"]
    recording.processes.start(name, [*command, "--log-level", "warning"])
    recording.wait_until_listening(name, port)


def _config(recording: Recording, proxy: Proxy, port: int, upstream: str) -> dict[str, Any]:
    route: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "up", "timeout": "60s"}}
    if proxy.decorated:
        route["decorator"] = {"operation": proxy.decorated}
    endpoints = [_endpoint(urlsplit(upstream).port or 80)]
    if proxy.dead_endpoint:
        # Of two priorities the first is asked, and the other one where the first was tried.
        endpoints = [_endpoint(free_port()), {**endpoints[0], "priority": 1}]
        priorities = {"@type": f"{TYPES}.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"}
        route["route"]["retry_policy"] = {
            "retry_on": FIRST_ATTEMPT_FAILS,
            "num_retries": 2,
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": {**priorities, "update_frequency": 1},
            },
        }
    tracer = {
        "@type": f"{TYPES}.config.trace.v3.OpenTelemetryConfig",
        "service_name": proxy.service,
        "http_service": {
            "http_uri": {"uri": f"{recording.otlp_url}/v1/traces", "cluster": "otlp", "timeout": "5s"},
        },
    }
    manager = {
        "@type": f"{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "tracing": {
            "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer},
            "spawn_upstream_span": proxy.upstream_span,
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPES}.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "in",
        "address": _address(port),
        # What is to be sent again has to be kept, and an image is larger than the 1 MiB that is kept by default.
        "per_connection_buffer_limit_bytes": 100_000_000,
        "traffic_direction": "OUTBOUND" if proxy.outbound else "INBOUND",
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [_cluster("up", endpoints), _cluster("otlp", [_endpoint(recording.receiver.http_port)])]
    # Envoy writes its spans when there are 5 of them, and does not at its end.
    runtime = {"layers": [{"name": "static", "static_layer": {"tracing.opentelemetry.min_flush_spans": 1}}]}
    return {"static_resources": {"listeners": [listener], "clusters": clusters}, "layered_runtime": runtime}


def _cluster(name: str, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _endpoint(port: int) -> dict[str, Any]:
    return {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HOST, "port_value": port}}
