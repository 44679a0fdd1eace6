"""Which host's clock a process reads, by what its resource says.

Sources: OpenTelemetry semantic conventions, resource attributes of hosts, Kubernetes, containers and services.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_kfs import semconv

# The first that a resource has counts. Pods share the clock of their node, and what they give as `host.name` is mostly
# the pod's own, so the node goes before it. What comes after `host.id` is no host, but lies on one alone: two pods of
# a node are then two hosts, which costs a bound, and never hides a difference.
IDENTITY: Final = (
    semconv.K8S_NODE_NAME,
    semconv.HOST_NAME,
    semconv.HOST_ID,
    semconv.K8S_POD_NAME,
    semconv.CONTAINER_ID,
    semconv.SERVICE_INSTANCE_ID,
)
_UNNAMED = "'s host"
_APART = "'s)"


def host_of(resource: Mapping[str, Any], service: str) -> str:
    """Return the name of the host whose clock the spans of a resource are by.

    A service that says nothing of where it runs has a host of its own, which is no other's. It is "" where there is
    not even a service.
    """
    return named_host(next((str(value) for key in IDENTITY if (value := resource.get(key))), ""), service)


def named_host(name: str, service: str) -> str:
    """Return the same where the first of `IDENTITY` is looked up already; it may be ""."""
    return name or (f"{service}{_UNNAMED}" if service else "")


def named_apart(host: str, service: str) -> str:
    """Return the name of a service's own host, where the name of its host turned out to be that of several."""
    return f"{host} ({service}{_APART}"


def name_before(host: str) -> str | None:
    """Return the name that such a host shares with others; None if it is no such host."""
    return host.rpartition(" (")[0] if host.endswith(_APART) else None


def is_unnamed(host: str) -> bool:
    """Return whether nothing said which host it is."""
    return not host or host.endswith(_UNNAMED)
