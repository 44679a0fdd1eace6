"""The metrics of one `otel-kfs watch`, by all the ways that were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from otel_kfs.watch.core.snapshot import Observer
from otel_kfs.watch.metrics.image_metrics import ImageMetrics
from otel_kfs.watch.metrics.otlp_metrics import OtlpMetrics, otlp_provider
from otel_kfs.watch.metrics.prometheus_metrics import PrometheusMetrics
from otel_kfs.watch.metrics.running_counts import running_counts
from otel_kfs.watch.watch_service import Site, WatchService

_CLOSE_MILLIS = 2000


class MetricsOutput:
    """What a service is to be given for its metrics, made before it: observers and sites; then `follow` it."""

    def __init__(self, port: int | None, otlp_url: str | None) -> None:
        """Serve `/metrics` on a port, and send by OTLP to a URL: each unless None.

        Raises:
            ConfigError: the URL is none for OTLP.
        """
        self._provider = None if otlp_url is None else otlp_provider(otlp_url)
        self._prometheus = None if port is None else PrometheusMetrics()
        self._otlp = None if self._provider is None else OtlpMetrics(self._provider)
        self._recorders = [one for one in (self._prometheus, self._otlp) if one is not None]
        self.sites: list[Site] = []
        if self._prometheus is not None and port is not None:
            routes = self._prometheus.routes()
            self.sites.append(Site("--metrics-port", port, lambda _: routes, "metrics on", "/metrics"))

    @property
    def observers(self) -> Sequence[Observer]:
        """Return the observers of each image; none where no metrics are wanted."""
        return [ImageMetrics(self._recorders)] if self._recorders else []

    def follow(self, service: WatchService) -> None:
        """Export the service's own counts, too."""
        for recorder in self._recorders:
            recorder.add(partial(running_counts, service))

    def close(self) -> None:
        """Send what is not sent yet, without waiting long for a target that is away."""
        if self._provider is not None:
            self._provider.shutdown(_CLOSE_MILLIS)
