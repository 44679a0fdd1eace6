"""The processes of a run, and where they listen."""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_address
from pathlib import Path

MARK = "OTEL_KFS_TESTS_MARK"  # an environment variable, by which a run's processes are found


def processes_of(mark: str) -> set[int]:
    """The pids of all processes that inherited the mark."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


def listening(pids: set[int]) -> set[str]:
    """The addresses on which these processes listen."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(descriptor)))
            except OSError:
                continue
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in sockets:
                address = columns[1].partition(":")[0]
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                full = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
                found.add(str(getattr(full, "ipv4_mapped", None) or full))  # gRPC listens on IPv4 by IPv6's sockets
    return found
