"""`otel-kfs watch`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from otel_kfs.cli.command import command, option
from otel_kfs.cli.messages import say, say_sentence
from otel_kfs.cli.options import quiet_grpc
from otel_kfs.cli.parameter_types import Duration
from otel_kfs.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from otel_kfs.watch.core.snapshot import Snapshot
    from otel_kfs.watch.watch_service import WatchService

_LINE_SECONDS = 10.0  # between two lines where standard output is no terminal
_TOKEN = "OTEL_KFS_WATCH_TOKEN"  # noqa: S105 - a variable's name
_ACCESS = "TLS and tokens"
_PORT = click.IntRange(0, 65535)
_FILE = click.Path(dir_okay=False, path_type=Path)


@command(
    short_help="Measure images while they are sent.",
    epilog="""\b
Examples:
  otel-kfs watch
  otel-kfs watch --page 8000
  otel-kfs watch --forward http://localhost:14317 --traces-file traces.otlp
  otel-kfs watch --listen 0.0.0.0 --tls-cert cert.pem --tls-key key.pem \\
      --token-file token

\b
Exit code: 1 after an error, 2 if the command line is wrong, 130 after Ctrl-C,
143 after SIGTERM.
""",
)
@option(
    "--listen",
    "host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to listen on; 0.0.0.0 is all of this machine's.",
)
@option(
    "--grpc-port",
    type=_PORT,
    default=4317,
    show_default=True,
    metavar="PORT",
    help="The port for OTLP over gRPC; 0 takes a free one.",
)
@option(
    "--http-port",
    type=_PORT,
    default=4318,
    show_default=True,
    metavar="PORT",
    help="The port for OTLP over HTTP, protobuf or JSON; 0 takes a free one.",
)
@option(
    "--linger",
    type=Duration(or_zero=True),
    default="10s",
    show_default=True,
    help="How long to wait, after a trace's last span, for those that its images still lack.",
)
@option(
    "--forward",
    metavar="URL",
    help="Forward every span to this Collector, Jaeger or Tempo, with the headers of OTEL_EXPORTER_OTLP_HEADERS.",
)
@option(
    "--traces-file", type=_FILE, metavar="FILE", help="Keep every span in this file, which `otel-kfs tables` reads."
)
@option(
    "--max-file",
    type=click.FloatRange(0, min_open=True),
    metavar="MB",
    help="Begin a new traces file before this one grows larger; FILE.1 is the previous one.  [default: never]",
)
@option(
    "--keep-files",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    metavar="N",
    help="How many older traces files to keep.",
)
@option("--page", "page_port", type=_PORT, metavar="PORT", help="Show the figures as a web page on this port, too.")
@option("--metrics-port", type=_PORT, metavar="PORT", help="Serve /metrics for Prometheus on this port, such as 9464.")
@option("--otlp-metrics", metavar="URL", help="Send the same metrics there, with OTLP, every 10 s.")
@option("--run", metavar="ID", help="Only the images of this run.")
@option("--server", "servers", multiple=True, metavar="NAME", help="A service that is a model server; repeatable.")
@option(
    "--max-spans",
    type=click.IntRange(1000),
    default=200_000,
    show_default=True,
    metavar="N",
    help="Spans to keep in memory until their images are complete and a while after; about 1 kB each.",
)
@option(
    "--max-request",
    type=click.FloatRange(0, 1024, min_open=True),
    default=16,
    show_default=True,
    metavar="MB",
    help="The largest request to take, before and after decompression.",
)
@option("--tls-cert", group=_ACCESS, type=_FILE, metavar="FILE", help="The receiver's certificate, in PEM.")
@option("--tls-key", group=_ACCESS, type=_FILE, metavar="FILE", help="The certificate's key, in PEM.")
@option(
    "--token-file",
    group=_ACCESS,
    type=_FILE,
    metavar="FILE",
    help=f"A file with the bearer token that senders have to give.  [env var: {_TOKEN}]",
)
@option("--insecure", group=_ACCESS, is_flag=True, help="Listen beyond this machine without TLS and a token.")
@click.pass_obj
def watch(
    obj: dict[str, bool],
    host: str,
    grpc_port: int,
    http_port: int,
    linger: float,
    forward: str | None,
    traces_file: Path | None,
    max_file: float | None,
    keep_files: int,
    page_port: int | None,
    metrics_port: int | None,
    otlp_metrics: str | None,
    run: str | None,
    servers: tuple[str, ...],
    max_spans: int,
    max_request: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    token_file: Path | None,
    *,
    insecure: bool,
) -> None:
    """Receive spans by OTLP and show, while images are sent, where their time goes.

    Any program with OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 can be watched, without a Collector or a
    trace store. Ctrl-C ends it and prints what was measured.
    """
    from functools import partial

    quiet_grpc()
    try:
        from otel_kfs.watch.display.page_output import PageOutput
        from otel_kfs.watch.metrics.metrics_output import MetricsOutput
        from otel_kfs.watch.watch_service import WatchOptions, WatchService
    except ImportError as error:
        raise MissingExtra(error.name or "uvicorn", "watch") from error
    from otel_kfs.analysis.paths.critical_path import critical_paths
    from otel_kfs.watch.core.open_traces import TraceBounds
    from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity

    if max_file is not None and traces_file is None:
        raise ConfigError("--max-file is about the file of --traces-file: give that, too")
    security = ReceiverSecurity(tls_cert, tls_key, _token(token_file))
    security.check(host, insecure=insecure)
    options = WatchOptions(
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        security=security,
        largest_request=round(max_request * 1_000_000),
        bounds=TraceBounds(spans=max_spans, linger=linger),
        find=partial(critical_paths, run=run, servers=servers),
        traces_file=traces_file,
        largest_file=None if max_file is None else round(max_file * 1_000_000),
        kept_files=keep_files,
        forward=forward,
    )
    metrics = MetricsOutput(metrics_port, otlp_metrics)
    page = PageOutput(page_port)
    service = WatchService(options, metrics.observers, [*page.sites, *metrics.sites])
    metrics.follow(service)
    page.follow(service)
    try:
        with service.started():
            try:
                _show(service, _listening(service, host), quiet=obj["quiet"])
            finally:
                service.stop()
                print_summary(service)
    finally:
        metrics.close()


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get(_TOKEN, "")
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError(f"can't read {file}: {reason}") from error
    if not token:
        raise ConfigError(f"{file} is empty: write the token that senders have to give into it")
    return token


def _listening(service: WatchService, host: str) -> str:
    others = [f"; {site.shows} {service.url(port, site.path)}" for site, port in service.sites]
    return (
        f"listening on {host}: OTLP over gRPC on port {service.grpc_port}, over HTTP on port {service.http_port}"
        f"{''.join(others)}; Ctrl-C ends"
    )


def _show(service: WatchService, listening: str, *, quiet: bool) -> None:
    """Show the figures until Ctrl-C: a table where standard output is a terminal, else a line every so often."""
    from rich.console import Console

    from otel_kfs.watch.display.live_table import Frame, is_drawable, live_table
    from otel_kfs.watch.display.losses import losses

    console = Console(highlight=False)
    if is_drawable(console) and not quiet:
        with live_table(lambda: Frame(service.latest(), losses(service), listening), console):
            while True:
                time.sleep(_LINE_SECONDS)
    if not quiet:
        say(listening)
    while True:
        time.sleep(_LINE_SECONDS)
        if not quiet:
            say(_line(service.latest()), err=False)
            sys.stdout.flush()


def _line(snapshot: Snapshot) -> str:
    from otel_kfs.report.answer import answer

    coverage = snapshot.since_start.coverage
    if not coverage.measured and not coverage.left_out:
        return f"{snapshot.counts.spans} spans, no image yet"
    return f"{snapshot.images_per_second:.1f} images/s. {answer(snapshot.last_minute).sentence}"


def print_summary(service: WatchService) -> None:
    """Print what was measured since the start, and what was lost."""
    from otel_kfs.report.answer import answer
    from otel_kfs.report.coverage_lines import coverage_line
    from otel_kfs.watch.display.losses import losses

    snapshot = service.latest()
    coverage, counts = snapshot.since_start.coverage, snapshot.counts
    if sys.stdout.isatty():
        say("", err=False)  # below the terminal's ^C
    if coverage.measured:
        say_sentence(answer(snapshot.since_start).sentence, err=False)
    if coverage.measured or coverage.left_out:
        say(coverage_line(coverage), err=False)
    else:
        say(f"no image was measured, of {counts.spans} spans", err=False)
    for line in losses(service):
        say(line)
