"""What is private in others' libraries is neither read nor set, but for what is listed here, each with its reason."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "otel_kfs"

# file -> attribute -> why it can't be done by public means
LISTED: dict[str, dict[str, str]] = {
    "kafka/aio.py": {
        "_call": "how the real class calls its blocking consumer, which it makes by a name that others replace",
        "_consumer": "that blocking consumer, whose class tells whether another instrumentation's spans come with it",
        "_exception": "asking a future by exception() would keep asyncio from logging one that nobody looks at",
    },
    "serving/kfserving.py": {
        "_OTEL_PATCHED_KEY": "tornado's instrumentation lets a handler alone that has this mark; it has no other way",
        "_start_span": "tornado's instrumentation starts the SERVER span there, late; it has no option for the time",
    },
    "serving/kfserving_shutdown.py": {
        "_http_server": "KFServer keeps tornado's server there, and has no method that stops it",
    },
    "serving/model_spans.py": {
        "_exception": "asking a future by exception() would keep asyncio from logging one that nobody looks at",
    },
    "serving/kserve/grpc_server.py": {
        "_tracer": "contrib's interceptor keeps the tracer there that it was given, and says nowhere else whose it is",
    },
    "serving/kserve/rest_server.py": {
        "_is_instrumented_by_opentelemetry": "FastAPI's instrumentation says only there whether it has an app",
    },
    "telemetry/redaction_instrumentor.py": {
        "_active_span_processor": "the SDK names no other way to the processors that a provider has already",
        "_span_processors": "nor to those that such a processor holds",
    },
}

# Names that begin with an underscore and are documented: of the standard library, and of librdkafka's own errors.
DOCUMENTED = {"_asdict", "_replace", "_fields", "_exit"}


def is_private(name: object) -> bool:
    """Whether a name is private; constants of KafkaError (`_PARTITION_EOF`) are its documented names."""
    return isinstance(name, str) and name[:1] == "_" and name[:2] != "__" and name not in DOCUMENTED | {"_"}


def trees() -> dict[str, ast.Module]:
    files = sorted(file for file in PACKAGE.rglob("*.py") if "demo/mobilenet" not in file.as_posix())
    return {file.relative_to(PACKAGE).as_posix(): ast.parse(file.read_text()) for file in files}


def own_names(tree: ast.Module) -> set[str]:
    """What a file defines: functions, classes, and attributes that it sets on self, in a class or a module."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def asked(tree: ast.Module) -> set[str]:
    """The private names that are asked of anything: `x._y`, `getattr(x, "_y")` and the like."""
    names: set[object] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not ast.unparse(node.value).endswith("KafkaError"):
            names.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"getattr", "setattr", "hasattr", "delattr"}:
            names.update(name.value for name in node.args[1:2] if isinstance(name, ast.Constant))
    return {name for name in names if is_private(name)}


def imported(tree: ast.Module) -> set[str]:
    """The private names that are imported from elsewhere."""
    paths: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            paths += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            paths += [alias.name for alias in node.names]
    return {name for path in paths if not path.startswith("otel_kfs") for name in path.split(".") if is_private(name)}


def test_private_names_of_others_are_those_listed():
    modules = trees()
    ours: dict[str, set[str]] = {}  # by folder, whose files may share what is private in them
    for file, tree in modules.items():
        ours.setdefault(file.rpartition("/")[0], set()).update(own_names(tree))
    found = {file: asked(tree) - ours[file.rpartition("/")[0]] | imported(tree) for file, tree in modules.items()}
    assert {file: names for file, names in found.items() if names} == {
        file: set(reasons) for file, reasons in LISTED.items()
    }
