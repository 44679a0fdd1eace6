"""Real Kafka, S3, Jaeger, Tempo and Prometheus on loopback without containers: `services.py fetch|run [NAME ...]`."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from service_kafka import Kafka, Listener, fetch_kafka, kafka
from service_process import Server, ServiceError, ServiceMissing, say
from service_prometheus import Prometheus, fetch_prometheus, prometheus
from service_s3 import S3, fetch_s3, s3
from service_stores import Jaeger, Tempo, fetch_jaeger, fetch_tempo, jaeger, tempo

__all__ = [
    "S3",
    "Jaeger",
    "Kafka",
    "Listener",
    "Prometheus",
    "ServiceError",
    "ServiceMissing",
    "Tempo",
    "fetch",
    "jaeger",
    "kafka",
    "prometheus",
    "s3",
    "tempo",
]

FETCHERS: dict[str, Callable[[], Path]] = {
    "kafka": fetch_kafka,
    "s3": fetch_s3,
    "jaeger": fetch_jaeger,
    "tempo": fetch_tempo,
    "prometheus": fetch_prometheus,
}


def fetch(name: str) -> Path:
    """Return where a service's program is, fetching it the first time if a registry has it."""
    if name not in FETCHERS:
        raise ServiceError(f"no service is called {name!r}; there are {', '.join(FETCHERS)}")
    return FETCHERS[name]()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = _parser().parse_args(arguments)
    names = list(dict.fromkeys(options.names or FETCHERS))
    try:
        if options.command == "fetch":
            for name in names:
                print(f"{name}: {fetch(name)}")
        else:
            _run(names, options)
    except ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="services.py", description=__doc__)
    parser.add_argument("command", choices=["fetch", "run"])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="kafka, s3, jaeger, tempo, prometheus; all unless given"
    )
    for option, what in (
        ("--kafka-port", "Kafka's port"),
        ("--s3-port", "the S3-compatible store's port"),
        ("--jaeger-query-port", "Jaeger's query port"),
        ("--jaeger-otlp-grpc-port", "Jaeger's OTLP port for gRPC"),
        ("--jaeger-otlp-http-port", "Jaeger's OTLP port for HTTP"),
        ("--tempo-port", "Tempo's query port"),
        ("--tempo-otlp-grpc-port", "Tempo's OTLP port for gRPC"),
        ("--tempo-otlp-http-port", "Tempo's OTLP port for HTTP"),
        ("--prometheus-port", "Prometheus' port"),
    ):
        parser.add_argument(option, type=int, default=0, metavar="PORT", help=f"{what}; a free one unless given")
    parser.add_argument("--s3-bucket", action="append", default=[], metavar="NAME", help="make this bucket; repeatable")
    parser.add_argument(
        "--prometheus-target", action="append", default=[], metavar="HOST:PORT", help="fetch its /metrics; repeatable"
    )
    parser.add_argument("--kafka-data", metavar="DIR", help="keep Kafka's data in this folder")
    return parser


def _run(names: list[str], options: argparse.Namespace) -> None:
    """Start the services, print their addresses, and stop them on a signal or when one of them ends."""
    # A service manager's polite end is the same to us as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    for name in names:
        fetch(name)
    with ExitStack() as stack:
        servers = [_start(name, options, stack) for name in names]
        say("ready; Ctrl-C stops")
        while True:
            for server in servers:
                server.check()
            time.sleep(0.5)


def _start(name: str, options: argparse.Namespace, stack: ExitStack) -> Server:
    """Start a service and print what a shell needs to use it."""
    say(f"starting {name}")
    variables: dict[str, str]
    service: Kafka | S3 | Jaeger | Tempo | Prometheus
    if name == "kafka":
        service = stack.enter_context(kafka(options.kafka_port, options.kafka_data))
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": service.bootstrap_servers,
            "KAFKA_CLASSPATH": service.classpath,
        }
    elif name == "s3":
        service = stack.enter_context(s3(options.s3_port, options.s3_bucket))
        variables = {"S3_URL": service.url, **service.environment}
    elif name == "jaeger":
        ports = (options.jaeger_otlp_grpc_port, options.jaeger_otlp_http_port, options.jaeger_query_port)
        service = stack.enter_context(jaeger(*ports))
        variables = {
            "JAEGER_QUERY_URL": service.query_url,
            "JAEGER_OTLP_GRPC": service.otlp_grpc,
            "JAEGER_OTLP_HTTP": service.otlp_http,
        }
    elif name == "prometheus":
        service = stack.enter_context(prometheus(options.prometheus_target, options.prometheus_port))
        variables = {"PROMETHEUS_URL": service.url}
    else:
        ports = (options.tempo_otlp_grpc_port, options.tempo_otlp_http_port, options.tempo_port)
        service = stack.enter_context(tempo(*ports))
        variables = {
            "TEMPO_URL": service.url,
            "TEMPO_OTLP_GRPC": service.otlp_grpc,
            "TEMPO_OTLP_HTTP": service.otlp_http,
        }
    address = next(iter(variables.values()))
    say(f"{name} is ready at {address}, pid {service.server.pid}, log {service.server.log}")
    for variable, value in variables.items():
        print(f"export {variable}={shlex.quote(value)}", flush=True)
    return service.server


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
