"""One recording: programs on loopback, what they send and are sent, and the file that their spans become.

The file has a line a service, its spans by their start. What tells about the machine is left out of it: the name of the
host is `host-a`, process ids and command lines are gone.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from service_process import HOST, ServiceError, ServiceMissing, cache_dir, finished, say

from otel_kfs.client.encodings import base64_json
from otel_kfs.demo import example, model_servers
from otel_kfs.demo.processes import Processes
from recorders.span_receiver import SpanReceiver, receiving

SERVING = "kserve"
PICTURES = ("1.1MB.jpg", "3.3MB.jpg")
LIMIT = 60.0  # seconds for a program to be ready, or for spans to come

# What the SDKs and the Java agent tell about the machine and the process.
_TOLD = ("process.", "os.", "host.", "container.", "thread.")
_KEPT = {"host.name", "host.arch", "os.type", "process.executable.name", "process.runtime.name"}
_HOST, _INSTANCE = "host.name", "service.instance.id"


@dataclass(frozen=True)
class Expected:
    """What must have been recorded: in how many traces each of some services has spans."""

    traces: int
    services: frozenset[str]


def expected(traces: int, *services: str) -> Expected:
    """Return what must have been recorded."""
    return Expected(traces, frozenset(services))


Recorder = Callable[["Recording"], Expected]


class Recording:
    """What a program's part uses to start, send and wait."""

    def __init__(self, folder: Path, processes: Processes, receiver: SpanReceiver) -> None:
        self.folder, self.processes, self.receiver = folder, processes, receiver
        self.traces = folder / "traces"  # of the programs that write files
        self.traces.mkdir()
        self.otlp_url = f"http://{HOST}:{receiver.http_port}"

    def environment(self, service: str) -> dict[str, str]:
        """Return what makes a program's OpenTelemetry send its spans here."""
        return {
            "OTEL_SERVICE_NAME": service,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }

    def instrumented(self, service: str) -> dict[str, str]:
        """Return the same for Python's programs under OpenTelemetry's own command."""
        return {
            **self.environment(service),
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "host",  # by default Python's SDK does not say where it runs
            "OTEL_SEMCONV_STABILITY_OPT_IN": "http",  # the new names of HTTP's attributes, instead of the old ones
            "PYTHONPATH": "",
        }

    def pictures(self) -> list[Path]:
        """Return the images that are sent."""
        return [picture for picture in example.make_pictures(lambda _: None) if picture.name in PICTURES]

    def payloads(self) -> list[Path]:
        """Return the same as requests to the model, in base64 in JSON on one line."""
        found = []
        for picture in self.pictures():
            payload = self.folder / f"{picture.stem}.json"
            payload.write_bytes(base64_json.encode(picture.read_bytes(), "image/jpeg").body)
            found.append(payload)
        return found

    def model_servers(self, *transformer_options: str) -> tuple[str, str]:
        """Start the transformer and the predictor; return their URLs."""
        example.make_model()
        return model_servers.start_serving(self.processes, SERVING, self.traces, more=transformer_options)

    def send(self, url: str, *options: str, images: bool = True) -> int:
        """Send the images to a model with `otel-kfs send`, with some options; return how many were sent."""
        what = [word for picture in self.pictures() for word in ("--image", str(picture))] if images else []
        command = [sys.executable, "-m", "otel_kfs.cli", "send", "--url", url]
        self.run("sender", [*command, *options, *what], model_servers.child_environment(self.traces, "image-sender"))
        return len(PICTURES)

    def send_http(self, url: str, *options: str) -> int:
        """Send them over HTTP to the model mobilenet."""
        return self.send(url, "--transport", "http", "--model", model_servers.MODEL, *options)

    def bridge(self, bootstrap_servers: str, topic: str, url: str) -> None:
        """Start our bridge from a topic to the model at a URL."""
        config = self.folder / "bridge.properties"
        config.write_text("auto.offset.reset=earliest\nmax.partition.fetch.bytes=100000000\n")
        model = f"{url}/v1/models/{model_servers.MODEL}:predict"
        command = [sys.executable, "-m", "otel_kfs.cli", "bridge", "--bootstrap-servers", bootstrap_servers]
        command += ["--topic", topic, "--group", "bridge", "--url", model, "--consumer-config", str(config)]
        self.processes.start("bridge", command, model_servers.child_environment(self.traces, "kafka-bridge"))

    def run(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] = MappingProxyType({}),
        *,
        cwd: Path | None = None,
        lines: bytes = b"",
        until: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a program to its end, with its output in a log.

        Its standard input are the lines, which end when `until` has come back.

        Raises:
            ServiceError: it failed.
        """
        log = self.processes.log(name)
        with open(log, "wb") as output:
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd or self.folder,
            )
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError), process.stdin:  # where it has ended, its exit code says why
                process.stdin.write(lines)
                process.stdin.flush()
                until()
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired as error:
            raise ServiceError(f"the {name} has not ended within {LIMIT:g} s; its log is {log}") from error
        finally:
            process.kill()  # does nothing to one that has ended
            process.wait()
        if code != 0:
            last = log.read_text("utf-8", "replace").strip()[-400:]
            raise ServiceError(f"the {name} ended with exit code {code}; its log, {log}, ends: {last}")

    def wait_until_listening(self, name: str, port: int) -> None:
        """Wait until one of the processes listens on a port."""
        self.processes.wait_until(name, lambda: _listens(port), LIMIT)

    def wait_for_spans(self, service: str, traces: int) -> None:
        """Wait for a service's spans of that many traces, before it is ended: not every program flushes at its end.

        Raises:
            ServiceError: they do not come.
        """
        until = time.monotonic() + LIMIT
        while len(self.receiver.traces_of(service)) < traces:
            if time.monotonic() > until:
                found = len(self.receiver.traces_of(service))
                raise ServiceError(f"{service} has sent spans of {found} traces within {LIMIT:g} s, not of {traces}")
            self.processes.check()
            time.sleep(0.1)

    def wait_for_answers(self, records: int) -> None:
        """Wait until the bridge has had that many records answered."""
        log = self.processes.log("bridge")
        self.processes.wait_until("bridge", lambda: log.read_bytes().count(b'"answer"') >= records, LIMIT)


def record(name: str, recorder: Recorder, target: Path) -> Path:
    """Make one recording; return the file it is in, `target/name.jsonl`.

    Raises:
        ServiceError: what was expected was not recorded, or a program failed.
        DemoError: a server did not start.
    """
    folder = cache_dir() / "recordings" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with receiving() as receiver:
        with Processes(folder / "logs") as processes:
            recording = Recording(folder, processes, receiver)
            wanted = recorder(recording)
        # Every program has ended, and so has written its last spans.
        resource_spans = receiver.resource_spans()
    for file in sorted(recording.traces.glob("*.jsonl")):
        for line in file.read_text("utf-8").splitlines():
            resource_spans += json.loads(line)["resourceSpans"]
    services = _by_service(resource_spans)
    _check(name, services, wanted)
    target.mkdir(parents=True, exist_ok=True)
    file = target / f"{name}.jsonl"
    with file.open("w", encoding="utf-8") as lines:
        for document in services:
            lines.write(json.dumps({"resourceSpans": [document]}, separators=(",", ":")) + "\n")
    return file


def _by_service(resource_spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put together what each service sent, its spans by their start, without what tells about the machine."""
    found: dict[str, dict[str, Any]] = {}
    for one in resource_spans:
        resource = {**one.get("resource", {}), "attributes": _neutral(one.get("resource", {}).get("attributes", []))}
        key = json.dumps(resource, sort_keys=True)
        document = found.setdefault(key, {"resource": resource, "scopeSpans": []})
        for scope in one.get("scopeSpans", []):
            spans = [{**span, "attributes": _neutral(span.get("attributes", []))} for span in scope.get("spans", [])]
            of = [each for each in document["scopeSpans"] if each.get("scope") == scope.get("scope")]
            if of:
                of[0]["spans"] += spans
            else:
                document["scopeSpans"].append({**scope, "spans": spans})
    for document in found.values():
        for scope in document["scopeSpans"]:
            scope["spans"].sort(key=lambda span: int(span["startTimeUnixNano"]))
    documents = [document for _, document in sorted(found.items(), key=lambda item: _service(item[1]))]
    for number, document in enumerate(documents, 1):
        for each in document["resource"]["attributes"]:
            if each["key"] == _INSTANCE:
                each["value"] = {"stringValue": f"00000000-0000-0000-0000-{number:012d}"}
    return documents


