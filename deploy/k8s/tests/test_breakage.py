"""Breaks each thing on purpose, in a copy, and expects to be told. A check that nothing can turn red is no check."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import assertions
import images
import rendering
import schemas
import telemetry

DEPLOY = Path(__file__).resolve().parents[2]

# file, text in it, what it is replaced by, what must be told
MANIFESTS = [
    ("k8s/base/billing/config.env", "0.0.0.0:50051", "0.0.0.0:50059", "asks port 50051, the process listens on 50059"),
    ("k8s/base/billing/config.env", "0.0.0.0:9051", "127.0.0.1:9051", "cannot be reached from outside the pod"),
    ("k8s/base/gateway/deployment.yaml", "port: 9080, path: /readyz", "port: 8080, path: /readyz", "readinessProbe asks port 8080"),
    ("k8s/base/community/deployment.yaml", "port: 50052, service: readiness", "port: 50052, service: ready", "readinessProbe asks for 'ready'"),
    ("k8s/base/billing/deployment.yaml", "service: liveness}\n            periodSeconds: 10", "service: readiness}\n            periodSeconds: 10", "livenessProbe asks for 'readiness'"),
    ("k8s/base/gateway/deployment.yaml", "path: /healthz}\n            periodSeconds: 10", "path: /readyz}\n            periodSeconds: 10", "livenessProbe asks for /readyz"),
    ("k8s/base/deployment.yaml", "value: 45", "value: 30", "killed after 30 s"),
    ("k8s/base/billing/config.env", "DRAIN_LIMIT_MS=25000", "DRAIN_LIMIT_MS=60000", "draining may take 65 s"),
    ("k8s/base/billing/availability.yaml", "maxUnavailable: 1", "maxUnavailable: 3", "3 of 3 replicas may go"),
    ("k8s/base/billing/availability.yaml", "maxUnavailable: 1", "minAvailable: 3", "3 of 3 replicas must stay"),
    ("k8s/base/billing/deployment.yaml", "  selector:\n", "  replicas: 2\n  selector:\n", "each apply undoes what the autoscaler did"),
    ("k8s/base/billing/config.env", "COMMUNAL_DATABASE_CONNECTIONS", "COMMUNAL_DATABASE_CONECTIONS", "billing reads no COMMUNAL_DATABASE_CONECTIONS"),
    ("k8s/base/gateway/config.env", "COMMUNAL_LOG_FORMAT=json", "COMMUNAL_SEALING_KEY=0", "gateway reads no COMMUNAL_SEALING_KEY"),
    ("k8s/base/community/deployment.yaml", "key: sealing-key", "key: seal", "nobody makes the key seal"),
    ("k8s/base/billing/deployment.yaml", "serviceAccountName: billing", "serviceAccountName: default", "no ServiceAccount default"),
    ("k8s/overlays/production/kustomization.yaml", "gateway, newTag: 0.1.0", "gateway, newTag: latest", "gateway:latest is not of version"),
    ("k8s/base/billing/migrate.yaml", "billing-migrate-0-1-0", "billing-migrate", "its name must end with version"),
    ("k8s/base/billing/deployment.yaml", "args: [serve]", "args: [migrate]", "must only serve"),
    ("k8s/base/billing/kustomization.yaml", "  - migrate.yaml\n", "", "its database has no migrate Job"),
    ("k8s/base/namespace.yaml", "enforce: restricted", "enforce: baseline", "does not enforce the restricted"),
    ("k8s/base/pod.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "must not run as root"),
    ("k8s/base/container.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "must not write to its image"),
    ("k8s/base/container.yaml", "drop: [ALL]", "drop: [NET_RAW]", "must drop all capabilities"),
    ("k8s/base/billing/service.yaml", "  clusterIP: None\n", "", "it must be headless"),
    ("k8s/base/billing/service.yaml", "port: 50051, ", "port: 80, targetPort: grpc, ", "a headless Service maps no port"),
    ("k8s/base/gateway/service.yaml", "targetPort: http}", "targetPort: rest}", "port rest is not one of"),
    ("k8s/base/community/service.yaml", "    app.kubernetes.io/name: community\n", "    app.kubernetes.io/name: comunity\n", "selects 0 deployments"),
    ("k8s/base/gateway/config.env", "http://billing:50051", "http://billings:50051", "leads to no Service"),
    ("k8s/components/gateway-api/routes.yaml", "{name: community, port: 50052}", "{name: community, port: 50051}", "leads to community:50051"),
    ("k8s/base/network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "nothing denies by default"),
    ("k8s/base/billing/network.yaml", "port: 50051", "port: 50052", "Deployment/billing: no policy lets Deployment/gateway in at port 50051"),
    ("k8s/base/gateway/network.yaml", "port: 50052", "port: 50051", "Deployment/gateway: no policy lets it out to Deployment/community"),
    ("k8s/base/billing/network.yaml", "    - from:\n        - podSelector:\n            matchLabels:\n              app.kubernetes.io/name: gateway\n        - namespaceSelector:\n            matchLabels:\n              communal.example/calls-grpc: \"true\"\n      ports:", "    - ports:", "to everybody"),
    ("k8s/components/observability/scrape.yaml", "port: 9051", "port: 9050", "no policy lets Prometheus reach port 9051"),
    ("k8s/components/cnpg/network.yaml", "port: 5432", "port: 5433", "no policy lets it reach its database"),
    ("k8s/components/cnpg/cluster.yaml", 'max_connections: "200"', 'max_connections: "100"', "offers 80 connections, billing may want 144"),
    ("k8s/components/cnpg/cluster.yaml", "value: 3", "value: 2", "one more must be there when it is away"),
]
SCHEMAS = [
    ("k8s/base/deployment.yaml", "minReadySeconds", "minimumReadySeconds", "Kubernetes 1.37"),
    ("k8s/base/gateway/deployment.yaml", "port: 9080, path: /healthz", 'port: 9080, paths: "/healthz"', "Deployment/gateway"),
    ("k8s/base/billing/availability.yaml", "maxReplicas: 8", "maxReplicas: many", "HorizontalPodAutoscaler/billing"),
    ("k8s/base/billing/availability.yaml", "apiVersion: autoscaling/v2\n", "apiVersion: autoscaling/v2beta2\n", "has no autoscaling/v2beta2"),
    ("k8s/components/gateway-api/routes.yaml", "kind: HTTPRoute", "kind: HttpRoute", "has no gateway.networking.k8s.io/v1 HttpRoute"),
]
TELEMETRY = [
    ("observability/rules/alerts.yaml", "communal_transaction_retries_total", "communal_transaction_retry_total", "nobody exports or records communal_transaction_retry_total"),
    ("observability/rules/alerts.yaml", "> 0.02\n        for: 5m", "> 0.2\n        for: 5m", "CommunalShedsCalls"),
    ("observability/rules/alerts.yaml", "#communalservicegone", "#service-gone", "leads to no heading"),
    ("observability/rules/alerts.yaml", "alert: CommunalReplicaDown", "alert: CommunalReplicaGone", "no unit test sees it fire"),
    ("observability/rules/objectives.yaml", "[3d]))", "[3d])", "FAILED"),
    ("observability/rules/objectives.yaml", "Internal|Unknown", "Unknown", "CommunalCallsFail"),
    ("observability/dashboards/communal.json", "gateway_in_flight", "gateway_inflight", "nobody exports or records gateway_inflight"),
    ("observability/dashboards/communal.json", "sum by (instance) (gateway_in_flight)", "sum by (instance) (gateway_in_flight", "FAILED"),
]
IMAGES = [
    ("compose.yaml", "communal/gateway:0.1.0", "communal/gateway:0.0.9", "is not one of version"),
    ("compose.yaml", "COMMUNAL_GATEWAY_BILLING_URL", "COMMUNAL_GATEWAY_BILLINGS_URL", "gateway reads no COMMUNAL_GATEWAY_BILLINGS_URL"),
    ("compose.yaml", "migrate-billing: {condition", "migrate: {condition", "waits for migrate, which is not there"),
    ("compose.yaml", "127.0.0.1:8080:8080", "8080:8080", "is open to the network"),
    ("compose.yaml", "  read_only: true\n", "", "must be read-only"),
    ("README.md", "`COMMUNAL_LOCK_TIMEOUT_MS`", "`COMMUNAL_LOCKS_TIMEOUT_MS`", "COMMUNAL_LOCK_TIMEOUT_MS is not documented"),
    ("docker/Dockerfile", "COPY gateway/Cargo.toml gateway/\n", "", "lacks «COPY gateway/Cargo.toml gateway/»"),
    ("docker/Dockerfile.dockerignore", "!gateway\n", "", "keeps gateway/Cargo.toml from the build"),
    ("docker/Dockerfile", "USER 65532:65532", "USER root", "lacks USER 65532:65532"),
    ("docker/Dockerfile", "ENV COMMUNAL_GATEWAY_ADDR", "ENV COMMUNAL_REST_ADDR", "gateway reads no COMMUNAL_REST_ADDR"),
    ("docker/Dockerfile", "ARG VERSION=0.1.0\n", "ARG VERSION=0.0.9\n", "VERSION is not"),
    ("docker/Dockerfile", 'ENTRYPOINT ["/billing"]', "ENTRYPOINT /billing", "DL"),
]


class Breakage(unittest.TestCase):
    def setUp(self) -> None:
        scratch = Path(os.environ["COMMUNAL_K8S_SCRATCH"])
        scratch.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(dir=scratch))
        self.addCleanup(shutil.rmtree, self.scratch)
        self.deploy = self.scratch / "deploy"
        for part in ("k8s", "observability", "docker"):
            shutil.copytree(DEPLOY / part, self.deploy / part)
        for part in ("compose.yaml", "README.md"):
            shutil.copy(DEPLOY / part, self.deploy / part)

    def production(self) -> list[dict]:
        return rendering.kustomize(self.deploy / "k8s" / "overlays" / "production")

    def telemetry(self) -> list[str]:
        # The tests of days take as long as all others together, and nothing here is about them.
        (self.deploy / "observability" / "tests" / "days.yaml").unlink(missing_ok=True)
        runbook = DEPLOY.parent / "docs" / "runbook.md"
        return telemetry.problems(self.deploy / "observability", runbook, self.scratch, os.environ["COMMUNAL_PROMTOOL"])

    def images(self) -> list[str]:
        found = images.dockerfile_problems(self.deploy, "hadolint") + images.compose_problems(self.deploy)
        return found + images.documentation_problems(self.deploy)

    def red(self, cases, look) -> None:
        # Only what a breakage adds counts, so that a fault that is there anyway hides nothing.
        before = set(look())
        for file, text, other, told in cases:
            with self.subTest(file=file, text=text, other=other):
                path = self.deploy / file
                whole = path.read_text()
                self.assertIn(text, whole, "there is nothing to break any more")
                path.write_text(whole.replace(text, other))
                try:
                    found = set(look()) - before
                    self.assertTrue(any(told in problem for problem in found), f"{told!r} is not among {sorted(found)}")
                finally:
                    path.write_text(whole)

    def test_objects_that_do_not_fit_are_told(self) -> None:
        self.red(MANIFESTS, lambda: assertions.problems(self.production()))

    def test_objects_that_kubernetes_would_refuse_are_told(self) -> None:
        self.red(SCHEMAS, lambda: schemas.problems(self.production()))

    def test_rules_and_dashboards_that_are_wrong_are_told(self) -> None:
        self.red(TELEMETRY, self.telemetry)

    def test_images_and_compose_that_are_wrong_are_told(self) -> None:
        self.red(IMAGES, self.images)

    def test_the_command_ends_red(self) -> None:
        path = self.deploy / "k8s" / "base" / "billing" / "config.env"
        path.write_text(path.read_text().replace("0.0.0.0:50051", "0.0.0.0:50059"))
        # The other tools have tests of their own above.
        tools = ["--promtool", "true", "--checkov", "true", "--hadolint", "true"]
        command = [sys.executable, str(DEPLOY / "k8s" / "tests" / "validate.py"), "--deploy", str(self.deploy), *tools]
        command += ["--scratch", str(self.scratch), "--runbook", str(DEPLOY.parent / "docs" / "runbook.md")]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(outcome.returncode, 1, outcome.stderr)
        self.assertIn("FAIL  The objects fit each other and the binaries", outcome.stdout)
        self.assertIn("asks port 50051, the process listens on 50059", outcome.stdout)

    def test_a_reference_to_nothing_is_told(self) -> None:
        (self.deploy / "k8s" / "base" / "network.yaml").unlink()
        with self.assertRaises(rendering.RenderingError):
            self.production()


if __name__ == "__main__":
    unittest.main()
