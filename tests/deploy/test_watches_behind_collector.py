"""Watches behind the real Collector, which shares traces out by their id: together they have one watch's figures."""

import re
import textwrap

import pytest
from balanced_watches import added_up, collector, exported, exports, measured, send, watching
from deploy_tools import DEPLOY, read_yaml
from sketch_support import on_hosts
from traces_builder import HTTP, KAFKA, STRAIGHT, linked, spans, with_options

pytestmark = [pytest.mark.deploy, pytest.mark.sketch]

ROUTED = {"routing_key": "attributes", "routing_attributes": ["service.namespace"]}
DRAWINGS = [
    *(on_hosts(drawing) for drawing in (HTTP, KAFKA, STRAIGHT)),
    on_hosts(with_options(KAFKA, "send image", "warmup")),
    on_hosts(with_options(HTTP, "POST", "failed")),
]


def of_one_watch(drawn):
    """What one watch has to which the spans are sent without a Collector."""
    with watching() as (watch,):
        send(exports(drawn), watch.grpc, watch.http)
        return added_up(measured([watch], len(drawn)))


def of_two_watches(folder, drawn, **exporter):
    """What each of two watches has behind the Collector."""
    with watching(2) as watches, collector(folder, watches, **exporter) as (grpc, http):
        send(exports(drawn), grpc, http)
        return measured(watches, len(drawn))


def counts(figures, name):
    """How many images were measured or left out, by the only label that there is."""
    return {
        next(iter(labels))[1]: value
        for (found, labels), value in figures.items()
        if found == f"otel_kfs_image_{name}_total"
    }


def test_the_sums_of_two_watches_are_what_one_has_of_the_same_spans(tmp_path):
    drawn = [
        span for number in range(60) for span in exported(spans(DRAWINGS[number % len(DRAWINGS)], f"image{number}-"))
    ]
    each = of_two_watches(tmp_path, drawn)
    assert all(sum(counts(one, "measured").values()) >= 5 for one in each)
    together = added_up(each)
    assert counts(together, "measured") == {"http": 24, "kafka": 12}
    assert counts(together, "left_out") == {"warm-up": 12, "the request failed": 12}
    assert together == pytest.approx(of_one_watch(drawn))


def test_a_consumer_with_traces_of_its_own_is_told_apart_by_trace_ids_and_says_so(tmp_path):
    drawn = [span for number in range(20) for span in exported(linked(f"sender{number}", f"bridge{number}"))]
    together = added_up(of_two_watches(tmp_path, drawn))
    whole = int(counts(together, "measured").get("kafka", 0))
    assert whole < 20
    # Never a wrong figure: both halves of each other image are left out.
    assert counts(together, "left_out") == {
        "no `send image` span": 20 - whole,
        "delivered, but not processed": 20 - whole,
    }


def test_it_stays_together_with_its_producers_where_an_attribute_of_both_chooses_the_watch(tmp_path):
    drawn = [
        span
        for number in range(20)
        for span in exported(linked(f"sender{number}", f"bridge{number}"), f"team{number % 5}")
    ]
    together = added_up(of_two_watches(tmp_path, drawn, **ROUTED))
    assert counts(together, "measured") == {"kafka": 20}
    assert together == pytest.approx(of_one_watch(drawn))


def yaml_of_docs():
    """The pieces of configuration under "Beyond one machine"."""
    section = (DEPLOY.parent / "docs" / "watch.md").read_text().partition("## Beyond one machine")[2]
    return [read_yaml(textwrap.dedent(piece))[0] for piece in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]


def test_the_documented_configuration_is_that_of_the_compose_file_and_what_it_may_be_instead():
    whole, routed, secured = yaml_of_docs()
    assert whole == read_yaml(DEPLOY / "collector-watch.yaml")[0]
    assert routed == ROUTED
    assert secured.keys() == {"protocol"}


def test_watches_with_tls_and_a_token_take_what_the_collector_sends(tmp_path, certificates, monkeypatch):
    *_, secured = yaml_of_docs()
    secured["protocol"]["otlp"]["tls"]["ca_file"] = str(certificates.ca)
    pem = str(certificates.issue("watch", "watch"))
    monkeypatch.setenv("OTEL_KFS_WATCH_TOKEN", "secret")
    drawn = [span for number in range(8) for span in exported(spans(HTTP, f"image{number}-"))]
    with (
        watching(2, "--tls-cert", pem, "--tls-key", pem, token="secret") as watches,
        collector(tmp_path, watches, **secured) as (grpc, http),
    ):
        send(exports(drawn), grpc, http)
        assert counts(added_up(measured(watches, len(drawn))), "measured") == {"http": 8}
