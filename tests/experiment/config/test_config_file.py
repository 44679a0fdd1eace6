"""From TOML to a configuration: every mistake is a line that names file, key and what is allowed."""

import importlib.util
from pathlib import Path

import pytest
from experiment_support import EMBEDDED, KSERVE, OWN, configured, written

from otel_kfs.errors import ConfigError
from otel_kfs.experiment.config.config_file import load
from otel_kfs.experiment.config.experiment_config import Arrivals, Cell, Endpoints, ExperimentConfig, ServersConfig

EXAMPLES = Path(__file__).parents[3] / "examples" / "experiments"
IMAGES = 'images = ["a.jpg"]\n'


@pytest.fixture(autouse=True)
def _kfserving_is_there(monkeypatch):
    """What a file may hold depends on the serving SDK, but not these tests on which one is installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: name in {"kfserving", "kserve"} or find(name, *more)
    )


def mistakes(text):
    """The lines of the error, each without the file's name."""
    file = written(text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    lines = str(raised.value).split("\n")
    assert all(line.startswith(f"{file}: ") for line in lines), lines
    return [line.removeprefix(f"{file}: ") for line in lines]


def test_a_configuration_has_all_that_its_file_says(tmp_path):
    text = (
        'images = ["a.jpg"]\nrepeat = 3\nwarmups = 1\nseed = 7\nmax_failures = 2\ntimeout = 5\n'
        '[servers]\nurl = "http://here"\nmodel = "m"\nbootstrap_servers = "k:1"\nproducer_config = "p.properties"\n'
        'bridge_concurrency = 4\n[matrix]\ntransport = ["http"]\n[traces]\nquery = "jaeger:http://j"\n'
    )
    found = configured(text)
    cell = Cell(label="json", base_label="json")
    own = Endpoints(
        url="http://here", model="m", bootstrap_servers="k:1", producer_config=str(tmp_path / "p.properties")
    )
    assert found == ExperimentConfig(
        file=tmp_path / "experiment.toml",
        document=found.document,
        cells=(cell,),
        baselines=(cell,),
        images=(str(tmp_path / "a.jpg"),),
        servers=ServersConfig(bridge_concurrency=4, ways={"": own}),
        repeat=3,
        warmups=1,
        seed=7,
        max_failures=2,
        timeout=5,
        query="jaeger:http://j",
    )


def test_an_open_loop_has_a_cell_for_each_rate():
    found = configured(f"{IMAGES}{OWN}[arrivals]\nrates = [1, 2.5]\nduration = 10\npattern = 'constant'\nworkers = 3")
    assert found.arrivals == Arrivals("constant", (1, 2.5), 10, 3)
    assert [(cell.rate, cell.name) for cell in found.cells] == [(1, "HTTP, json 1/s"), (2.5, "HTTP, json 2.5/s")]
    assert found.baselines == found.cells


def test_servers_of_ones_own_are_ways_by_their_names_and_share_what_stands_above_them():
    found = configured(
        f'{IMAGES}[servers]\nmodel = "m"\n[servers.old]\nurl = "http://old"\n[servers.new]\nurl = "http://new"\n'
        '[matrix]\nway = ["old", "new"]'
    )
    assert found.servers.ways == {
        "old": Endpoints(model="m", url="http://old"),
        "new": Endpoints(model="m", url="http://new"),
    }
    assert [cell.name for cell in found.cells] == ["HTTP, json old", "HTTP, json new"]


def test_kserve_s_embedded_servers_take_grpc_whose_encoding_is_its_own():
    matrix = '[matrix]\nway = ["fast"]\ntransport = ["http", "grpc"]\nencoding = ["raw", "v2"]\nresize = [256]'
    assert configured(f"{KSERVE}{matrix}").cells == (
        Cell(encoding="raw", resize=256, way="fast", label="raw 256px", base_label="raw 256px"),
        Cell(encoding="v2", resize=256, way="fast", label="v2 256px", base_label="v2 256px"),
        Cell(transport="grpc", encoding="grpc", resize=256, way="fast", label="grpc 256px", base_label="grpc 256px"),
    )


def test_kserve_s_servers_of_2020_take_no_tensor_of_a_jpg_over_grpc():
    assert mistakes(f'{KSERVE}[matrix]\ntransport = ["grpc"]') == [
        'matrix: HTTP, grpc: the servers of way = "seed" accept json only: exclude it, or choose way = "fast"'
    ]


@pytest.mark.parametrize("store_url", ["http://store", None])
def test_embedded_servers_take_references_into_a_bucket_that_the_file_names(store_url):
    url = f'store_url = "{store_url}"\n' if store_url else ""
    found = configured(
        f'{EMBEDDED}bucket = "images"\n{url}[matrix]\nway = ["fast"]\ntransport = ["http", "kafka"]\n'
        'encoding = ["claim-check"]'
    )
    assert found.servers == ServersConfig(embedded=True, serving="kfserving", bucket="images", store_url=store_url)
    assert [cell.name for cell in found.cells] == ["HTTP, claim-check", "Kafka, claim-check"]


def test_embedded_servers_take_a_kafka_that_the_file_names():
    found = configured(f'{EMBEDDED}bootstrap_servers = "localhost:9092"\n[matrix]\ntransport = ["kafka"]')
    assert found.servers == ServersConfig(embedded=True, serving="kfserving", bootstrap_servers="localhost:9092")


def test_embedded_servers_bring_their_pictures():
    assert configured(EMBEDDED).images == ("1.1MB", "3.3MB", "4.7MB", "10.2MB")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            f"{IMAGES}sed = 1\n{OWN}",
            "sed: unknown key (did you mean seed?); the keys are images, repeat, warmups",
        ),
        (f"{IMAGES}repeat = 0\n{OWN}", "repeat: 0 is not allowed; give a whole number from 1 to 1000000"),
        (f"{IMAGES}repeat = true\n{OWN}", "repeat: True is not allowed; give a whole number from 1 to 1000000"),
        (f"{IMAGES}timeout = 'long'\n{OWN}", "timeout: 'long' is not allowed; give seconds, from 0.001"),
        (f"images = 'a.jpg'\n{OWN}", "images: 'a.jpg' is not allowed; give a list of texts"),
        (f"images = ['none.jpg']\n{OWN}", "images: there is no file 'none.jpg' beside experiment.toml"),
        (
            f"images = ['2MB']\n{EMBEDDED}",
            "images: there is no file '2MB' beside experiment.toml, nor is it one of the",
        ),
        (f"images = ['1.1MB']\n{OWN}", "images: 1.1MB: only embedded servers have these pictures; give files"),
        (OWN, "images: it is missing"),
        (IMAGES, "servers: it is missing: set embedded = true, or url, bootstrap_servers"),
        (f"{IMAGES}servers = 1", "servers: it is not a table of keys and values"),
        (f"{IMAGES}[servers]\nurl = 1", "servers.url: 1 is not allowed; give text"),
        (
            f"{IMAGES}[servers]\nurI = 'x'",
            "servers.urI: unknown key (did you mean url?); the keys are url, model",
        ),
        (f"{IMAGES}[servers]\nserving = 'kserve'\nurl = 'u'", "servers.serving: only embedded servers have it"),
        (
            "[servers]\nembedded = true\nserving = 'triton'",
            "servers.serving: 'triton' is not allowed; choose kfserving",
        ),
        ("[servers]\nembedded = true\nurl = 'u'", "servers.url: unknown key; the keys are embedded, serving"),
        (f"{IMAGES}{OWN}[arrivals]\nduration = 3", "arrivals.rates: it is missing"),
        (f"{IMAGES}{OWN}[arrivals]\nrates = [1, 1]", "arrivals.rates: [1, 1] is not allowed; give a list of different"),
        (f"{IMAGES}{OWN}[arrivals]\nrates = [0]", "arrivals.rates: [0] is not allowed; give a number from 0.01"),
        (f"{IMAGES}{OWN}[arrivals]\nrates = [1]\nduration = 2", "arrivals.duration: 1 a second is fewer than 5 images"),
        (f"{IMAGES}{OWN}[arrivals]\nrates = [1]\npattern = 'bursts'", "arrivals.pattern: 'bursts' is not allowed"),
        (f"{IMAGES}{OWN}[traces]\nurl = 'x'", "traces.url: unknown key; the keys are otlp_endpoint, query"),
    ],
)
def test_a_mistake_is_a_line_with_file_key_and_what_is_allowed(text, line):
    (found,) = mistakes(text)
    assert found.startswith(line)


def test_every_mistake_has_a_line_of_its_own():
    found = mistakes(f"{IMAGES}repeat = 0\nseed = -1\n{OWN}[matrix]\ntransport = ['pigeon']")
    assert [line.partition(":")[0] for line in found] == ["repeat", "seed", "matrix.transport[0]"]


def test_what_is_no_toml_is_one_line():
    with pytest.raises(ConfigError, match=r"experiment\.toml is not TOML: Invalid value"):
        load(written("images = ["))


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"can't read .*none\.toml: No such file"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_right(example):
    found = load(example)
    assert found.cells
    assert found.baselines
