"""The matrix: a product, less what is excluded, and what is included; labels; baselines; what servers can't take."""

import itertools
import json
from collections import Counter

import pytest
from experiment_support import EMBEDDED, OWN, configured, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_kfs.errors import ConfigError
from otel_kfs.experiment.config.config_file import load

HEAD = f'images = ["a.jpg"]\n{OWN}bootstrap_servers = "127.0.0.1:1"\n'


def named(text, head=HEAD):
    """The names of the cells."""
    return [cell.name for cell in configured(head + text).cells]


def mistake(text, head=HEAD):
    file = written(head + text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    return str(raised.value).removeprefix(f"{file}: ")


AXES = {
    "transport": ["http", "kafka"],
    "encoding": ["json", "raw", "cloudevent"],
    "compression": ["none", "gzip", "zstd"],
    "resize": ["none", 256, 512],
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({key: st.lists(st.sampled_from(of), min_size=1, unique=True) for key, of in AXES.items()}))
def test_a_matrix_is_the_product_of_its_lists_and_every_label_is_another(tmp_path, axes):
    text = "[matrix]\n" + "".join(f"{key} = {json.dumps(values)}\n" for key, values in axes.items())
    cells = configured(HEAD + text, tmp_path).cells
    found = [(cell.transport, cell.encoding, cell.compression or "none", cell.resize or "none") for cell in cells]
    assert Counter(found) == Counter(itertools.product(*(axes[key] for key in AXES)))
    assert len({cell.name for cell in cells}) == len(cells)


def test_without_a_matrix_there_is_the_way_of_2020():
    assert named("") == ["HTTP, json"]


def test_what_is_excluded_is_left_out_by_all_its_values():
    text = '[matrix]\ntransport = ["http", "kafka"]\nencoding = ["json", "raw"]\n'
    text += 'exclude = [{ transport = "kafka", encoding = "raw" }]'
    assert named(text) == ["HTTP, json", "HTTP, raw", "Kafka, json"]


def test_a_value_that_was_not_given_is_excluded_by_its_default():
    text = '[matrix]\nencoding = ["json", "raw"]\nexclude = [{ transport = "http", encoding = "raw" }]'
    assert named(text) == ["HTTP, json"]


def test_what_is_included_comes_behind_and_once():
    text = '[matrix]\nencoding = ["json"]\ninclude = [{ encoding = "v2" }, { encoding = "json" }]'
    assert named(text) == ["HTTP, json", "HTTP, v2"]


def test_includes_alone_are_the_whole_of_it():
    assert named('[matrix]\ninclude = [{ encoding = "v2" }]') == ["HTTP, v2"]


def test_a_setting_of_another_transport_makes_no_further_cells():
    text = '[matrix]\ntransport = ["http", "kafka"]\nkeep_alive = [true, false]\n'
    text += 'kafka = { "linger.ms" = [0, 5], acks = ["all"] }'
    assert named(text) == [
        "HTTP, json keep-alive",
        "HTTP, json new connection",
        "Kafka, json linger.ms=0",
        "Kafka, json linger.ms=5",
    ]
    assert configured(HEAD + text).cells[-1].kafka == (("acks", "all"), ("linger.ms", "5"))


def test_a_label_has_all_in_which_its_cell_differs():
    text = '[matrix]\ncompression = ["none", "gzip"]\nresize = [256]\nconcurrency = [1, 4]'
    assert named(text) == [
        "HTTP, json 256px 1 at a time",
        "HTTP, json 256px 4 at a time",
        "HTTP, json gzip 256px 1 at a time",
        "HTTP, json gzip 256px 4 at a time",
    ]


@pytest.mark.parametrize(
    ("matrix", "baseline"),
    [
        ('transport = ["kafka", "http"]\nencoding = ["raw", "json"]', "HTTP, json"),
        ('encoding = ["json"]\nresize = [256, "none"]', "HTTP, json"),
        ('transport = ["kafka"]\nencoding = ["raw", "cloudevent"]', "Kafka, raw"),
        ('encoding = ["json", "raw"]\n[baseline]\nencoding = "raw"', "HTTP, raw"),
        ('transport = ["kafka", "http"]\n[baseline]\ntransport = "kafka"', "Kafka, json"),
    ],
)
def test_the_baseline_is_the_way_of_2020_the_first_cell_or_what_was_chosen(matrix, baseline):
    assert [cell.name for cell in configured(f"{HEAD}[matrix]\n{matrix}").baselines] == [baseline]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("matrix = 1", "servers.matrix: unknown key"),
        (
            "[matrix]\nencodng = []",
            "matrix.encodng: unknown key (did you mean encoding?); the keys are transport",
        ),
        ("[matrix]\nencoding = []", "matrix.encoding: [] is not allowed; give a list of values"),
        ('[matrix]\nencoding = "json"', "matrix.encoding: 'json' is not allowed; give a list of values"),
        ('[matrix]\nencoding = ["png"]', "matrix.encoding[0]: 'png' is not allowed; choose json or v2 or raw or"),
        ('[matrix]\nresize = ["big"]', "matrix.resize[0]: 'big' is not allowed; give a whole number from 1 to 100000,"),
        ("[matrix]\nconcurrency = [1.5]", "matrix.concurrency[0]: 1.5 is not allowed; give a whole number from 1 to"),
        (
            "[matrix]\nkafka = [1]",
            'matrix.kafka: it is not a table of settings and lists, like { "linger.ms" = [0, 5] }',
        ),
        ('[matrix]\nkafka = { "linger.ms" = 5 }', "matrix.kafka.linger.ms: 5 is not allowed; give a list of values"),
        ("[matrix]\nexclude = 1", "matrix.exclude: it is not a list of tables"),
        ('[matrix]\nexclude = [{ encoding = "raw" }]', "matrix.exclude[0]: it matches no combination of the matrix"),
        ('[matrix]\nencoding = ["json"]\nexclude = [{ encoding = "json" }]', "matrix.exclude: it excludes every cell"),
        ('[matrix]\ninclude = [{ enc = "raw" }]', "matrix.include[0].enc: unknown key; the keys are transport,"),
        ('[matrix]\ninclude = ["raw"]', "matrix.include[0]: it is not a table"),
        ("[matrix]\nresize = [" + ",".join(map(str, range(1, 502))) + "]", "matrix: it has 501 cells, and 500 are"),
        ('[baseline]\nencoding = "raw"', "baseline: it matches no cell; there are HTTP, json"),
        (
            '[matrix]\nencoding = ["json", "raw"]\nkeep_alive = [false]\n[baseline]\ntransport = "http"',
            "baseline: it matches several cells: HTTP, json, HTTP, raw; add what sets yours apart",
        ),
        ('[matrix]\ntransport = ["grpc"]', "matrix: HTTP, grpc: it needs servers.grpc (host:port) and servers.model"),
        (
            'grpc = "h:1"\nca = "ca.pem"\nkey = "key.pem"\n[matrix]\ntransport = ["grpc"]',
            "matrix: HTTP, grpc: servers.grpc is plain: write it as https://host:port, or leave ca, key out",
        ),
        (
            '[matrix]\ntransport = ["kafka"]\nencoding = ["v2"]',
            "matrix: Kafka, v2: the bridge calls models with the V1 protocol: exclude it",
        ),
        ('[matrix]\nencoding = ["claim-check"]', "matrix: HTTP, claim-check: it needs servers.bucket"),
        (
            '[matrix]\ntransport = ["kafka"]\nencoding = ["openai"]',
            "matrix: Kafka, openai: a chat is asked over HTTP only: exclude it",
        ),
        (
            '[matrix]\ntransport = ["grpc"]\ncompression = ["zstd"]',
            "matrix: HTTP, grpc zstd: gRPC compresses by gzip only: exclude it",
        ),
        (
            'topic = "t"\n[matrix]\ntransport = ["kafka"]',
            "matrix: Kafka, json: nothing tells when the bridge of servers.topic has answered: give servers.pause,",
        ),
        (
            '[matrix]\ntransport = ["kafka"]\ncompression = ["gzip"]\nkafka = { "compression.type" = ["lz4"] }',
            "matrix: Kafka, json gzip: compression and kafka's compression.type are the same setting: leave one out",
        ),
    ],
)
def test_a_mistake_in_the_matrix_is_one_line(text, message):
    assert mistake(text).startswith(message)


