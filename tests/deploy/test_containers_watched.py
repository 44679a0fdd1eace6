"""compose.watch.yaml beside compose.yaml: two watches behind the Collector, and Prometheus, which adds them up."""

import pytest
import requests
from container_tools import JAEGER, is_whole, send, tables, wait_for

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

RUN = "watched"
SENDER = (
    "--env=OTEL_SERVICE_NAME=image-sender",
    "--env=OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318",
    "--env=OTEL_RESOURCE_ATTRIBUTES=host.name=compose",
)
IMAGES = 12  # of one size


@pytest.fixture(scope="module")
def watched(compose):
    """The containers with watches, and images sent through them."""
    compose.up_with_watches()
    for service in ("watch-1", "watch-2", "predictor", "transformer"):
        compose.wait_until_healthy(service)
    wait_for(lambda: asked("up"), lambda found: sorted(found) == [1, 1])
    send(compose, RUN, *SENDER, arguments=(f"--repeat={IMAGES}",))
    return compose


def asked(query):
    """The values that Prometheus answers."""
    answer = requests.get("http://127.0.0.1:9090/api/v1/query", params={"query": query}, timeout=30).json()
    return [float(one["value"][1]) for one in answer["data"]["result"]]


def test_prometheus_has_of_both_watches_together_what_jaeger_s_traces_show(watched):
    measured = "otel_kfs_image_measured_total"
    wait_for(lambda: asked(f"sum({measured})"), lambda found: found == [IMAGES])
    each = asked(measured)
    assert len(each) == 2, f"all traces went to one watch: {each}"
    found = wait_for(lambda: tables(JAEGER, RUN), lambda found: is_whole(found, IMAGES))
    spent = {"total": 0, "segment": 0}
    for each in found["segments"]:
        spent["total" if each["segment"] == "4-1" else "segment"] += each["n"] * each["mean_ns"] / 1e9
    for metric, seconds in spent.items():
        assert asked(f"sum(otel_kfs_{metric}_duration_seconds_sum)") == [pytest.approx(seconds, rel=1e-3)]
    assert asked("sum(otel_kfs_image_left_out_total)") in ([], [0])


@pytest.mark.parametrize("service", ["watch-1", "watch-2"])
def test_a_watch_ends_when_it_is_asked_to_and_says_what_it_measured(watched, service):
    watched.engine.run("stop", "--time", "60", watched.container(service))
    state = watched.inspect(service)["State"]
    assert state["ExitCode"] == 143
    assert "measured" in watched.logs(service)
