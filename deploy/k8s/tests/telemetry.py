"""Checks deploy/observability: rules and their unit tests, dashboards, and that each series named is one that a
binary exports or a rule records."""

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

import facts

RUNBOOK = "https://communal.example/source/docs/runbook.md#"
# Words of PromQL that look like the name of a series.
LANGUAGE = {
    "abs", "absent", "and", "avg", "bool", "by", "ceil", "clamp_min", "count", "group_left", "histogram_quantile",
    "ignoring", "increase", "label_replace", "max", "min", "offset", "on", "or", "rate", "sum", "topk", "unless", "without",
}


def rule_files(folder: Path) -> list[Path]:
    return sorted((folder / "rules").glob("*.yaml"))


def groups(folder: Path) -> list[dict]:
    return [group for file in rule_files(folder) for group in yaml.safe_load(file.read_text())["groups"]]


def named(expression: str) -> set[str]:
    """The series that an expression names."""
    # Strings first, because they may contain anything. Then the content of braces, of brackets, and of by/on/ignoring.
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left)\s*\([^)]*\)", " ", bare)
    bare = re.sub(r"\boffset\s+\w+", " ", bare)
    return set(re.findall(r"\b[a-z_][a-z0-9_:]*\b", bare)) - LANGUAGE


def panels(dashboard: dict) -> list[dict]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def anchors(markdown: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", markdown, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Readable(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def as_written(dumper: Readable, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, as_written)


def prometheus_rule(folder: Path) -> str:
    """The rules as an object of the Prometheus operator."""
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "communal"},
        "spec": {"groups": groups(folder)},
    }
    head = "# Made from deploy/observability/rules by `./dev k8s rules`; change those.\n"
    return head + yaml.dump(document, Dumper=Readable, sort_keys=False, width=1000)


def run(promtool: str, *arguments: str) -> list[str]:
    outcome = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    return [] if outcome.returncode == 0 else [(outcome.stdout + outcome.stderr).strip()]


def problems(folder: Path, runbook: Path, scratch: Path, promtool: str, only_tests: frozenset[str] | None = None) -> list[str]:
    """With `only_tests` no other files of unit tests are run: some take seconds."""
    found = run(promtool, "check", "rules", *map(str, rule_files(folder)))
    tests = sorted((folder / "tests").glob("*.yaml"))
    # Each process runs on one CPU.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chosen = [test for test in tests if only_tests is None or test.name in only_tests]
        for outcome in pool.map(lambda test: run(promtool, "test", "rules", str(test)), chosen):
            found += outcome

    rules = [rule for group in groups(folder) for rule in group["rules"]]
    known = facts.series() | {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        name = rule.get("record") or rule["alert"]
        found += [f"{name}: nobody exports or records {series}" for series in sorted(named(rule["expr"]) - known)]

    tested = "".join(test.read_text() for test in tests)
    headings = anchors(runbook.read_text())
    for rule in rules:
        if "alert" not in rule:
            continue
        name = rule["alert"]
        if not re.search(rf"alertname: {name}\s+eval_time: \S+\s+exp_alerts:\s+- exp_labels", tested):
            found.append(f"{name}: no unit test sees it fire")
        link = rule.get("annotations", {}).get("runbook_url", "")
        if not link.startswith(RUNBOOK) or link.removeprefix(RUNBOOK) not in headings:
            found.append(f"{name}: its runbook link {link!r} leads to no heading of {runbook.name}")
        if rule.get("labels", {}).get("severity") not in {"page", "ticket"}:
            found.append(f"{name}: its severity is neither page nor ticket")

    asked = []
    for file in sorted((folder / "dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text())
        identifiers = [panel["id"] for panel in dashboard["panels"]]
        if len(identifiers) != len(set(identifiers)):
            found.append(f"{file.name}: two panels have the same id")
        asked += expressions(dashboard)
        for panel in panels(dashboard):
            for target in panel["targets"]:
                unknown = sorted(named(target["expr"].replace("$__rate_interval", "5m")) - known)
                found += [f"{file.name}: «{panel['title']}»: nobody exports or records {series}" for series in unknown]
    # promtool checks a dashboard's expressions if they are written as rules.
    dressed = [
        {"record": f"dashboard:expression_{number}", "expr": re.sub(r"\$__rate_interval", "5m", expression).replace("$job", "x")}
        for number, expression in enumerate(asked)
    ]
    scratch.mkdir(parents=True, exist_ok=True)
    parsed = scratch / "dashboard-expressions.yaml"
    parsed.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": dressed}]}))
    return found + run(promtool, "check", "rules", str(parsed))