def test_a_chat_needs_the_model_s_name_which_its_request_has():
    without = HEAD.replace('model = "mobilenet"\n', "")
    assert mistake('[matrix]\nencoding = ["openai"]', without).startswith(
        "matrix: HTTP, openai: it needs servers.model, which the request names"
    )


@pytest.mark.kfserving
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'encoding = ["cloudevent"]',
            'matrix: HTTP, cloudevent: the servers of way = "seed" accept json only: exclude',
        ),
        (
            'compression = ["gzip"]',
            'matrix: HTTP, json gzip: the servers of way = "seed" do not decompress: exclude it',
        ),
        ('way = ["fast"]\nencoding = ["raw"]', "matrix: HTTP, raw: KFServing does not accept raw: exclude it"),
        (
            'way = ["fast"]\ntransport = ["grpc"]',
            'matrix: HTTP, grpc: KFServing has no gRPC: give servers.serving = "kserve", or exclude it',
        ),
        (
            'way = ["fast"]\nencoding = ["claim-check"]',
            "matrix: HTTP, claim-check: it needs servers.bucket, and servers.store_url where the store is not AWS's",
        ),
        ('encoding = ["claim-check"]', 'matrix: HTTP, claim-check: the servers of way = "seed" accept json only:'),
        (
            'way = ["chat"]\nencoding = ["openai"]',
            'matrix: HTTP, openai: KFServing has no chat route: give servers.serving = "kserve", or exclude it',
        ),
        (
            'way = ["fast"]\nencoding = ["openai"]',
            'matrix: HTTP, openai: only the server of way = "chat" has a chat: exclude it',
        ),
        (
            'way = ["chat"]\ntransport = ["kafka"]\nencoding = ["openai"]',
            "matrix: Kafka, openai: a chat is asked over HTTP only: exclude it",
        ),
        ('way = ["slow"]', "matrix.way[0]: 'slow' is not allowed; choose seed or fast or chat"),
    ],
)
def test_what_the_embedded_servers_cant_take_is_told_before_they_start(text, message):
    assert mistake(f"[matrix]\n{text}", EMBEDDED).startswith(message)
