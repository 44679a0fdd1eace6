"""The dashboard of a watch's metrics: it asks for metrics and labels that there are, in PromQL."""

import json
import re

import pytest
from deploy_tools import DEPLOY, overlapping, queries_of_watches, run, tool

from otel_kfs.watch.metrics.definitions import ALL, MetricKind

pytestmark = pytest.mark.deploy

DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/watch.json").read_text())
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
BROKEN = "sum by (le) (rate(nope[5m])"
SUFFIXES = {
    MetricKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
    MetricKind.COUNTER: ("_total",),
    MetricKind.GAUGE: ("",),
}
KNOWN = {one.prometheus_name + suffix: one for one in ALL for suffix in SUFFIXES[one.kind]}


def labels_of(text):
    return set(re.findall(r"\b(otel_kfs_\w+)\b", text)) - set(KNOWN)


def test_metrics_and_labels_are_those_that_there_are():
    assert TARGETS
    for target in TARGETS:
        metrics = [KNOWN[name] for name in re.findall(r"otel_kfs_\w+", target["expr"]) if name in KNOWN]
        labels = {key.replace(".", "_") for metric in metrics for key in metric.attributes}
        assert metrics, target
        assert labels_of(target["expr"]) | labels_of(target["legendFormat"]) <= labels, target


def test_every_metric_has_a_place_but_those_that_others_contain():
    asked = {
        KNOWN[name].name for target in TARGETS for name in re.findall(r"otel_kfs_\w+", target["expr"]) if name in KNOWN
    }
    assert {one.name for one in ALL} - asked == {"otel_kfs.span.received", "otel_kfs.span.duplicate"}


def test_queries_are_promql():
    queries = [query for of_panel in queries_of_watches().values() for query in of_panel]
    command = ["node", DEPLOY / "validate/grammar.cjs", tool("promql"), "@prometheus-io/lezer-promql"]
    assert run(*command, input="\n".join([*queries, BROKEN])).splitlines() == [BROKEN]


def test_panels_do_not_overlap():
    assert overlapping(DASHBOARD) == []


def test_a_variable_s_values_come_from_a_metric_that_there_is():
    for variable in DASHBOARD["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
        assert label in {key.replace(".", "_") for key in KNOWN[metric].attributes}


def test_images_are_exemplars():
    assert [target["exemplar"] for target in TARGETS if "exemplar" in target] == [True]
