"""Which host's clock a process reads: what its resource says first, in an order; never another's where it is silent."""

import pytest

from otel_kfs import semconv
from otel_kfs.traces.host_identity import IDENTITY, host_of, is_unnamed

ALL = {key: f"the {key}" for key in IDENTITY}


@pytest.mark.parametrize("number", range(len(IDENTITY)))
def test_the_first_attribute_of_the_order_counts(number):
    said = {key: ALL[key] for key in IDENTITY[number:]}
    assert host_of(said, "service") == f"the {IDENTITY[number]}"


def test_pods_on_one_node_share_its_clock_whatever_they_are_called():
    node = {semconv.K8S_NODE_NAME: "node-1"}
    pods = [{**node, semconv.HOST_NAME: "transformer-0"}, {**node, semconv.HOST_NAME: "predictor-0"}]
    assert {host_of(pod, "service") for pod in pods} == {"node-1"}


def test_an_empty_value_says_nothing():
    assert host_of({semconv.K8S_NODE_NAME: "", semconv.HOST_NAME: "", semconv.HOST_ID: "i-1"}, "service") == "i-1"


def test_services_that_say_nothing_have_a_host_each():
    hosts = [host_of({}, service) for service in ("image-sender", "transformer")]
    assert hosts == ["image-sender's host", "transformer's host"]
    assert [is_unnamed(host) for host in (*hosts, "", "node-1")] == [True, True, True, False]


def test_nothing_at_all_is_no_name():
    assert host_of({}, "") == ""
