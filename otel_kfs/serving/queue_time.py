"""How long a request had been in the kernel before its server looked at it.

A server whose event loop is busy, as by a model that computes on it, reads nothing. What arrives meanwhile waits in the
connection's buffer, and from outside that looks like a slow network. Linux knows when a connection's last data arrived.

Source: Linux, include/uapi/linux/tcp.h, `struct tcp_info`; tcp(7).
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any

_LAST_DATA_RECEIVED = struct.Struct("=52xI")  # ms ago: `tcpi_last_data_recv`, in the kernel's own byte order
# The kernel counts in ticks, of 10 ms at most: what was read at once may seem to be one tick old.
_TICK_MILLIS = 10


def milliseconds_in_kernel(connection: Any) -> int | None:
    """Return how long ago the last data of a TCP connection arrived, ms; None where that is not known or is no time.

    `connection` is a socket, or what stands for one. Called when a request's headers are first seen, that is how long
    it has waited at least: a body that is still arriving makes it shorter.
    """
    if sys.platform != "linux" or connection is None:
        return None
    try:
        found = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
        (age,) = _LAST_DATA_RECEIVED.unpack(found)
    except (AttributeError, NotImplementedError, OSError, ValueError, struct.error):  # a Unix socket, or a closed one
        return None
    return int(age) if age > _TICK_MILLIS else None
