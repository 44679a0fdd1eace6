"""Records traces of programs that are not this project's, on loopback: `record_traces.py [NAME ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recorders import (
    record_clients,
    record_envoy,
    record_java,
    record_mlserver,
    record_node,
    record_queue_proxy,
    record_servers,
)
from recorders.recording import Recorder, record
from service_process import HERE, ServiceError, say

from otel_kfs.errors import DemoError

TARGET = HERE.parents[1] / "tests" / "data" / "recorded"

RECORDINGS: dict[str, Recorder] = {
    **record_envoy.RECORDINGS,
    **record_java.RECORDINGS,
    **record_mlserver.RECORDINGS,
    **record_node.RECORDINGS,
    **record_queue_proxy.RECORDINGS,
    **record_clients.RECORDINGS,
    **record_servers.RECORDINGS,
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="record_traces.py", description=__doc__)
    help_ = f"a recording, or the program that its name begins with; all unless given: {', '.join(RECORDINGS)}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=help_)
    parser.add_argument("-o", "--output", type=Path, default=TARGET, help="the folder  [default: that of the tests]")
    options = parser.parse_args(arguments)
    try:
        for name in _chosen(options.names):
            say(f"recording {name}")
            print(record(name, RECORDINGS[name], options.output.absolute()), flush=True)
    except (ServiceError, DemoError) as error:
        print(f"record_traces: {error}", file=sys.stderr)
        return 1
    return 0


def _chosen(names: list[str]) -> list[str]:
    """Return the recordings of these names, or of the programs of these names.

    Raises:
        ServiceError: there is none of a name.
    """
    chosen: list[str] = []
    for wanted in names or RECORDINGS:
        found = [name for name in RECORDINGS if name == wanted] or [
            name for name in RECORDINGS if name.startswith(f"{wanted}-")
        ]
        if not found:
            raise ServiceError(f"there is no recording {wanted}; there are {', '.join(RECORDINGS)}")
        chosen += found
    return list(dict.fromkeys(chosen))


if __name__ == "__main__":
    sys.exit(main())
