"""The notebook of the examples, run by Jupyter's own kernel: every cell, and what it shows."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.notebook

NOTEBOOK = Path(__file__).parents[2] / "examples" / "reading.ipynb"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, run_of):
    """The folder that the notebook ran in, and its cells of code with what they show; the run is drawn."""
    import nbformat
    from nbclient import NotebookClient

    top = tmp_path_factory.mktemp("clone")
    folder = top / "examples"
    folder.mkdir()
    (top / "otel-kfs-runs").mkdir()
    (top / "otel-kfs-runs" / "latest").symlink_to(run_of(8))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return folder, [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell, kind):
    """What a cell shows in one of the forms that Jupyter knows."""
    (output,) = cell.outputs
    return output["text"] if kind == "stream" else output["data"][kind]


def test_the_notebook_is_kept_without_outputs():
    import nbformat

    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert [(cell.outputs, cell.execution_count) for cell in cells if cell.cell_type == "code"] == [([], None)] * 6


def test_a_reading_shows_its_answer_and_its_chart(ran):
    _, (reading, *_) = ran
    html = shown(reading, "text/html")
    assert html.startswith("<p>An image of 1.1MB takes ")
    drawing = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert drawing
    assert base64.b64decode(drawing[1]).startswith(b"<svg")
    assert shown(reading, "text/plain") == "<Reading of 16 images in 2 series from ../otel-kfs-runs/latest>"


def test_the_frames_show_the_figures_that_were_drawn(ran):
    _, (_, summary, segments, slowest, comparison, _) = ran
    assert lines(shown(summary, "text/plain")) == [
        "p50_ns p95_ns max_ns n",
        "transport size",
        "http 1.1MB 1035.0 <NA> 1070.0 8",
        "kafka 1.1MB 1035.0 <NA> 1070.0 8",
    ]
    assert lines(shown(segments, "text/plain")) == [
        "transport http kafka",
        "segment",
        "predictor predict 269.1 62.1",
        "transformer preprocess 155.2 155.2",
        "encode 103.5 103.5",
    ]
    assert shown(slowest, "stream") == f"{b'h07'.hex():0>32} http 1.1MB\n"
    assert shown(comparison, "stream") == (
        "1.1MB: B (Kafka) and A (HTTP) do not differ beyond noise: total (4-1) by +0.0 ms (-40.0 to 35.0, n = 8 and "
        "8), though `predictor predict` is 207.0 ms faster, `deliver` is 165.6 ms slower, `broker` is 41.4 ms slower\n"
    )


def lines(frame):
    """A frame's lines, without what lines its columns up."""
    return [" ".join(line.split()) for line in frame.split("\n")]


def test_the_report_is_written(ran):
    folder, _ = ran
    assert (folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
