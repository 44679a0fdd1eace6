"""What only containers have: one is killed and started again, with what its volume holds; a limit of memory."""

import time

import pytest
from container_tools import IMAGES, whole

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]


def send_during(compose, run, fault):
    """Send every picture through Kafka, let something fail after the first one, and read what was measured."""
    compose.start_sender("sender-kafka", RUN_ID=run, REPEAT="1")
    until = time.monotonic() + 120
    while not compose.logs("sender-kafka"):
        assert time.monotonic() < until
        time.sleep(0.2)
    fault()
    assert compose.wait_for_end("sender-kafka") == 0
    return whole(run, len(IMAGES))


def every_image(found):
    return {(row["size"], row["n"] >= 1) for row in found["seed"]} == {(i.removesuffix(".jpg"), True) for i in IMAGES}


@pytest.mark.parametrize("service", ["bridge", "kafka", "transformer"])
def test_a_service_that_is_killed_and_started_again_costs_no_image(compose, service):
    def fault():
        compose.engine.run("kill", compose.container(service))
        compose.engine.run("start", compose.container(service))
        if service != "bridge":
            compose.wait_until_healthy(service)

    assert every_image(send_during(compose, f"killed-{service}", fault))


def test_the_collectors_memory_is_limited_as_its_limiter_expects(compose):
    assert compose.inspect("collector")["HostConfig"]["Memory"] == 512 << 20
