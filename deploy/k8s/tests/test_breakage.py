"""Breaks each thing on purpose, in a copy, and expects to be told. A check that nothing can turn red is no check."""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import assertions
import images
import rendering
import schemas
import telemetry

DEPLOY = Path(__file__).resolve().parents[2]

# File, text in it, its replacement, and the expected report.
# in a rendering without mtls
PLAIN = [
    ("k8s/base/billing/config.env", "0.0.0.0:50051", "0.0.0.0:50059", "asks port 50051, the process listens on 50059"),
    ("k8s/base/community/deployment.yaml", "port: 50052, service: readiness", "port: 50052, service: ready", "readinessProbe asks for 'ready'"),
    ("k8s/base/billing/deployment.yaml", "service: liveness}\n            periodSeconds: 10", "service: readiness}\n            periodSeconds: 10", "livenessProbe asks for 'readiness'"),
    ("k8s/base/gateway/config.env", "http://billing:50051", "http://billings:50051", "leads to no Service"),
    ("k8s/components/gateway-api/routes.yaml", "{name: community, port: 50052}", "{name: community, port: 50051}", "leads to community:50051"),
    ("k8s/components/gateway-api/routes.yaml", "        - method: {service: communal.billing.v1.SupplierService}\n", "        - method: {service: communal.identity.v1.IdentityService}\n", "GRPCRoute/billing: lets communal.identity.v1.IdentityService in from outside"),
    ("k8s/base/billing/service.yaml", "kubernetes.io/h2c", "http", "appProtocol of its port grpc must be kubernetes.io/h2c"),
    ("k8s/components/sealed-secrets/secrets.yaml", "  sealing-key:", "  seal:", "SealedSecret/community-keys: makes the keys ['seal', 'token-key']"),
    ("k8s/base/billing/migrate.yaml", "name: COMMUNAL_BILLING_DATABASE_URL", "name: COMMUNAL_LOG", "Job/billing-migrate-0-1-0: COMMUNAL_BILLING_DATABASE_URL must be set"),
]
# in overlays/production
MANIFESTS = [
    ("k8s/base/billing/config.env", "127.0.0.1:50061", "0.0.0.0:50061", "of COMMUNAL_…_IDENTITY_ADDR can be reached from outside the pod"),
    ("k8s/base/billing/config.env", "0.0.0.0:9051", "127.0.0.1:9051", "cannot be reached from outside the pod"),
    ("k8s/base/gateway/deployment.yaml", "port: 9080, path: /readyz", "port: 8080, path: /readyz", "readinessProbe asks port 8080"),
    ("k8s/base/gateway/deployment.yaml", "path: /healthz}\n            periodSeconds: 10", "path: /readyz}\n            periodSeconds: 10", "livenessProbe asks for /readyz"),
    ("k8s/base/deployment.yaml", "value: 45", "value: 30", "killed after 30 s"),
    ("k8s/base/billing/config.env", "DRAIN_LIMIT_MS=25000", "DRAIN_LIMIT_MS=60000", "draining may take 65 s"),
    ("k8s/base/billing/availability.yaml", "maxUnavailable: 1", "maxUnavailable: 3", "3 of 3 replicas may go"),
    ("k8s/base/billing/availability.yaml", "maxUnavailable: 1", "minAvailable: 3", "3 of 3 replicas must stay"),
    ("k8s/base/billing/deployment.yaml", "  selector:\n", "  replicas: 2\n  selector:\n", "each apply undoes what the autoscaler did"),
    ("k8s/base/billing/config.env", "COMMUNAL_DATABASE_CONNECTIONS", "COMMUNAL_DATABASE_CONECTIONS", "billing reads no COMMUNAL_DATABASE_CONECTIONS"),
    ("k8s/base/gateway/config.env", "COMMUNAL_LOG_FORMAT=json", "COMMUNAL_SEALING_KEY=0", "gateway reads no COMMUNAL_SEALING_KEY"),
    ("k8s/base/community/deployment.yaml", "name: COMMUNAL_TOKEN_KEY", "name: COMMUNAL_LOG", "Deployment/community: COMMUNAL_TOKEN_KEY must be set"),
    ("k8s/base/community/deployment.yaml", "key: sealing-key", "key: seal", "nobody makes the key seal"),
    ("k8s/components/cnpg/owner-url-billing.yaml", "name: billing-postgres-app", "name: billing-postgres-server", "Deployment/billing: connects as the role that migrates"),
    ("k8s/base/gateway/deployment.yaml", "key: gateway-key", "key: proof", "nobody makes the key proof of a Secret gateway-keys"),
    ("k8s/base/community/deployment.yaml", "name: gateway-keys, key", "name: gateways, key", "does not know Deployment/gateway by the same COMMUNAL_GATEWAY_KEY"),
    ("k8s/base/billing/deployment.yaml", "name: gateway-keys, key", "name: gateways, key", "does not know Deployment/gateway by the same COMMUNAL_GATEWAY_KEY"),
    ("k8s/overlays/production/kustomization.yaml", "  - ../../components/external-secrets\n", "  - ../../components/external-secrets\n  - ../../components/sealed-secrets\n", "Secret/community-keys: is made by ExternalSecret and SealedSecret"),
    ("k8s/components/external-secrets/secrets.yaml", "secretKey: token-key", "secretKey: token", "ExternalSecret/community-keys: makes the keys ['sealing-key', 'token']"),
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
    ("k8s/base/network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "nothing denies by default"),
    ("k8s/base/billing/network.yaml", "port: 50051", "port: 50052", "Deployment/billing: no policy lets Deployment/gateway in at port 50051"),
    ("k8s/base/gateway/network.yaml", "port: 50052", "port: 50051", "Deployment/gateway: no policy lets it out to Deployment/community"),
    ("k8s/base/billing/network.yaml", "    - from:\n        - podSelector:\n            matchLabels:\n              app.kubernetes.io/name: gateway\n        - namespaceSelector:\n            matchLabels:\n              communal.example/calls-grpc: \"true\"\n      ports:", "    - ports:", "to everybody"),
    ("k8s/components/observability/scrape.yaml", "port: 9051", "port: 9050", "no policy lets Prometheus reach port 9051"),
    ("k8s/components/cnpg/network.yaml", "port: 5432", "port: 5433", "no policy lets it reach its database"),
    ("k8s/components/cnpg/cluster.yaml", 'max_connections: "200"', 'max_connections: "100"', "offers 80 connections, billing may want 162"),
    ("k8s/components/cnpg/cluster.yaml", "value: 3", "value: 2", "one more must be there when it is away"),
]
ENCRYPTION = [
    ("k8s/components/mtls/billing.yaml", "value: /etc/tls/tls.crt", "value: /etc/certificates/tls.crt", "COMMUNAL_TLS_CERTIFICATE=/etc/certificates/tls.crt: no Secret is mounted there"),
    ("k8s/components/mtls/billing.yaml", "value: /etc/tls/ca.crt", "value: /etc/tls/clients.crt", "is clients.crt of the Secret billing-tls, wanted is its ca.crt"),
    ("k8s/components/mtls/billing.yaml", "secretName: billing-tls", "secretName: billing-certificate", "nobody makes a Secret billing-certificate"),
    ("k8s/components/mtls/gateway.env", "TLS_KEY=/etc/tls/tls.key", "TLS_KEY=/etc/tls/tls.crt", "is tls.crt of the Secret gateway-tls, wanted is its tls.key"),
    ("k8s/components/mtls/gateway.yaml", "mountPath: /etc/tls,", "mountPath: /etc/tls/tls.crt, subPath: tls.crt,", "a renewed certificate would not be seen"),
    ("k8s/components/mtls/gateway.yaml", ", readOnly: true", "", "must be mounted read-only"),
    ("k8s/components/mtls/gateway.yaml", "defaultMode: 0440", "defaultMode: 0400", "cannot be read by user 65532"),
    ("k8s/components/mtls/community.yaml", "defaultMode: 0440", "defaultMode: 0444", "a key must not be for everybody to read"),
    ("k8s/base/pod.yaml", "    fsGroup: 65532\n", "", "cannot be read by user 65532"),
    ("k8s/components/mtls/gateway.env", "https://billing", "http://billing", "but Deployment/billing speaks TLS"),
    ("k8s/components/mtls/kustomization.yaml", "  - path: billing.yaml\n", "", "but Deployment/billing speaks plain text"),
    ("k8s/components/mtls/certificates.yaml", "secretName: billing-tls", "secretName: billing", "no Certificate is kept where its COMMUNAL_TLS_CERTIFICATE is"),
    ("k8s/components/mtls/certificates.yaml", "dnsNames: [billing]", "dnsNames: [billings]", "is not for billing, which Deployment/gateway dials"),
    ("k8s/components/mtls/certificates.yaml", "server auth", "client auth", "Certificate/billing: is not for a server"),
    ("k8s/components/mtls/certificates.yaml", "client auth", "server auth", "Certificate/gateway: is not for a client"),
    ("k8s/components/mtls/community.yaml", "            - {name: COMMUNAL_TLS_CLIENT_CA, value: /etc/tls/ca.crt}\n", "", "Deployment/community: asks for no client's certificate"),
    ("k8s/components/mtls/gateway.env", "COMMUNAL_GATEWAY_TLS_CERTIFICATE=/etc/tls/tls.crt\n", "", "has no certificate to show Deployment/billing"),
    ("k8s/overlays/production/kustomization.yaml", "name: billing}\n    patch: |\n", "name: billing}\n    patch: |\n      - {op: replace, path: /spec/issuerRef/kind, value: ClusterIssuer}\n", "their certificates are of different issuers"),
    ("k8s/overlays/production/kustomization.yaml", "billing.communal.svc}", "billing.elsewhere.svc}", "billing.elsewhere.svc is of another namespace than communal"),
    ("k8s/components/mtls/certificates.yaml", "renewBefore: 720h", "renewBefore: 1440h", "is renewed 1440h before the end of 2160h"),
    ("k8s/components/mtls/authority.yaml", "rotationPolicy: Never", "rotationPolicy: Always", "would no longer vouch for what it signed before"),
    ("k8s/components/mtls/authority.yaml", "  name: authority\nspec:\n  ca:", "  name: signer\nspec:\n  ca:", "there is no Issuer authority"),
    ("k8s/components/mtls/authority.yaml", "  isCA: true\n", "", "no authority is kept in authority"),
    ("k8s/components/mtls/authority.yaml", "renewBefore: 8760h", "renewBefore: 24h", "may outlive the authority that signs it"),
    ("k8s/components/mtls/billing.yaml", "httpGet: {port: 9051, path: /readyz}", "httpGet: {port: 9051, path: /healthz}", "readinessProbe asks for /healthz"),
    ("k8s/components/mtls/billing.yaml", "            grpc: null\n            httpGet: {port: 9051, path: /readyz}\n", "            timeoutSeconds: 3\n", "readinessProbe speaks plain text to a port that speaks TLS"),
    ("k8s/components/mtls/community.yaml", "appProtocol: https", "appProtocol: kubernetes.io/h2c", "Service/community: appProtocol of its port grpc must be https"),
    ("k8s/overlays/production/kustomization.yaml", "  - ../../components/gateway-api\n  - ../../components/mtls\n", "  - ../../components/mtls\n  - ../../components/gateway-api\n", "GRPCRoute/billing: no Gateway has a certificate to show Deployment/billing"),
    ("k8s/components/mtls/kustomization.yaml", "name: grpc-from-gateways", "name: other", "NetworkPolicy/grpc-from-gateways: nothing comes that way"),
]
SCHEMAS = [
    ("k8s/base/deployment.yaml", "minReadySeconds", "minimumReadySeconds", "Kubernetes 1.37"),
    ("k8s/base/gateway/deployment.yaml", "port: 9080, path: /healthz", 'port: 9080, paths: "/healthz"', "Deployment/gateway"),
    ("k8s/base/billing/availability.yaml", "maxReplicas: 8", "maxReplicas: many", "HorizontalPodAutoscaler/billing"),
    ("k8s/base/billing/availability.yaml", "apiVersion: autoscaling/v2\n", "apiVersion: autoscaling/v2beta2\n", "has no autoscaling/v2beta2"),
    ("k8s/components/gateway-api/routes.yaml", "kind: HTTPRoute", "kind: HttpRoute", "has no gateway.networking.k8s.io/v1 HttpRoute"),
    ("k8s/components/mtls/certificates.yaml", "kind: Certificate\n", "kind: Certificat\n", "has no cert-manager.io/v1 Certificat"),
]
# by the unit tests that are run: only those that can tell, since some take seconds
TELEMETRY = {
    frozenset(): [
        ("observability/rules/alerts.yaml", "communal_transaction_retries_total", "communal_transaction_retry_total", "nobody exports or records communal_transaction_retry_total"),
        ("observability/rules/alerts.yaml", "#communalservicegone", "#service-gone", "leads to no heading"),
        ("observability/rules/alerts.yaml", "alert: CommunalReplicaDown", "alert: CommunalReplicaGone", "no unit test sees it fire"),
        ("observability/rules/objectives.yaml", "[3d]))", "[3d])", "FAILED"),
        ("observability/dashboards/communal.json", "gateway_in_flight", "gateway_inflight", "nobody exports or records gateway_inflight"),
        ("observability/dashboards/communal.json", "sum by (instance) (gateway_in_flight)", "sum by (instance) (gateway_in_flight", "FAILED"),
    ],
    frozenset({"limits.yaml"}): [
        ("observability/rules/alerts.yaml", "> 0.02\n        for: 5m", "> 0.2\n        for: 5m", "CommunalShedsCalls"),
    ],
    frozenset({"error_budget.yaml"}): [
        ("observability/rules/objectives.yaml", "Internal|Unknown", "Unknown", "CommunalCallsFail"),
    ],
}
IMAGES = [
    ("compose.yaml", "communal/gateway:0.1.0", "communal/gateway:0.0.9", "is not one of version"),
    ("compose.yaml", "COMMUNAL_GATEWAY_BILLING_URL", "COMMUNAL_GATEWAY_BILLINGS_URL", "gateway reads no COMMUNAL_GATEWAY_BILLINGS_URL"),
    ("compose.yaml", "    COMMUNAL_TOKEN_KEY: ", "    COMMUNAL_LOG: ", "compose: community: COMMUNAL_TOKEN_KEY must be set"),
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

    def copied(self) -> Path:
        """A copy of the folder deploy, to break something in."""
        deploy = Path(tempfile.mkdtemp(dir=self.scratch)) / "deploy"
        for part in ("k8s", "observability", "docker"):
            shutil.copytree(DEPLOY / part, deploy / part)
        for part in ("compose.yaml", "README.md"):
            shutil.copy(DEPLOY / part, deploy / part)
        return deploy

    def red(self, cases, look) -> None:
        # Only reports that the breakage adds count, so that an existing fault hides nothing.
        before = set(look(self.copied()))

        def broken(case) -> str | None:
            file, text, other, told = case
            deploy = self.copied()
            whole = (deploy / file).read_text()
            if text not in whole:
                return "there is nothing to break any more"
            (deploy / file).write_text(whole.replace(text, other))
            try:
                found = set(look(deploy)) - before
            except rendering.RenderingError as error:
                found = {str(error)}
            return None if any(told in problem for problem in found) else f"{told!r} is not among {sorted(found)}"

        # Most of the time is spent in other programs: kubectl, promtool, hadolint.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for case, outcome in zip(cases, pool.map(broken, cases), strict=True):
                with self.subTest(file=case[0], text=case[1], other=case[2]):
                    self.assertIsNone(outcome)

    def test_objects_that_do_not_fit_are_told(self) -> None:
        self.red(MANIFESTS, lambda deploy: assertions.problems(production(deploy)))

    def test_objects_of_plain_text_that_do_not_fit_are_told(self) -> None:
        self.red(PLAIN, lambda deploy: assertions.problems(plain(deploy)))

    def test_encryption_that_would_not_work_is_told(self) -> None:
        self.red(ENCRYPTION, lambda deploy: assertions.problems(production(deploy)))

    def test_objects_that_kubernetes_would_refuse_are_told(self) -> None:
        self.red(SCHEMAS, lambda deploy: schemas.problems(production(deploy)))

    def test_rules_and_dashboards_that_are_wrong_are_told(self) -> None:
        promtool, runbook = os.environ["COMMUNAL_PROMTOOL"], DEPLOY.parent / "docs" / "runbook.md"
        for tests, cases in TELEMETRY.items():
            self.red(
                cases,
                lambda deploy, tests=tests: telemetry.problems(deploy / "observability", runbook, deploy, promtool, tests),
            )

    def test_images_and_compose_that_are_wrong_are_told(self) -> None:
        self.red(
            IMAGES,
            lambda deploy: images.dockerfile_problems(deploy, "hadolint")
            + images.compose_problems(deploy)
            + images.documentation_problems(deploy),
        )

    def test_the_command_ends_red(self) -> None:
        deploy = self.copied()
        path = deploy / "k8s" / "base" / "billing" / "config.env"
        path.write_text(path.read_text().replace("0.0.0.0:50051", "0.0.0.0:50059"))
        # The other tools have tests of their own above.
        tools = ["--promtool", "true", "--checkov", "true", "--hadolint", "true", "--only-overlays"]
        command = [sys.executable, str(DEPLOY / "k8s" / "tests" / "validate.py"), "--deploy", str(deploy), *tools]
        command += ["--scratch", str(self.scratch), "--runbook", str(DEPLOY.parent / "docs" / "runbook.md")]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(outcome.returncode, 1, outcome.stderr)
        self.assertIn("FAIL  The objects fit each other and the binaries", outcome.stdout)
        self.assertIn("asks port 50051, the process listens on 50059", outcome.stdout)

    def test_a_reference_to_nothing_is_told(self) -> None:
        deploy = self.copied()
        (deploy / "k8s" / "base" / "network.yaml").unlink()
        with self.assertRaises(rendering.RenderingError):
            production(deploy)


def production(deploy: Path) -> list[dict]:
    return rendering.kustomize(deploy / "k8s" / "overlays" / "production")


def plain(deploy: Path) -> list[dict]:
    components = ["external-database", "sealed-secrets", *(name for name in rendering.OPTIONAL if name != "mtls")]
    return rendering.render_combination(deploy / "k8s", components, deploy / "renderings")


if __name__ == "__main__":
    unittest.main()
