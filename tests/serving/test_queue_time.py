"""How long a connection's last data has been in the kernel."""

import socket
import sys

import pytest
from support import wait_until

from otel_kfs.serving.queue_time import milliseconds_in_kernel


@pytest.fixture
def pair():
    """A TCP connection's two ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as one:
        other, _ = listening.accept()
        with other:
            yield one, other


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells it")
def test_data_that_lies_there_has_an_age_that_grows(pair):
    one, other = pair
    one.sendall(b"x")
    first = wait_until("the data is some ticks old", lambda: milliseconds_in_kernel(other))
    wait_until("it is older", lambda: milliseconds_in_kernel(other) > first)


def test_of_what_is_no_tcp_connection_nothing_is_known(pair):
    one, other = socket.socketpair()
    with one, other:
        assert milliseconds_in_kernel(one) is None
    closed, _ = pair
    closed.close()
    assert [milliseconds_in_kernel(other) for other in (closed, None, object())] == [None, None, None]


def test_on_another_system_nothing_is_known(pair, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert milliseconds_in_kernel(pair[1]) is None
