"""Requests that are small and would cost a server much: it refuses them, and stays as it was."""

import base64
import io
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image

from otel_kfs.client.model_request.model_client import ModelClient
from otel_kfs.client.model_request.model_url import predict_url
from otel_kfs.errors import SendError

pytestmark = [pytest.mark.model, pytest.mark.timeout(120)]


@pytest.fixture
def client(mobilenet):
    """Asks the transformer of 2020."""
    client = ModelClient(predict_url(mobilenet, "mobilenet"))
    yield client
    client.close()


def refusal(client, instances):
    with pytest.raises(SendError) as raised:
        client.post(json.dumps({"instances": instances}).encode())
    return raised.value.status, str(raised.value)


def peak_megabytes(url):
    """The most memory that the process behind a URL has had."""
    option = f"--http_port\0{urlsplit(url).port}\0".encode()
    (pid,) = [file.parent.name for file in Path("/proc").glob("[0-9]*/cmdline") if option in _read(file)]
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def _read(file):
    try:
        return file.read_bytes()
    except OSError:  # it has ended
        return b""


def test_a_small_jpg_of_169_megapixels_is_the_client_s_mistake_and_takes_no_memory(client, mobilenet):
    file = io.BytesIO()
    Image.new("L", (13_000, 13_000)).save(file, "JPEG", quality=1)
    before = peak_megabytes(mobilenet)
    status, why = refusal(client, [{"image_bytes": {"b64": base64.b64encode(file.getvalue()).decode()}}])
    assert status == 400
    assert "the picture is too large: 13000x13000, more than 50,000,000 pixels" in why
    assert peak_megabytes(mobilenet) - before < 100


def test_no_picture_at_all_is_the_client_s_mistake(client):
    status, why = refusal(client, [])
    assert status == 400
    assert "no picture in the request" in why
