"""Where trace context is written into a record's headers, and read back from them.

Confluent's clients take headers as a dict or a list of (key, value) pairs, with bytes, str or None as values, and give
them back as a list of (key, bytes | None) pairs. Kafka allows the same key many times; so that a reader never finds two
contexts, injecting replaces every propagation key, and the user's own collection is copied, never changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry import propagate
from opentelemetry.context import Context

HeaderValue = str | bytes | None
Headers = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]


def inject(headers: Headers | None, context: Context | None = None) -> list[tuple[str, HeaderValue]]:
    """A new list: the user's headers, in their order, then those of `context` (default: the current one).

    A record that is sent on (a consumer's `headers()` given to `produce()`) thus leaves with this context, not its old.
    """
    carrier: dict[str, str] = {}
    propagator = propagate.get_global_textmap()
    propagator.inject(carrier, context)
    context_headers: list[tuple[str, HeaderValue]] = [(key, value.encode()) for key, value in carrier.items()]
    if not headers:
        return context_headers
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    fields = propagator.fields
    return [(key, value) for key, value in pairs if key not in fields] + context_headers


def extract(headers: Iterable[tuple[str, HeaderValue]] | None) -> Context:
    """The context that a record's headers carry, or an empty one; header bytes that aren't text are passed over.

    Where a key stands more than once, the last one counts: it was written last.
    """
    propagator = propagate.get_global_textmap()
    carrier: dict[str, str] = {}
    if headers:
        fields = propagator.fields
        for key, value in headers:
            if key in fields and value is not None:
                try:
                    carrier[key] = value if isinstance(value, str) else value.decode()
                except UnicodeDecodeError:
                    continue
    return propagator.extract(carrier, Context())
