"""How containers end: the images' programs are process 1, which gets no signal that it does not ask for."""

import pytest

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

KILLED = 137


# In this order each still has what it needs to end in.
@pytest.mark.parametrize("service", ["bridge", "transformer", "predictor", "collector", "kafka"])
def test_a_service_ends_by_itself_when_it_is_asked_to(sent, service):
    sent.engine.run("stop", "--time", "60", sent.container(service))
    assert sent.inspect(service)["State"]["ExitCode"] != KILLED
