"""The demo with variants side by side: each in tables of its own, with servers of its own."""

import re
import sys
from collections import Counter

import pytest
from support import read_traces, start

# Once, because it is not about the SDK: KServe's servers start sooner than KFServing's.
pytestmark = [pytest.mark.demo, pytest.mark.model, pytest.mark.kserve, pytest.mark.long]


@pytest.mark.timeout(900)
def test_variants_run_side_by_side_and_have_tables_of_their_own(serving, model, big_pictures, cache, tmp_path):
    command = [sys.executable, "-m", "otel_kfs.cli", "demo", "--repeat", "1", "-o", "run"]
    variants = ["--way", "seed", "--way", "fast", "--way", "small", "--way", "fast"]
    with start([*command, *variants], OTEL_KFS_CACHE=str(cache)) as process:
        output, errors = process.communicate(timeout=800)
    assert process.returncode == 0, errors
    titles = Counter(re.findall(r"^((?:HTTP|Kafka)[^:\n]*): segments", output, re.M))
    assert titles == dict.fromkeys(
        [f"{transport}{variant}" for transport in ("HTTP", "Kafka") for variant in ("", ", fast", ", small")], 1
    )
    spans = read_traces(tmp_path / "run" / "traces")
    roots = [span for span in spans if span.name == "send image"]
    assert len({root.attributes["otel_kfs.run.id"] for root in roots}) == 1
    encodings = Counter(
        (root.attributes.get("otel_kfs.cell"), root.attributes.get("otel_kfs.encoding")) for root in roots
    )
    each = 4 * 2 * 3  # pictures, transports, rounds with their warm-ups
    assert encodings == {(None, None): each, ("fast", "cloudevent"): each, ("small", "cloudevent 256px"): each}
    cells = {root.trace_id: root.attributes.get("otel_kfs.cell") for root in roots}
    transformers = {
        (cells[span.trace_id], span.service)
        for span in spans
        if span.service.startswith("mobilenet-transformer") and span.trace_id in cells
    }
    assert transformers == {
        (None, "mobilenet-transformer"),
        ("fast", "mobilenet-transformer-fast"),
        ("small", "mobilenet-transformer-fast"),
    }
