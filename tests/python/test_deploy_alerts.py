"""The alerts of deploy/prometheus: each fires when it must, and not before, as promtool computes it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from deployed import DEPLOY, documents, run

ALERTS = DEPLOY / "prometheus" / "alerts.yml"
JOB, INSTANCE = "propeller-proxy", "proxy-0:9191"
STEP = 15
"""Seconds between two scrapes, as in prometheus.yml, and between two values of a series below."""
QUICK, SLOW = "0+10x240", "0x240"
"""One hour of a counter that increases, and of one that does not."""
BUCKETS = ("25", "55", "120", "+Inf")


def requests(**outcomes: str) -> dict[str, str]:
    """Return the counters of requests by outcome; all exist from the start, and most stay at 0."""
    named = {outcome.replace("_", "-"): values for outcome, values in outcomes.items()}
    usual = dict.fromkeys(("overloaded", "over-budget", "disk", "unknown-image", "withdrawn"), SLOW)
    counters = {"sent": QUICK} | usual | named
    return {f'propeller_proxy_requests_total{{outcome="{outcome}"}}': counters[outcome] for outcome in counters}


def waits(*buckets: str) -> dict[str, str]:
    """Return the histogram of the duration of deliveries."""
    name = "propeller_proxy_last_chunk_seconds_bucket"
    return {f'{name}{{le="{le}"}}': values for le, values in zip(BUCKETS, buckets, strict=True)}


HEALTHY = {
    "up": "1x240",
    "propeller_proxy_broker_connected": "1x240",
    "propeller_proxy_broker_connections_total": "0 1x239",
    "propeller_proxy_registry_up": "1x240",
    **requests(),
    **waits(QUICK, QUICK, QUICK, QUICK),
}
"""The series of an hour without an incident."""


@dataclass(frozen=True)
class Case:
    """An hour with changed series, and the number of alerts at some minutes of it."""

    alert: str
    changed: Mapping[str, str]
    firing: Mapping[float, int]
    """The number of alerts that fire, by minutes since the begin."""
    labels: tuple[Mapping[str, str], ...] = ({},)
    """The labels of each alert that fires, beside the instance."""


CASES = {
    # From the 20th minute on, for good.
    "the proxy is gone": Case("PropellerProxyDown", {"up": "1x79 0x160"}, {19: 0, 20.5: 0, 22: 1, 60: 1}),
    # For 45 s.
    "it is restarted": Case("PropellerProxyDown", {"up": "1x79 0x2 1x157"}, {20.5: 0, 22: 0}),
    "no broker": Case(
        "PropellerProxyBrokerLost",
        {"propeller_proxy_broker_connected": "1x79 0x160"},
        {19: 0, 20.5: 0, 22: 1, 60: 1},
    ),
    "the broker is restarted": Case(
        "PropellerProxyBrokerLost", {"propeller_proxy_broker_connected": "1x79 0x2 1x157"}, {20.5: 0, 22: 0}
    ),
    # Each minute from the 20th on.
    "the broker comes and goes": Case(
        "PropellerProxyBrokerFlapping",
        {"propeller_proxy_broker_connections_total": "1x79 " + " ".join(f"{n}x3" for n in range(2, 42))},
        {20: 0, 23: 0, 30: 1, 60: 1},
    ),
    "the broker went three times": Case(
        "PropellerProxyBrokerFlapping",
        {"propeller_proxy_broker_connections_total": "1x79 2x3 3x3 4x152"},
        {22: 0, 30: 0},
    ),
    "no registry": Case(
        "PropellerProxyRegistryDown",
        {"propeller_proxy_registry_up": "1x79 0x160"},
        {19: 0, 21.5: 0, 23: 1, 60: 1},
    ),
    "the registry is restarted": Case(
        "PropellerProxyRegistryDown", {"propeller_proxy_registry_up": "1x79 0x4 1x155"}, {21: 0, 23: 0}
    ),
    # A third of them, from the 20th minute on.
    "many requests fail": Case(
        "PropellerProxyRequestsFail", requests(unknown_image="0x79 5+5x160"), {19: 0, 25: 0, 45: 1, 60: 1}
    ),
    "one in twenty-one fails": Case(
        "PropellerProxyRequestsFail", requests(sent="0+20x240", unknown_image="0+1x240"), {30: 0, 60: 0}
    ),
    "all failures are of requests": Case(
        "PropellerProxyRequestsFail", requests(sent=SLOW, withdrawn=QUICK), {30: 0, 60: 0}
    ),
    "no requests": Case("PropellerProxyRequestsFail", requests(sent=SLOW), {30: 0, 60: 0}),
    "one in twenty comes late": Case(
        "PropellerProxyDeliveriesSlow", waits("0+19x240", *["0+20x240"] * 3), {30: 0, 60: 0}
    ),
    "every other one comes late": Case(
        "PropellerProxyDeliveriesSlow", waits("0+5x240", QUICK, QUICK, QUICK), {5: 0, 30: 1, 60: 1}
    ),
    "no deliveries": Case("PropellerProxyDeliveriesSlow", waits(SLOW, SLOW, SLOW, SLOW), {30: 0, 60: 0}),
    # One burst, the first of all, in the 20th minute.
    "one burst too many": Case(
        "PropellerProxyOverloaded",
        requests(overloaded="0x79 7x160"),
        {19: 0, 21: 1, 35: 0},
        ({"outcome": "overloaded"},),
    ),
    "a channel and a burst": Case(
        "PropellerProxyOverloaded",
        requests(overloaded="0x79 7x160", over_budget="0x79 1x160"),
        {19: 0, 21: 2, 35: 0},
        ({"outcome": "overloaded"}, {"outcome": "over-budget"}),
    ),
    "failures of another kind": Case("PropellerProxyOverloaded", requests(disk="0x79 7x160"), {21: 0, 35: 0}),
    "the disk fails once": Case(
        "PropellerProxyDiskFails", requests(disk="0x79 1x160"), {19: 0, 21: 1, 35: 0}, ({"outcome": "disk"},)
    ),
    "the disk is well": Case("PropellerProxyDiskFails", requests(overloaded="0x79 7x160"), {21: 0, 35: 0}),
}


def rules() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    [document] = documents(ALERTS.read_text())
    alerts = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    return {rule["alert"]: rule for rule in alerts}


def rendered(text: str, labels: Mapping[str, str]) -> str:
    """Return an annotation with the labels of an alert."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda name: labels[name[1]], text)