def _service(document: Mapping[str, Any]) -> str:
    for each in document["resource"]["attributes"]:
        if each["key"] == "service.name":
            return str(each["value"].get("stringValue"))
    return "unknown"


def _neutral(attributes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = []
    for each in attributes:
        key, value = each["key"], each["value"]
        if key == _HOST:
            value = {"stringValue": "host-a"}
        elif key.startswith(_TOLD) and key not in _KEPT:
            continue
        elif "stringValue" in value:
            value = {"stringValue": _without_machine(value["stringValue"])}
        kept.append({"key": key, "value": value})
    return kept


def _without_machine(text: str) -> str:
    for told in (str(cache_dir()), str(Path.home()), socket.gethostname()):
        text = text.replace(told, "host-a" if told == socket.gethostname() else "/srv")
    return text


def _check(name: str, services: list[dict[str, Any]], wanted: Expected) -> None:
    """Raise unless each service has spans in as many traces as it should."""
    found: dict[str, set[str]] = {}
    for document in services:
        ids = {span["traceId"] for scope in document["scopeSpans"] for span in scope["spans"]}
        found.setdefault(_service(document), set()).update(ids)
    for service in sorted(wanted.services):
        count = len(found.get(service, ()))
        if count < wanted.traces:
            raise ServiceError(
                f"{name}: {service} has spans in {count} traces, not in {wanted.traces}; there are "
                + ", ".join(f"{other} ({len(ids)})" for other, ids in sorted(found.items()))
            )


def environment_for(name: str, requirements: Path, python: str = sys.executable) -> Path:
    """Return the folder with the programs of a Python environment that has the requirements, making it the first time.

    Raises:
        ServiceMissing: there is no such Python here.
        ServiceError: the requirements can't be installed.
    """
    interpreter = shutil.which(python)
    if interpreter is None:
        raise ServiceMissing(f"{python} is not on PATH: {name} needs it")
    home = cache_dir() / f"{name}-{sha256(requirements.read_bytes()).hexdigest()[:12]}"
    done = home / "installed"
    if not done.is_file():
        say(f"installing {name} into {home}")
        shutil.rmtree(home, ignore_errors=True)
        for command in (
            [interpreter, "-m", "venv", str(home)],
            [str(home / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)],
        ):
            result = finished(command)
            if result.returncode != 0:
                last = (result.stdout.strip() or "no reason given").splitlines()[-1]
                raise ServiceError(f"{name} could not be installed: {last}")
        done.touch()
    return home / "bin"


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=2).close()
    except OSError:
        return False
    return True
