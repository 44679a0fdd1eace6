"""WatchService: receivers and measurement in a thread of their own, with one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from otel_kfs.analysis.paths.critical_path import PathFinder, critical_paths
from otel_kfs.errors import ConfigError
from otel_kfs.traces.printable import printable
from otel_kfs.watch.core.live_measurement import LiveMeasurement
from otel_kfs.watch.core.open_traces import TraceBounds
from otel_kfs.watch.core.snapshot import Observer, Snapshot
from otel_kfs.watch.receiver.grpc_receiver import UnfinishedRequests, start_grpc
from otel_kfs.watch.receiver.http_connection import HttpConnection
from otel_kfs.watch.receiver.http_receiver import otlp_app
from otel_kfs.watch.receiver.intake import Intake
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity
from otel_kfs.watch.receiver.span_forwarder import SpanForwarder
from otel_kfs.watch.receiver.spans_file import SpansFile
from otel_kfs.watch.site_app import site_app

_SLICE = 0.005  # seconds of measuring between two looks at what arrived
_TICK = 0.25  # seconds
_SNAPSHOT = 1.0  # seconds between two, at least
_SHARE = 20  # times as long as one took
_GRACE = 0.5  # seconds for requests that are under way at the end
_CONCURRENT = 512  # HTTP requests at once
_NO_ADDRESS = "no address of this machine; choose another by --listen"

Latest = Callable[[], Snapshot]


@dataclass(frozen=True, slots=True)
class Site:
    """More to be served by HTTP, on a port of its own: the page, metrics."""

    option: str  # that gives the port, for messages
    port: int  # 0: any that is free
    routes: Callable[[Latest], Sequence[BaseRoute]]  # is given what returns the latest figures
    shows: str  # what is there, for messages
    path: str


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """The options of `otel-kfs watch`; a port of 0 takes a free one."""

    host: str = "127.0.0.1"
    grpc_port: int = 4317
    http_port: int = 4318
    security: ReceiverSecurity = field(default_factory=ReceiverSecurity)
    largest_request: int = 16 * 2**20  # bytes, compressed and not
    most_waiting: int = 50_000  # spans that are acknowledged and not yet measured
    bounds: TraceBounds = field(default_factory=TraceBounds)
    find: PathFinder = critical_paths
    traces_file: Path | None = None
    largest_file: int | None = None  # bytes, before another one is begun
    kept_files: int = 5  # older ones
    forward: str | None = None


class WatchService:
    """Receives and measures from `started` on, until it is stopped."""

    def __init__(self, options: WatchOptions, observers: Sequence[Observer] = (), sites: Sequence[Site] = ()) -> None:
        """Tell `observers`, in the service's thread, of each image; serve `sites` beside the receivers.

        Raises:
            ConfigError: the traces file can't be written, or --forward is no URL.
            MissingExtra: ddsketch is not installed.
        """
        self._options, self._sites = options, sites
        self.grpc_port, self.http_port = options.grpc_port, options.http_port
        self.site_ports: list[int] = []
        self._live = LiveMeasurement(time.monotonic(), options.bounds, options.find, observers=observers)
        self._file: SpansFile | None = None
        if options.traces_file is not None:
            self._file = SpansFile(options.traces_file, options.largest_file, options.kept_files)
        self.forwarder = None if options.forward is None else SpanForwarder(options.forward)
        self.intake = Intake(options.most_waiting, self._file, self.forwarder)
        self._unfinished = UnfinishedRequests()
        self._latest = self._live.snapshot(time.monotonic())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._is_due = False  # measuring, in the loop
        self._listening = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="otel-kfs watch", daemon=True)

    @contextmanager
    def started(self) -> Iterator[WatchService]:
        """Listen until `stop` or the end of the `with`.

        Raises:
            ConfigError: a port is in use, or TLS can't be set up.
        """
        self._thread.start()
        self._listening.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop listening and measure what was acknowledged; `latest` has the last figures then."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._error is not None:
            raise self._error

    @property
    def sites(self) -> list[tuple[Site, int]]:
        """What is served beside the receivers, each with its port."""
        return list(zip(self._sites, self.site_ports, strict=True))

    def url(self, port: int, path: str) -> str:
        """Return the URL of something on one of the ports."""
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"{'https' if self._options.security.is_tls else 'http'}://{host}:{port}{path}"

    @property
    def is_stopping(self) -> bool:
        """Return whether it accepts nothing any more, which ends streams."""
        return self._stop.is_set()

    def latest(self) -> Snapshot:
        """Return the figures of about a second ago, or a few where there is much to do."""
        return self._latest

    # --- in the thread ---

    def _run(self) -> None:
        try:
            _run_in_loop(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that started this one
            self._error = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.intake.arrived = self._arrived
        options = self._options
        app = otlp_app(self.intake, options.security, options.largest_request)
        http, self.http_port = _server(app, options, "--http-port", options.http_port)
        servers = [http]
        for site in self._sites:
            server, port = _server(
                site_app(site.routes(self.latest), options.security, options.host), options, site.option, site.port
            )
            servers.append(server)
            self.site_ports.append(port)
        grpc_server, self.grpc_port = start_grpc(
            self.intake,
            options.host,
            options.grpc_port,
            options.security,
            options.largest_request,
            self._unfinished,
        )
        serving = [asyncio.create_task(server.serve(sockets=[server.config.socket])) for server in servers]
        ticking = asyncio.create_task(self._tick())
        while not all(server.started for server in servers) and not any(task.done() for task in serving):
            await asyncio.sleep(0.005)
        self._listening.set()
        await asyncio.wait([asyncio.create_task(self._stop.wait()), ticking], return_when="FIRST_COMPLETED")
        for server in servers:
            server.should_exit = True
        ended = grpc_server.stop(_GRACE)
        await asyncio.gather(self._loop.run_in_executor(None, ended.wait), *serving)
        if ticking.done():
            ticking.result()  # which raises what ended it
        ticking.cancel()
        self._finish()

    def _arrived(self) -> None:
        """Measure soon what arrived, unless that is on its way already."""
        if not self._is_due and self._loop is not None:
            self._is_due = True
            with contextlib.suppress(RuntimeError):  # the loop has ended; what is left is measured then
                self._loop.call_soon_threadsafe(self._measure)

    def _measure(self) -> None:
        """Measure for a slice of time, then let requests be answered."""
        now = time.monotonic()
        until = now + _SLICE
        try:
            while now < until and (spans := self.intake.next()) is not None:
                self._live.add(spans, now)
                now = time.monotonic()
        finally:
            self._is_due = False  # before the look at what waits: who comes after it begins anew
            if self.intake.waiting:
                self._arrived()

    async def _tick(self) -> None:
        """Do what is due, whether or not spans come."""
        snapshot = time.monotonic()
        while True:
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            self._live.tick(now)
            self._unfinished.cancel_overdue(now)
            if now >= snapshot:
                self._latest = self._live.snapshot(now)
                after = time.monotonic()
                snapshot = after + max(_SNAPSHOT, _SHARE * (after - now))

    def _finish(self) -> None:
        """Measure all that was acknowledged."""
        now = time.monotonic()
        while (spans := self.intake.next()) is not None:
            self._live.add(spans, now)
        if self.forwarder is not None:
            self.forwarder.close()
        if self._file is not None:
            self._file.close()
        self._latest = self._live.finish(now)


def _run_in_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, in uvloop's event loop where it is installed."""
    try:
        from uvloop import run
    except ImportError:
        from asyncio import run
    before = gc.get_threshold()
    # Spans and paths make no cycles, and there are very many of them: collecting garbage takes long and finds none.
    gc.set_threshold(100_000, *before[1:])
    try:
        run(main)
    finally:
        gc.set_threshold(*before)


def _server(app: Starlette, options: WatchOptions, option: str, port: int) -> tuple[Any, int]:
    """Return a server that has its socket already, and the port.

    Raises:
        ConfigError: the port is in use, or TLS can't be set up.
    """
    security = options.security
    listener = _listen(options.host, port, option)
    config = uvicorn.Config(
        app,
        http=HttpConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONCURRENT,
        timeout_graceful_shutdown=1,
        ssl_certfile=security.tls_cert,
        ssl_keyfile=security.tls_key,
    )
    config.socket = listener
    try:
        config.load()
    except (OSError, ValueError) as error:
        listener.close()
        raise ConfigError(f"can't use --tls-cert {security.tls_cert} with --tls-key: {_reason(error)}") from error
    return uvicorn.Server(config), listener.getsockname()[1]


def _reason(error: OSError | ValueError) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _listen(host: str, port: int, option: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"can't listen on {printable(host)}: {_NO_ADDRESS}") from error
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"can't listen on {host}: {_NO_ADDRESS}") from error
        # Python's own text has the address again.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(f"can't listen on {host}:{port}: {reason}; choose another by {option}") from error
