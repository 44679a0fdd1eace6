from collections.abc import Generator, Iterator

import pytest
from container_tools import REPEAT, RUN, Compose, find_engine, left_out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show, with a failure, what the containers printed last."""
    report = yield
    compose = getattr(item, "funcargs", {}).get("compose")
    if report.failed and compose is not None:
        report.sections.append(("containers' last lines", compose.last_lines()))
    return report


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    """All services of compose.yaml but the senders and the dashboard's, each ready."""
    if left_out():
        pytest.skip(left_out())
    running = Compose(find_engine(), {"REPEAT": str(REPEAT), "RUN_ID": RUN})
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def sent(compose: Compose) -> Compose:
    """The same, once both senders have ended."""
    for sender in ("sender-http", "sender-kafka"):
        # Alone: podman-compose would start `topic` again, and Podman's name server is away while a container leaves.
        compose.start_sender(sender)
        assert compose.wait_for_end(sender) == 0
    return compose
