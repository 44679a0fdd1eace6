"""docs/command-line.md against the code: no variable, exit code, file or option that one has and the other lacks."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

import otel_kfs
from otel_kfs import cli

PACKAGE = Path(otel_kfs.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "command-line.md").read_text()
EXAMPLE = PACKAGE.parent / "examples" / "mobilenet"
CODE = [*sorted(PACKAGE.rglob("*.py")), *sorted(EXAMPLE.glob("*.py"))]
VARIABLE = re.compile(r"_?[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+|HOME")

# OTEL_EXPORTER_OTLP_...: its parts, as the code spells them.
OTLP_PARTS = re.compile(r'_otlp\("(\w+)"\)')
# Uses whose variables do not stand beside them, and where those stand.
NOT_PLAIN = {
    ("clickhouse_http.py", "variable"),  # ENV_USER, ENV_PASSWORD
    ("console_arguments.py", "name"),  # _JVM_OPTIONS
    ("embedded_broker.py", "ENV_VAR"),  # a library's: CALF_TANSU_BIN
    ("otel_settings.py", "name"),  # OTLP_PARTS, and OTEL_BSP_..., which stand in the module
    ("otel_settings.py", "variable"),  # they stand in the module
}
# Who makes files, and the words on the page for them.
WRITERS = {
    "demo/run_folder.py": "otel-kfs-runs/<time>/",
    "demo/demo_run.py": "`traces/`, `logs/`",
    "demo/processes.py": "`logs/`",
    "demo/bridge_process.py": "`logs/`",
    "experiment/trial_log.py": "`journal.ndjson`",
    "reader/output_file.py": "replaced in one step",
    "telemetry/export/traces_file.py": "spans are appended",
    "watch/receiver/spans_file.py": "spans are appended",
    "traces/files.py": "`otel-kfs-traces-...`",
    "analysis/reading/group_by_trace.py": "does not fit in memory",
    "mobilenet/cache.py": "`OTEL_KFS_CACHE`, else the user's cache folder",
}
MAKES_FILES = {"mkdir", "makedirs", "write_bytes", "NamedTemporaryFile", "TemporaryFile", "TemporaryDirectory"}
MAKES_FILES |= {"SpooledTemporaryFile", "mkdtemp", "mkstemp", "gettempdir", "symlink_to", "touch"}


@cache
def trees():
    """Every file of the code, parsed when a test needs it, not by every process that collects the tests."""
    return {path: ast.parse(path.read_text()) for path in CODE}


def section(title):
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def names_on_the_page():
    rows = [line.split("|")[1] for line in section("Environment variables").splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def constants(tree):
    """A module's constants that are text, or several."""
    found = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, of in pairs:
            if isinstance(name, ast.Name) and of is not None:
                texts = {one.value for one in ast.walk(of) if isinstance(one, ast.Constant)}
                found[name.id] = {text for text in texts if isinstance(text, str)}
    return found


@cache
def all_constants():
    """Those of every module, by their names."""
    return {name: texts for tree in trees().values() for name, texts in constants(tree).items()}


def uses(tree):
    """Each expression by which the environment is read, changed or asked."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {
            "os.environ.get", "os.getenv", "os.environ.setdefault", "os.environ.pop",
        }:  # fmt: skip
            yield node.args[0]
        elif isinstance(node, ast.Call) and node.args and ast.unparse(node.args[0]) == "os.environ.get":
            yield node.args[1]
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
            yield node.slice
        elif isinstance(node, ast.Compare) and "os.environ" in map(ast.unparse, node.comparators):
            yield node.left


def variables():
    """Every variable that the code reads or sets, and the expressions whose names can't be told."""
    found, unknown = set(), []
    for path, tree in trees().items():
        own = constants(tree)
        for use in uses(tree):
            if isinstance(use, ast.Constant):
                found.add(use.value)
                continue
            name = use.attr if isinstance(use, ast.Attribute) else getattr(use, "id", "")
            texts = own.get(name) or all_constants().get(name)
            if texts:
                found |= {text for text in texts if VARIABLE.fullmatch(text)}
            elif name.startswith("OTEL_"):  # the SDK's constants have their variables' names
                found.add(name)
            else:
                unknown.append((path.name, ast.unparse(use)))
    for command in (cli.main, *cli.main.commands.values()):
        for one in command.params:
            found |= {one.envvar} if isinstance(one.envvar, str) else set(one.envvar or ())
    return found, unknown


def literals():
    """Every text of the code that is called as OpenTelemetry's variables and ours are."""
    texts = {node.value for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"OTEL_[A-Z_]*[A-Z]", text)}


def test_every_variable_that_the_code_uses_is_on_the_page():
    found, _ = variables()
    settings = (PACKAGE / "telemetry" / "otel_settings.py").read_text()
    composed = {f"OTEL_EXPORTER_OTLP_{part}" for part in OTLP_PARTS.findall(settings)}
    missing = (found | literals() | composed) - names_on_the_page()
    assert {name for name in missing if not name.startswith("OTEL_EXPORTER_OTLP_TRACES_")} == set()


def test_where_a_variable_s_name_is_not_plain_is_known():
    _, unknown = variables()
    assert set(unknown) == NOT_PLAIN
    named = all_constants()["_JVM_OPTIONS"] | all_constants()["ENV_USER"] | all_constants()["ENV_PASSWORD"]
    assert (named | {"CALF_TANSU_BIN"}) - names_on_the_page() == set()


def test_every_variable_of_ours_on_the_page_is_in_the_code():
    text = "".join(path.read_text() for path in CODE)
    ours = {name for name in names_on_the_page() if name.startswith("OTEL_KFS_")}
    assert {name for name in ours if name not in text} == set()


def test_every_exit_code_is_on_the_page_and_no_other():
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}
    codes = {0, 1, 2}  # all went well, an error, click's own
    for path in sorted((PACKAGE / "cli").rglob("[!_]*.py")):
        module = importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        codes |= {value for name, value in vars(module).items() if name.endswith("_EXIT")}
    assert told == codes


def test_nothing_exits_with_a_code_of_its_own():
    known = {"1", "code", "128 + signals.received", "128 + number", "128 + (signals.received or 0)"}
    calls = [
        (path.name, ast.unparse(node.args[0]) if node.args else "")
        for path, tree in trees().items()
        if path.is_relative_to(PACKAGE / "cli")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"sys.exit", "os._exit", "exit", "SystemExit"}
    ]
    assert {(file, code) for file, code in calls if code not in known and not code.endswith("_EXIT")} == set()


def test_whoever_makes_a_file_is_on_the_page():
    making = set()
    for path, tree in trees().items():
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in calls}
        if names & MAKES_FILES:
            making.add("/".join(path.relative_to(PACKAGE if PACKAGE in path.parents else EXAMPLE.parent).parts))
    assert making - set(WRITERS) == set()


@pytest.mark.parametrize(("module", "words"), WRITERS.items(), ids=list(WRITERS))
def test_what_is_made_is_described(module, words):
    assert any((root / module).is_file() for root in (PACKAGE, EXAMPLE.parent))
    assert words in section("Files and folders")


def test_every_option_on_the_page_is_one():
    options = {
        name for command in (cli.main, *cli.main.commands.values()) for one in command.params for name in one.opts
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", PAGE))
    assert named - options - {"--help"} == set()
