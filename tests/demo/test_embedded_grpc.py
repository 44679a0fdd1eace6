"""An experiment's cells over gRPC: KServe's embedded servers, which take the largest picture and listen on loopback."""

import csv
import sys
import uuid
from pathlib import Path

import pytest
from demo_support import MARK, addresses_until_the_end
from support import PHOTO, SERVER, read_traces, start

pytestmark = [pytest.mark.demo, pytest.mark.model, pytest.mark.kserve, pytest.mark.analysis, pytest.mark.timeout(600)]

EXPERIMENT = f"""
images = ["{PHOTO}", "10.2MB"]
repeat = 2
warmups = 1
[servers]
embedded = true
serving = "kserve"
[matrix]
way = ["fast"]
transport = ["http", "grpc"]
encoding = ["v2"]
"""


def test_grpc_is_ranked_beside_http_and_listens_on_the_loopback_only(model, big_pictures, cache):
    Path("experiment.toml").write_text(EXPERIMENT)
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "otel_kfs.cli", "-q", "experiment", "experiment.toml", "-o", "run"]
    with start(command, OTEL_KFS_CACHE=str(cache), **{MARK: mark}) as process:
        addresses = addresses_until_the_end(process, mark)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert addresses == {"127.0.0.1"}
    with Path("run/ranking.csv").open(newline="") as file:
        ranking = list(csv.DictReader(file))
    assert {(one["cell"], one["size"], one["n"]) for one in ranking} == {
        (cell, size, "2") for cell in ("v2", "grpc") for size in (f"{PHOTO.stat().st_size / 1e3:.1f}kB", "10.2MB")
    }
    spans = read_traces(Path("run/traces"))
    over_grpc = {
        span.trace_id: int(span.attributes["otel_kfs.payload.size"])
        for span in spans
        if span.name == "send image" and span.attributes["otel_kfs.transport"] == "grpc"
    }
    assert len(over_grpc) == 2 * 3
    assert max(over_grpc.values()) > 10_000_000
    served = {(span.service, span.name) for span in spans if span.trace_id in over_grpc and span.kind == SERVER}
    assert served == {
        ("mobilenet-transformer-fast", "inference.GRPCInferenceService/ModelInfer"),
        ("mobilenet-predictor-fast", "POST /v2/models/{model_name}/infer"),
    }
