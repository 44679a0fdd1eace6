"""The console producer with OpenTelemetry's Java agent in it: a record keeps the trace context that exec gave it."""

import os
import subprocess

import pytest
from programs_support import EXEC
from support import LIMIT

from otel_kfs.programs import console_arguments
from otel_kfs.traces import query

AGENT = "-javaagent:/opt/opentelemetry-javaagent.jar"
VARIABLE = "OTEL_INSTRUMENTATION_KAFKA_PRODUCER_PROPAGATION_ENABLED"
CLASS = "org.apache.kafka.tools.ConsoleProducer"

# A "console producer" that writes down its variable and its input.
RECORDER = f"""#!/bin/sh
echo "${{{VARIABLE}-unset}}" > variable
cat > lines
"""


@pytest.fixture
def producer(tmp_path, monkeypatch):
    """The recording program in its folder, with what tells its version beside it; returns what to run it with."""
    for name in console_arguments._JVM_OPTIONS:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "bin" / "kafka-console-producer.sh"
    file.parent.mkdir()
    file.write_text(RECORDER)
    file.chmod(0o755)
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "kafka-clients-4.3.1.jar").touch()

    def run(**environment):
        command = [*EXEC, str(file), "--topic", "images", "--bootstrap-server", "127.0.0.1:1"]
        subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, input=b"one\n", check=True, timeout=LIMIT
        )
        return (tmp_path / "variable").read_text().strip()

    return run


@pytest.mark.parametrize("name", ["KAFKA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"])
def test_an_agent_in_the_environment_is_told_to_leave_the_records_headers_alone(producer, name):
    assert producer(**{name: f"-Xmx1g {AGENT}"}) == "false"


def test_an_agent_s_own_setting_stays_as_it_is(producer):
    assert producer(KAFKA_OPTS=AGENT, **{VARIABLE: "true"}) == "true"


def test_without_an_agent_the_environment_is_as_it_was(producer):
    assert producer(KAFKA_OPTS="-Xmx1g") == "unset"


def test_the_record_s_context_is_that_of_the_span_that_sends_it(producer, tmp_path):
    producer(KAFKA_OPTS=AGENT)
    (sent,) = [span for span in query.spans(str(tmp_path / "spans.jsonl")) if span.name == "send images"]
    assert (tmp_path / "lines").read_text() == f"traceparent:00-{sent.trace_id}-{sent.span_id}-03\tone\n"


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["java", AGENT, CLASS, "--topic", "t"], True),
        (["java", "-cp", "libs/*", CLASS, "--topic", AGENT], False),
        (["java", "-cp", "libs/*", CLASS, "--topic", "t"], False),
    ],
)
def test_an_agent_on_the_command_line_is_one_before_the_class(producer, command, found):
    assert bool(console_arguments.agent_settings(console_arguments.read(command))) == found
