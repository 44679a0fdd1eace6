"""Where processes of this machine listen, as Linux's /proc says."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import pytest


class Listener(NamedTuple):
    """A TCP socket that listens."""

    address: str
    port: int
    inode: str


def addresses_of_port(port: int) -> set[str]:
    """The addresses on which somebody listens on a port."""
    return {listener.address for listener in _listeners() if listener.port == port}


def addresses_of_processes(pids: set[int]) -> set[str]:
    """The addresses on which these processes listen."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(descriptor)))
            except OSError:
                continue
    return {listener.address for listener in _listeners() if listener.inode in sockets}


def _listeners() -> Iterator[Listener]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            pytest.skip("needs Linux's /proc/net/tcp")
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A":
                address, port = columns[1].split(":")
                # The kernel prints an address as numbers of 32 bits in the machine's own order.
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                full = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
                # gRPC listens on IPv4 by IPv6's sockets.
                yield Listener(str(getattr(full, "ipv4_mapped", None) or full), int(port, 16), columns[9])
