import copy
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from deploy_tools import DEPLOY, filled, overlapping, read_yaml, run, tool

from otel_kfs import semconv

pytestmark = pytest.mark.deploy

DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/segments.json").read_text())
QUERIES = [filled(target["query"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
BROKEN = '{ name = "send image" && nope( }'


def test_attributes_are_those_that_are_written():
    written = {value for value in vars(semconv).values() if isinstance(value, str)}
    asked = {found for query in QUERIES for found in re.findall(r"\bspan\.([\w.]+)", query)}
    assert asked
    assert asked <= written
    (run_variable,) = (v for v in DASHBOARD["templating"]["list"] if v["name"] == "run")
    assert run_variable["query"]["label"] == f"span.{semconv.RUN_ID}"


def test_spans_are_those_that_are_written():
    words = {found for query in QUERIES for found in re.findall(r'name =~? "([^"]+)"', query)}
    asked = {name for found in words for name in found.split("|")}
    assert asked <= {semconv.SEND_IMAGE, semconv.ENCODE, semconv.RECEIVE, semconv.DECODE, *semconv.MODEL_STEPS}


def test_grafanas_schemas_know_and_miss_no_field_of_the_dashboards():
    assert run(tool("dashboards"), *sorted(DEPLOY.glob("grafana/dashboards/*.json"))) == ""


def test_grafanas_schemas_find_what_is_wrong_in_a_dashboard(tmp_path):
    (first, second, third), file = copy.deepcopy(DASHBOARD["panels"][:3]), tmp_path / "broken.json"
    first["options"]["nope"] = first["targets"][0]["nope"] = first["fieldConfig"]["defaults"]["custom"]["nope"] = 1
    second["options"] = {}
    third["type"] = "nope"
    file.write_text(json.dumps(DASHBOARD | {"panels": [first, second, third]}))
    found = [line.split(": ", 1) for line in run(tool("dashboards"), file).splitlines()]
    assert [where for where, what in found if what == "unexpected field 'nope'"] == [
        "panels[0].targets[0].Dataquery",
        "panels[0].options.Options",
        "panels[0].fieldConfig.defaults.custom.GraphFieldConfig",
    ]
    assert ["panels[1].options.reduceOptions", "required field is missing from input"] in found
    assert found[-1] == ["panels[2].type", "unexpected value 'nope'"]


def test_panels_do_not_overlap():
    assert overlapping(DASHBOARD) == []


def test_queries_are_traceql_to_grafanas_editor():
    command = ["node", DEPLOY / "validate/grammar.cjs", tool("traceql"), "@grafana/lezer-traceql"]
    broken = run(*command, input="\n".join([*QUERIES, BROKEN]))
    assert broken.splitlines() == [BROKEN]


@pytest.fixture(scope="module")
def tempo():
    """A real Tempo, where its executable was installed: no registry has one."""
    import services

    try:
        with services.tempo() as running:
            yield running
    except services.ServiceMissing as error:
        pytest.skip(str(error))


def answer_of(tempo, query):
    kind = "metrics/query" if "_over_time" in query else "search"
    now = int(time.time())
    parameters = urllib.parse.urlencode({"q": query, "start": now - 600, "end": now})
    with urllib.request.urlopen(f"{tempo.url}/api/{kind}?{parameters}", timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_queries_are_answered_by_tempo(tempo, query):
    answer_of(tempo, query)


def test_tempo_refuses_what_is_not_traceql(tempo):
    with pytest.raises(urllib.error.HTTPError, match="400"):
        answer_of(tempo, BROKEN)


def test_the_data_source_is_the_one_that_the_dashboard_asks_for():
    (provisioned,) = read_yaml(DEPLOY / "grafana/datasources.yaml")
    assert [source["type"] for source in provisioned["datasources"]] == ["tempo"]
