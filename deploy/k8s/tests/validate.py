"""`./dev k8s validate`: every rendering and every check, offline. Exit status 1 where something is wrong."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import yaml

import assertions
import images
import rendering
import schemas
import telemetry

# Recommendations of Checkov that are not followed, with the reasons.
SKIPPED = {
    "CKV_K8S_11": "a CPU limit stalls calls while the node has time to spare; requests and the autoscaler share it out",
    "CKV_K8S_15": "a version's image never changes, so there is nothing to pull again",
    "CKV_K8S_35": "the binaries read their secrets from the environment, and no shell or child could read it there",
    "CKV_K8S_43": "the version is the tag; a deployment pins the digest of the registry it mirrors to",
}


def checkov_problems(checkov: str, rendered: dict[str, list[dict]], scratch: Path) -> list[str]:
    folder = scratch / "checkov"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in rendering.OVERLAYS:
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump_all(rendered[f"overlay {name}"]))
        files += ["--file", str(file)]
    command = [checkov, "--skip-download", "--quiet", "--compact", "--framework", "kubernetes"]
    command += ["--skip-check", ",".join(SKIPPED), *files]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    return [] if outcome.returncode == 0 else [(outcome.stdout + outcome.stderr).strip()]


def assertion_problems(rendered: dict[str, list[dict]]) -> list[str]:
    """The same fault shows in many renderings; it is told once, with the first and the number of the others."""
    where: dict[str, list[str]] = {}
    for name, documents in rendered.items():
        for problem in assertions.problems(documents):
            where.setdefault(problem, []).append(name)
    return [
        f"{problem} ({names[0]}" + (f" and {len(names) - 1} more)" if len(names) > 1 else ")")
        for problem, names in where.items()
    ]


class Report:
    """One line a check, and below it what is wrong."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, title: str, look) -> None:
        began = time.monotonic()
        problems = look()
        took = time.monotonic() - began
        print(f"{'ok  ' if not problems else 'FAIL'}  {title}  ({took:.1f} s)", flush=True)
        for problem in problems:
            print("      " + problem.replace("\n", "\n      "), flush=True)
        self.failed += bool(problems)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deploy", type=Path, default=Path(__file__).resolve().parents[2], help="the folder to check")
    parser.add_argument("--runbook", type=Path, help="where alerts link to")
    parser.add_argument("--scratch", type=Path, required=True, help="a folder for renderings")
    parser.add_argument("--promtool", required=True)
    parser.add_argument("--checkov", required=True)
    parser.add_argument("--hadolint", required=True)
    parser.add_argument("--only-overlays", action="store_true", help="leave the combinations of components out")
    parser.add_argument("--write-rules", action="store_true", help="make the PrometheusRule and end")
    given = parser.parse_args()
    manifests, observability = given.deploy / "k8s", given.deploy / "observability"
    runbook = given.runbook or given.deploy.parent / "docs" / "runbook.md"
    made = manifests / "components" / "observability" / "rules.yaml"
    if given.write_rules:
        made.write_text(telemetry.prometheus_rule(observability))
        return 0

    report = Report()
    rendered: dict[str, list[dict]] = {}
    combinations = [] if given.only_overlays else rendering.combinations()

    def render() -> list[str]:
        try:
            rendered.update(rendering.render_all(manifests, given.scratch / "renderings", combinations))
        except rendering.RenderingError as error:
            return [str(error)]
        return []

    report.check(f"{len(rendering.OVERLAYS) + len(combinations)} renderings (kubectl kustomize)", render)
    if rendered:
        documents = [document for group in rendered.values() for document in group]
        report.check(
            f"Schemas of Kubernetes {schemas.OLDEST} and {schemas.NEWEST}, {len(documents)} objects (kubernetes-validate)",
            lambda: schemas.problems(documents),
        )
        report.check("The objects fit each other and the binaries", lambda: assertion_problems(rendered))
        report.check(f"Advice of checkov, but for {', '.join(SKIPPED)}", lambda: checkov_problems(given.checkov, rendered, given.scratch))
    report.check(
        "Rules, their unit tests and dashboards (promtool)",
        lambda: telemetry.problems(observability, runbook, given.scratch, given.promtool),
    )
    report.check(
        "The operator's copy of the rules",
        lambda: [] if made.read_text() == telemetry.prometheus_rule(observability) else ["is not what the rules say: run ./dev k8s rules"],
    )
    report.check("Dockerfile (hadolint)", lambda: images.dockerfile_problems(given.deploy, given.hadolint))
    report.check("compose.yaml", lambda: images.compose_problems(given.deploy))
    report.check("Every setting is documented", lambda: images.documentation_problems(given.deploy))
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
