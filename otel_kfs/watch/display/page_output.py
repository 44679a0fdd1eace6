"""The page of one `otel-kfs watch`, where it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from otel_kfs.errors import MissingExtra
from otel_kfs.watch.display.losses import losses
from otel_kfs.watch.watch_service import Site, WatchService


class PageOutput:
    """What a service is to be given for its page, made before it; then `follow` it."""

    def __init__(self, port: int | None) -> None:
        """Serve the page on a port, unless None.

        Raises:
            MissingExtra: what draws it is not installed.
        """
        self._service: WatchService | None = None
        self.sites: list[Site] = []
        if port is None:
            return
        try:
            from otel_kfs.watch.display.live_page import LivePage
        except ImportError as error:
            raise MissingExtra(error.name or "Jinja2", "watch") from error
        self.sites.append(
            Site(
                "--page",
                port,
                lambda latest: LivePage(latest, self._losses, self._is_over).routes(),
                "the page on",
                "/",
            )
        )

    def follow(self, service: WatchService) -> None:
        """Show what the service counts, too, and end with it."""
        self._service = service

    def _losses(self) -> Sequence[str]:
        return [] if self._service is None else losses(self._service)

    def _is_over(self) -> bool:
        return self._service is not None and self._service.is_stopping
