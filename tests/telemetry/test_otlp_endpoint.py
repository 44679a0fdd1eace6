"""Which of OTLP's protocols an endpoint is sent, what is said where it speaks the other, and which names spans get."""

import json
import socket

import pytest
from collector_support import collecting, collecting_by_grpc, otlp_over_http
from support import PHOTO, SOON_GIVEN_UP, HttpServer, read_traces, run_python

from otel_kfs.telemetry import otel_settings

WORK = """
import otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service")
trace.get_tracer("a test").start_span("work").end()
"""


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({"ENDPOINT": "http://collector:4317"}, "http://collector:4317"),
        ({"ENDPOINT": "http://collector:4318"}, "http://collector:4318/v1/traces"),
        ({"ENDPOINT": "http://collector:4318/base/"}, "http://collector:4318/base/v1/traces"),
        ({"TRACES_ENDPOINT": "https://collector:4318/mine"}, "https://collector:4318/mine"),
        ({"TRACES_ENDPOINT": "http://collector:4317", "ENDPOINT": "http://collector:4318"}, "http://collector:4317"),
        ({"ENDPOINT": "http://collector:9999"}, "http://collector:9999"),
        ({"ENDPOINT": "http://collector"}, "http://collector"),
        ({"ENDPOINT": "collector:4317"}, "collector:4317"),
        ({"ENDPOINT": "unix:///run/collector"}, "unix:///run/collector"),
        ({}, "http://localhost:4317"),
        ({"PROTOCOL": "http/protobuf"}, "http://localhost:4318/v1/traces"),
        ({"PROTOCOL": "grpc", "ENDPOINT": "http://collector:4318"}, "http://collector:4318"),
        ({"PROTOCOL": "http/protobuf", "ENDPOINT": "http://me:pw@c:4317"}, "http://c:4317/v1/traces"),
        ({"PROTOCOL": "grpc", "TRACES_PROTOCOL": "http/protobuf"}, "http://localhost:4318/v1/traces"),
    ],
)
def test_without_a_protocol_the_port_tells_as_far_as_it_can(variables, where, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    (choice,) = otel_settings.exporter_choices()
    is_grpc = "proto.grpc" in choice.make.func.__module__
    assert (choice.where, is_grpc) == (where, not where.endswith(("/v1/traces", "/mine")))


def test_without_a_protocol_other_ports_are_the_sdk_s_choice(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:9999")
    script = """
import sys
sys.argv = ["auto"]
from opentelemetry.distro import OpenTelemetryDistro
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure(trace_exporter_names=["otlp"])
from opentelemetry import trace
print(trace.get_tracer_provider()._active_span_processor._span_processors[0].span_exporter.__module__)
"""
    (choice,) = otel_settings.exporter_choices()
    assert run_python(script).stdout.splitlines()[-1:] == [choice.make.func.__module__]


def said(ended):
    return [line for line in ended.stderr.splitlines() if "spans were not exported" in line]


def test_grpc_that_http_answers_is_said_in_one_line():
    with HttpServer().running() as server:
        ended = run_python(SOON_GIVEN_UP + WORK, OTEL_EXPORTER_OTLP_ENDPOINT=server.url)
    assert (ended.returncode, said(ended)) == (
        0,
        [
            f"1 of 1 spans were not exported to {server.url}: what answers there speaks HTTP;"
            " set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        ],
    )


def test_http_that_grpc_answers_is_said_in_one_line():
    with collecting_by_grpc() as collector:
        ended = run_python(SOON_GIVEN_UP + WORK, **otlp_over_http(collector.url))
    assert (ended.returncode, said(ended)) == (
        0,
        [
            f"1 of 1 spans were not exported to {collector.url}/v1/traces: what answers there speaks gRPC;"
            " set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
        ],
    )


def test_the_same_is_said_while_the_program_runs():
    script = WORK + "otel_kfs.flush(30)\nprint('flushed', flush=True)\ninput()"
    with HttpServer().running() as server:
        ended = run_python(script, OTEL_EXPORTER_OTLP_ENDPOINT=server.url, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    assert f"spans are not exported to {server.url}: what answers there speaks HTTP" in ended.stderr


def test_an_endpoint_that_speaks_the_right_protocol_and_refuses_is_not_accused():
    with collecting() as collector:
        collector.answers(400)
        ended = run_python(WORK, **collector.settings)
    failed = "the exporter failed (see the log of opentelemetry.exporter.otlp.proto.http)"
    assert said(ended) == [f"1 of 1 spans were not exported to {collector.url}/v1/traces: {failed}"]


def test_an_endpoint_that_is_silent_is_not_accused():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ended = run_python(SOON_GIVEN_UP + WORK, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert said(ended) == [f"1 of 1 spans were not exported to {url}: they had not left when the process ended"]


# --- names ---

SAID = {"OTEL_RESOURCE_ATTRIBUTES": "host.name=edge-7,service.name=x,process.pid=7,place=here"}


def resource_of(script, **env):
    ended = run_python(script, OTEL_TRACES_EXPORTER="console", **env)
    return json.loads(ended.stdout)["resource"]["attributes"]


def test_what_the_user_says_goes_before_what_is_found_out():
    found = resource_of(WORK.replace('"a-service"', ""), **SAID)
    names = ["host.name", "service.name", "process.pid", "place"]
    assert [found[name] for name in names] == ["edge-7", "x", "7", "here"]


def test_an_argument_goes_before_resource_attributes_and_otel_service_name_before_it():
    assert resource_of(WORK, **SAID)["service.name"] == "a-service"
    assert resource_of(WORK, **SAID, OTEL_SERVICE_NAME="y")["service.name"] == "y"


def test_what_the_user_says_stays_in_a_forked_child(tmp_path):
    script = WORK + "import os, sys\nif (child := os.fork()): os.waitpid(child, 0)\n"
    script += "else: trace.get_tracer('a test').start_span('in the child').end(); sys.exit()"
    with collecting() as collector:
        run_python(script, **collector.settings, **SAID)
    bodies = [request.body for request in collector.requests]
    assert len(bodies) == 2
    assert all(b"edge-7" in body and b"a-service" in body for body in bodies)


@pytest.mark.parametrize(("env", "service"), [({}, "image-sender"), (SAID, "x")])
def test_a_command_s_own_name_is_a_guess(env, service, tmp_path):
    with HttpServer().running() as model:
        arguments = ["-q", "send", "--transport", "http", "--url", model.url, "--model", "m", "--image", str(PHOTO)]
        arguments += ["--traces-file", "spans.jsonl"]
        assert run_python(f"from otel_kfs.cli import main; main({arguments!r})", **env).returncode == 0
    assert {span.service for span in read_traces(tmp_path / "spans.jsonl")} == {service}
