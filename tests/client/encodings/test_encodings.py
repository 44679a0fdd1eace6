"""Each encoding: its body, and the headers that say what it is."""

import json
import re

import pytest
from support import JPG

from otel_kfs.client import encodings
from otel_kfs.client.encodings import by_name
from otel_kfs.errors import ConfigError


def test_the_names_of_all():
    assert encodings.NAMES == ("json", "v2", "raw", "cloudevent")


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ConfigError) as raised:
        by_name("protobuf")
    assert str(raised.value) == "no encoding is called 'protobuf'; there are json, v2, raw, cloudevent"


def test_raw_is_the_image_itself():
    body, headers = by_name("raw").encode(JPG, "image/jpeg")
    assert body is JPG
    assert headers == {"content-type": "image/jpeg"}


def test_a_cloudevent_is_the_image_with_the_event_in_headers():
    body, headers = by_name("cloudevent").encode(JPG, "image/png")
    assert body is JPG
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["ce-id"])
    assert {key: value for key, value in headers.items() if key != "ce-id"} == {
        "content-type": "image/png",
        "ce-specversion": "1.0",
        "ce-source": "otel-kfs",
        "ce-type": "otel-kfs.image",
    }


def test_two_cloudevents_are_two_events():
    assert len({by_name("cloudevent").encode(JPG, "image/jpeg").headers["ce-id"] for _ in range(2)}) == 2


def test_v2_is_one_bytes_tensor_after_its_json():
    body, headers = by_name("v2").encode(JPG, "image/jpeg")
    length = int(headers["inference-header-content-length"])
    assert headers == {"content-type": "application/octet-stream", "inference-header-content-length": str(length)}
    size = {"binary_data_size": 4 + len(JPG)}
    assert json.loads(body[:length]) == {
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "parameters": size}]
    }
    assert body[length:] == len(JPG).to_bytes(4, "little") + JPG


def test_only_v2_goes_to_the_url_of_its_protocol():
    assert [by_name(name).protocol for name in encodings.NAMES] == ["v1", "v2", "v1", "v1"]
