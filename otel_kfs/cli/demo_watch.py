"""`otel-kfs demo --watch`: a watch of what the demo sends, as a table on the terminal, with the demo's lines below."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from otel_kfs.cli.commands.watch import print_summary
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import quiet_grpc
from otel_kfs.cli.output import progress
from otel_kfs.errors import MissingExtra

if TYPE_CHECKING:
    from otel_kfs.demo.demo_run import ProgressBar

_DELAY_MILLIS = "500"  # until spans leave the demo's processes; OpenTelemetry's own 5 s are too long to look on


class Shown(NamedTuple):
    """What the demo is to be given in place of its own."""

    otlp_endpoint: str
    say: Callable[[str], None]
    progress: ProgressBar


@contextmanager
def watched(forward: str | None) -> Iterator[Shown]:
    """Watch on free ports until the end of the `with`, and hand every span on to `forward`.

    Where standard output is no terminal, the demo's lines are as without a watch. Ctrl-C prints what was measured.

    Raises:
        MissingExtra: what a watch needs is not installed.
        ConfigError: `forward` is no URL.
    """
    quiet_grpc()
    try:
        from otel_kfs.watch.watch_service import WatchOptions, WatchService
    except ImportError as error:
        raise MissingExtra(error.name or "uvicorn", "watch") from error
    from rich.console import Console

    from otel_kfs.watch.display.live_table import Frame, is_drawable, live_table
    from otel_kfs.watch.display.losses import losses

    os.environ.setdefault("OTEL_BSP_SCHEDULE_DELAY", _DELAY_MILLIS)
    service, console = WatchService(WatchOptions(grpc_port=0, http_port=0, forward=forward)), Console(highlight=False)
    with service.started():
        endpoint = f"http://127.0.0.1:{service.http_port if _by_http() else service.grpc_port}"
        try:
            if not is_drawable(console):
                yield Shown(endpoint, say, progress)
                return
            foot = _Foot()
            with live_table(lambda: Frame(service.latest(), losses(service), foot.text), console):
                yield Shown(endpoint, foot.say, foot.progress)
        except KeyboardInterrupt:
            service.stop()
            print_summary(service)
            raise


def _by_http() -> bool:
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    return (protocol or "").startswith("http")


class _Foot:
    """The demo's last line, in place of its lines and its bar."""

    def __init__(self) -> None:
        self.text = ""

    def say(self, line: str) -> None:
        self.text = line

    @contextmanager
    def progress(self, total: int, description: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
        del quiet  # who is quiet has no table
        done = 0

        def advance(word: str) -> None:
            nonlocal done
            done += 1
            self.text = f"{description} {word}: {done} of {total}; Ctrl-C ends"

        self.text = f"{description}; Ctrl-C ends"
        yield advance
