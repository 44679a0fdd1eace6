"""What is taken out of spans before they leave, and what stays as it is."""

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from otel_kfs.telemetry.redaction import text, without_secrets

CONTEXT = SpanContext(1, 2, False)
RESOURCE = Resource({"service.name": "s"})


def span(attributes=None, events=(), links=(), status=None) -> ReadableSpan:
    return ReadableSpan(
        "POST",
        CONTEXT,
        resource=RESOURCE,
        attributes=attributes or {},
        events=events,
        links=links,
        status=status or Status(StatusCode.UNSET),
        start_time=1,
        end_time=2,
    )


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("url.full", "https://me:p@ss@host:1/p?token=s&x=1#f=s", "https://host:1/p?token=REDACTED&x=REDACTED"),
        ("http.url", "http://s@host/", "http://host/"),
        ("http.url", "http://host/p?s", "http://host/p?REDACTED"),
        ("http.target", "/v1/models/m:predict?key=s", "/v1/models/m:predict?key=REDACTED"),
        ("url.query", "a=s&b=&s", "a=REDACTED&b=REDACTED&REDACTED"),
        ("http.request.header.authorization", ("Bearer s", "Basic s"), ("REDACTED", "REDACTED")),
        ("http.request.header.x_api_key", "s", "REDACTED"),
        ("http.response.header.set-cookie", ("id=s",), ("REDACTED",)),
    ],
)
def test_attributes_that_are_urls_or_credentials_lose_their_secrets(key, before, after):
    assert dict(without_secrets(span({key: before, "other": 1})).attributes) == {key: after, "other": 1}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /p?token=s&x=1 (Caused by X)",
            "HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /p?token=REDACTED&x=REDACTED "
            "(Caused by X)",
        ),
        ("a\n  GET https://me:s@host/p?k=s'\n", "a\n  GET https://host/p?k=REDACTED\n"),
        ("{'Authorization': 'Bearer c2VjcmV0LXNlY3JldA=='}", "{'Authorization': 'Bearer REDACTED'}"),
        ("authorization: Basic c2VjcmV0LXNlY3JldA==", "authorization: Basic REDACTED"),
        ("basic authentication? yes=no", "basic authentication? yes=no"),
        ("mail me@example.com", "mail me@example.com"),
        ("is it? a = b", "is it? a = b"),
        ("jdbc://host/db", "jdbc://host/db"),
    ],
)
def test_urls_and_tokens_within_a_text_lose_their_secrets_and_nothing_else_changes(before, after):
    assert text(before) == after


def test_events_links_and_status_are_looked_at_too():
    url, clean = "http://me:s@host/?t=s", "http://host/?t=REDACTED"
    found = without_secrets(
        span(
            events=[Event("exception", {"exception.message": url}, 5), Event("kept", {}, 6)],
            links=[Link(CONTEXT, {"from": url})],
            status=Status(StatusCode.ERROR, url),
        )
    )
    assert [(event.name, dict(event.attributes), event.timestamp) for event in found.events] == [
        ("exception", {"exception.message": clean}, 5),
        ("kept", {}, 6),
    ]
    assert [(link.context, dict(link.attributes)) for link in found.links] == [(CONTEXT, {"from": clean})]
    assert (found.status.status_code, found.status.description) == (StatusCode.ERROR, clean)
    assert found.resource is RESOURCE
    assert (found.name, found.context, found.start_time, found.end_time) == ("POST", CONTEXT, 1, 2)


def test_a_span_without_secrets_is_the_very_same_object():
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("t").start_as_current_span(
        "s", attributes={"url.full": "http://h/p", "n": (1, 2)}
    ) as real:
        real.add_event("e", {"a": "b"})
        real.set_status(StatusCode.ERROR, "no")
    assert without_secrets(real) is real
