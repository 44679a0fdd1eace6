"""Runs a script, and keeps its servers on 127.0.0.1, whatever address they ask for.

KFServer and ModelServer both listen on every interface and have no setting for it; what the demo starts must not be
reachable from another machine.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from typing import Any

import wrapt

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104

_bind = socket.socket.bind


def _bind_loopback(self: socket.socket, address: Any) -> None:
    if isinstance(address, tuple):
        address = (_LOOPBACK.get(address[0], address[0]), *address[1:])
    _bind(self, address)


def _keep_grpc_on_loopback() -> None:
    """Do the same for gRPC, which opens its ports without Python's sockets."""
    from grpc import aio

    make_server = aio.server

    def make_loopback_server(*args: Any, **kwargs: Any) -> Any:
        server = make_server(*args, **kwargs)
        add_port = server.add_insecure_port
        server.add_insecure_port = lambda address: add_port(address.replace("[::]", "127.0.0.1"))
        return server

    aio.server = make_loopback_server


def main() -> None:
    """Run as `python -m otel_kfs.demo.loopback script.py [args]`."""
    script, sys.argv = sys.argv[1], sys.argv[1:]
    socket.socket.bind = _bind_loopback  # type: ignore[method-assign, assignment]
    wrapt.register_post_import_hook(lambda _: _keep_grpc_on_loopback(), "grpc.aio")
    sys.path[0] = os.path.dirname(os.path.abspath(script))  # as `python script.py` has it
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
