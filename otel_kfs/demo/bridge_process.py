"""A bridge in a process of its own, and what the model answered to each record: it prints a line of JSON for each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from otel_kfs import semconv
from otel_kfs.demo.model_servers import child_environment
from otel_kfs.demo.processes import Processes, python
from otel_kfs.errors import SendError

_CHECK_SECONDS = 0.2  # how often a waiting thread checks whether the processes still run


class BridgeProcess:
    """A bridge whose answers threads wait for, each by its record's offset; its topic has one partition."""

    def __init__(
        self,
        processes: Processes,
        name: str,
        traces: Path,
        url: str | None,
        options: Mapping[str, str | None],
        consumer_settings: Mapping[str, str],
    ) -> None:
        """Start it.

        `url` is the model's server. `options` are the command's; those that are None are left out. `consumer_settings`
        hold where `options` name no --consumer-config.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if "--consumer-config" not in given:
            config = processes.log(name).with_suffix(".properties")
            config.write_text("".join(f"{key}={value}\n" for key, value in consumer_settings.items()))
            given["--consumer-config"] = str(config)
        environment = child_environment(traces, f"kafka-{name}")
        if url:
            environment[semconv.ENV_MODEL_URL] = url  # everybody can read command lines, and it may hold a password
        words = [word for option in given.items() for word in option]
        self._processes = processes
        self._process = processes.start(name, python("-m", "otel_kfs.cli", "bridge", *words), environment, pipe=True)
        self._refusals: dict[int, str | None] = {}  # by offset; None: the model took it
        self._answered = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self, offset: int, seconds: float) -> None:
        """Wait until the record at `offset` was answered.

        Raises:
            SendError: the model refused it, or it was not answered within `seconds`.
            DemoError: the bridge, or another process of ours, has ended.
        """
        limit = time.monotonic() + seconds
        with self._answered:
            while offset not in self._refusals:
                if time.monotonic() > limit:
                    raise SendError(f"the bridge did not answer the record at offset {offset} within {seconds:g} s")
                self._answered.wait(_CHECK_SECONDS)
                self._processes.check()
            refusal = self._refusals.pop(offset)
        if refusal:
            raise SendError(f"the model refused the record at offset {offset}: {refusal}")

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            answer = json.loads(line)
            with self._answered:
                self._refusals[answer["offset"]] = answer["refused"]
                self._answered.notify_all()