def expected(alert: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return an alert that fires, in promtool's format."""
    rule = rules()[alert]
    own = {"instance": INSTANCE, **labels}
    if "sum by" not in rule["expr"]:
        own["job"] = JOB
    annotations = {name: rendered(text, own) for name, text in rule["annotations"].items()}
    return {"exp_labels": rule["labels"] | own, "exp_annotations": annotations}


def series(changed: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the scraped series, with the labels that a scrape adds."""

    def scraped(name: str) -> str:
        own, _, labels = name.rstrip("}").partition("{")
        return f'{own}{{{labels}{labels and ","}instance="{INSTANCE}",job="{JOB}"}}'

    return [{"series": scraped(name), "values": values} for name, values in {**HEALTHY, **changed}.items()]


def check(folder: Path, changed: Mapping[str, str], tests: list[dict[str, Any]]) -> None:
    """Run promtool on the expected alerts."""
    text = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": f"{STEP}s",
        "tests": [{"interval": f"{STEP}s", "input_series": series(changed), "alert_rule_test": tests}],
    }
    # Every JSON text is YAML.
    (folder / "tests.yml").write_text(json.dumps(text))
    ended = run("promtool", "test", "rules", folder / "tests.yml")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_cases() -> None:
    """Each fires in one case, and does not in another."""
    fire = {case.alert for case in CASES.values() if any(case.firing.values())}
    stay_quiet = {case.alert for case in CASES.values() if not any(case.firing.values())}
    assert fire == stay_quiet == rules().keys()
    [prometheus] = documents((ALERTS.parent / "prometheus.yml").read_text())
    assert prometheus["global"]["scrape_interval"] == f"{STEP}s"


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_it_fires_when_it_must(tmp_path: Path, case: Case) -> None:
    """With the annotations of the proxy that it concerns."""
    for count in case.firing.values():
        assert count in (0, len(case.labels))
    tests = [
        {
            "eval_time": f"{round(minutes * 60)}s",
            "alertname": case.alert,
            "exp_alerts": [expected(case.alert, labels) for labels in case.labels[:count]],
        }
        for minutes, count in case.firing.items()
    ]
    check(tmp_path, case.changed, tests)


def test_none_fires_without_an_incident(tmp_path: Path) -> None:
    """In the first hour of the proxy."""
    times = [f"{minutes}m" for minutes in range(61)]
    tests = [{"eval_time": time, "alertname": alert, "exp_alerts": []} for alert in rules() for time in times]
    check(tmp_path, {}, tests)
