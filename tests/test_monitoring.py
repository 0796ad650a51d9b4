"""The shipped dashboard and alerts use existing metrics, and each alert has a runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import REGISTRY

import notices.metrics  # noqa: F401 - registers what only `manage.py notify_unread` would import
import qader.observability.metrics  # noqa: F401 - registers what only the server would import
from tests.compose import SECRETS, load_compose
from tests.debian import program

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "qader.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
VARIABLES = SECRETS | {"METRICS_TOKEN": "t" * 16}

# What a scrape adds, what the pool, which SQLite has not, tells (test_metrics_of_http.py), and what is told when the
# database has answered (test_reports.py).
ADDED = {
    "up": set(),
    "qader_database_pool_connections": {"state"},
    "qader_database_pool_max": set(),
    "qader_database_pool_waiting": set(),
    "qader_database_pool_timeouts_total": set(),
    "qader_reports_unfinished": set(),
    "qader_reports_oldest_seconds": set(),
}
OF_A_SCRAPE = {"job", "instance"}


def known() -> dict[str, set[str]]:
    """Return the labels of every series that the code can tell, by name."""
    found: dict[str, set[str]] = dict(ADDED)
    for collector in set(REGISTRY._names_to_collectors.values()):
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", ()))
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
            for suffix in suffixes.get(family.type, [""]):
                found[family.name + suffix] = labels | ({"le"} if suffix == "_bucket" else set())
    return found


def selected(expression: str) -> list[tuple[str, set[str]]]:
    """Return the (name, labels) of every series that an expression asks for, and `by` what labels it adds up."""
    found: list[tuple[str, set[str]]] = []
    grouped: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((str(node.name), {matcher.name for matcher in node.matchers.matchers}))
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression.replace("$__rate_interval", "5m")), visit)
    return [(name, labels | grouped) for name, labels in found]


@pytest.mark.parametrize("expression", [*(alert["expr"] for alert in ALERTS), *QUERIES])
def test_every_expression_uses_existing_metrics_and_labels(expression: str) -> None:
    asked = selected(expression)
    assert asked
    for name, labels in asked:
        assert name in known()
        assert labels <= known()[name] | OF_A_SCRAPE, name


def test_a_metric_that_does_not_exist_would_be_noticed() -> None:
    assert selected('sum by (no) (rate(gone_total{kind="x"}[5m]))') == [("gone_total", {"kind", "no"})]
    assert "gone_total" not in known()


def test_every_metric_of_ours_is_shown() -> None:
    """What nobody looks at need not be measured."""
    shown = {name for expression in QUERIES for name, _ in selected(expression)}
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in shown}
    ours = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in known() if name.startswith("qader_")}
    assert ours - families == {"qader_build_info"}


def test_each_alert_has_a_runbook() -> None:
    assert len({alert["alert"] for alert in ALERTS}) == len(ALERTS) == 11
    for alert in ALERTS:
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert set(alert["annotations"]) == {"summary", "description", "runbook"}
        assert alert["labels"]["severity"] in {"critical", "warning"}


def test_the_operations_page_has_a_row_for_each_alert_where_they_point_to() -> None:
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles()}
    for alert in ALERTS:
        page, anchor = alert["annotations"]["runbook"].split("#")
        assert (page, anchor in anchors) == ("docs/operations.md", True)
        assert f"| `{alert['alert']}` |" in OPERATIONS


def titles() -> list[str]:
    return re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)


def test_the_operations_page_has_every_metric_of_ours_and_no_other() -> None:
    documented = set(re.findall(r"`(qader_[a-z_]+)", OPERATIONS.partition("## Metrics")[2]))
    described = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known() if name.startswith("qader_")}
    assert documented == described


def test_dashboard_panels_have_unique_names_and_positions() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    for panel in PANELS:
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    compose = load_compose(VARIABLES)
    grafana = compose["services"]["grafana"]
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/qader.yml").read_text())["providers"]
    assert (source["uid"], source["url"]) == ("prometheus", "http://prometheus:9090")
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/qader.json"
    assert grafana["depends_on"] == ["prometheus"]


def test_prometheus_scrapes_each_web_process_with_the_token() -> None:
    compose = load_compose(VARIABLES)
    job, notify = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    web = compose["services"]["web-1"]["command"]
    port = web[web.index("--port") + 1]
    names = [name for name in compose["services"] if name.startswith("web-")]
    assert job["static_configs"] == [{"targets": [f"{name}:{port}" for name in names]}]
    assert job["authorization"] == {"credentials_file": "/run/secrets/metrics_token"}
    assert compose["services"]["prometheus"]["secrets"] == ["metrics_token"]
    assert compose["secrets"] == {"metrics_token": {"environment": "METRICS_TOKEN"}}
    for alert in ALERTS:
        assert re.search(r"job=\"qader(-notify)?\"", alert["expr"]) or "up{" not in alert["expr"]
    assert job["job_name"] == "qader"
    *_, notify_port = compose["services"]["notify"]["command"]
    assert notify == {"job_name": "qader-notify", "static_configs": [{"targets": [f"notify:{notify_port}"]}]}


def test_monitoring_is_an_optional_pinned_profile() -> None:
    services = load_compose(VARIABLES)["services"]
    monitoring = {name: service for name, service in services.items() if service.get("profiles") == ["monitoring"]}
    assert set(monitoring) == {"prometheus", "grafana"}
    for service in monitoring.values():
        assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    assert monitoring["grafana"]["ports"] == ["127.0.0.1:3001:3000"]
    assert "ports" not in monitoring["prometheus"]


PROMTOOL = program("promtool", "prometheus")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool, or apt-get to download it with")


def run_promtool(*arguments: str) -> None:
    assert PROMTOOL
    done = subprocess.run([PROMTOOL, *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    run_promtool("check", "rules", "deploy/alerts.yml")
    run_promtool("check", "config", "--syntax-only", "deploy/prometheus.yml")


@needs_promtool
def test_each_alert_fires_only_when_it_should() -> None:
    run_promtool("test", "rules", "tests/alerts.yml")


def test_each_alert_has_a_test_case_in_which_it_fires() -> None:
    cases = yaml.safe_load((ROOT / "tests" / "alerts.yml").read_text())["tests"]
    checks = [check for case in cases for check in case["promql_expr_test"] if check["exp_samples"]]
    ringing = {name for check in checks for name in re.findall(r'alertname="(\w+)"', check["expr"])}
    assert ringing == {alert["alert"] for alert in ALERTS}
