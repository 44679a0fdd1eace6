"""What the demo says at its end of spans that did not get to where they were sent besides."""

import pytest

from otel_kfs.demo import demo_run
from otel_kfs.telemetry import provider


@pytest.mark.parametrize(
    ("flushed", "endpoint", "said"),
    [
        (True, "http://127.0.0.1:4318", []),
        (True, None, []),
        (
            False,
            "http://me:secret@127.0.0.1:4318?token=secret",
            ["Not all spans reached http://127.0.0.1:4318; the files are complete."],
        ),
        (False, None, ["Not all spans reached the OTLP endpoint; the files are complete."]),
    ],
)
def test_spans_that_did_not_arrive_are_named_with_an_endpoint_that_keeps_its_secrets(
    monkeypatch, flushed, endpoint, said
):
    monkeypatch.setattr(provider, "flush", lambda: flushed)
    heard = []
    demo_run._flush(endpoint, heard.append)
    assert heard == said
