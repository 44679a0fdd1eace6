"""OpenTelemetry's module of the global propagator, which can't even be imported where OTEL_PROPAGATORS is wrong."""

from __future__ import annotations

import functools
import os
from typing import Any

from opentelemetry.environment_variables import OTEL_PROPAGATORS

from otel_kfs.errors import ConfigError


@functools.cache
def propagate() -> Any:
    """Return `opentelemetry.propagate`.

    Raises:
        ConfigError: OTEL_PROPAGATORS names a propagator that is not installed.
    """
    from importlib.metadata import entry_points

    names = list(map(str.strip, (os.environ.get(OTEL_PROPAGATORS) or "none").split(",")))
    known = entry_points(group="opentelemetry_propagator").names
    if unknown := [name for name in names if name.lower() != "none" and name not in known]:
        raise ConfigError(
            f"{OTEL_PROPAGATORS}: {unknown[0]!r} is not installed; there are {', '.join(sorted(known))} and none"
        )
    from opentelemetry import propagate as module

    return module
