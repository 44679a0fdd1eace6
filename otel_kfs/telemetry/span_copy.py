"""A span that has ended with other text in it: the SDK's own can't be changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Status

Part = TypeVar("Part")
Attributes = Mapping[str, Any]


def copied(
    span: ReadableSpan,
    *,
    name: str,
    description: str | None,
    resource: Resource,
    scope: InstrumentationScope | None,
    attributes: Attributes | None,
    events: Sequence[Event] | None,
    links: Sequence[Link] | None,
) -> ReadableSpan:
    """Return a copy of the span with these parts, or the span itself if it has them all.

    None instead of attributes, events or links: the span's own. `description` is its status's.
    """
    if (
        attributes is None
        and events is None
        and links is None
        and name == span.name
        and description == span.status.description
        and resource is span.resource
        and scope is span.instrumentation_scope
    ):
        return span
    return ReadableSpan(
        name=name,
        context=span.context,
        parent=span.parent,
        resource=resource,
        attributes=span.attributes if attributes is None else attributes,
        events=span.events if events is None else events,
        links=span.links if links is None else links,
        kind=span.kind,
        status=Status(span.status.status_code, description),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=scope,
    )


def changed_parts(parts: Sequence[Part], change: Callable[[Part], Part]) -> list[Part] | None:
    """Return what `change` makes of each event or link; None where it returns every one itself."""
    if not parts:
        return None
    changed = [change(part) for part in parts]
    return changed if any(new is not old for new, old in zip(changed, parts, strict=True)) else None


def with_attributes(link: Link, attributes: Attributes | None) -> Link:
    """Return a link with these attributes; with its own, None, the link itself."""
    return link if attributes is None else Link(link.context, attributes)


def plain(attributes: Attributes) -> dict[str, Any]:
    """Return attributes as a dictionary: the SDK's own mappings are slow to walk through."""
    copy = getattr(attributes, "copy", None)
    return copy() if copy is not None else dict(attributes)
